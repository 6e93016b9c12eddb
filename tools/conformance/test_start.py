"""A daemon that is there, or says why not: its start, its page's door, its end, and what it says of calls that fail."""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from test_daemon import Person, in_call, last, people  # noqa: F401: `people` is a fixture
from test_sound import daemon_of


def free_tcp():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def fails(person, *words):
    """What a command says that must fail: its lines."""
    made = person.start(*words)
    said = made.communicate(timeout=90)[0].decode()
    assert made.returncode == 1, (words, made.returncode, said)
    return said.strip().splitlines()


def ask(address, headers=()):
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=dict(headers)), timeout=20) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def test_started_means_ready_or_the_daemons_own_sentence(people):
    ann, _ = people
    # Its port is taken.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", ann.port))
        (line,) = fails(ann, "daemon", "start")
        assert f"cannot use UDP address 127.0.0.1:{ann.port}" in line and "choose another port" in line, line
        (line,) = fails(ann, "call", "127.0.0.1:1")
        assert "cannot use UDP address" in line, line
    # The page's is.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        (line,) = fails(ann, "daemon", "start", "--tcp", f"127.0.0.1:{taken.getsockname()[1]}")
        assert "cannot serve the control API" in line, line
    (line,) = fails(ann, "daemon", "start", "--tcp", "192.0.2.1:7276")
    assert "loopback" in line, line
    # The configuration is wrong, or names a sound file that is not there.
    right = ann.settings.read_text()
    for wrong, word in ((right + "[nonsense]\n", "nonsense"), (right.replace("127.0.0.1", "nowhere.invalid"), "nowhere.invalid")):
        ann.settings.write_text(wrong)
        assert any(word in line for line in fails(ann, "daemon", "start"))
    ann.settings.write_text(right)
    ann.say("daemon", "start")
    assert ann.ask("status")["listening"] == f"127.0.0.1:{ann.port}", "ready means ready"


def test_the_page_is_there_each_time_and_its_token_stays(people):
    ann, _ = people
    port, tokens = free_tcp(), set()
    for _ in range(8):
        address = ann.say("daemon", "start", "--tcp", f"127.0.0.1:{port}").strip()
        assert re.fullmatch(rf"http://127\.0\.0\.1:{port}/\?token=[0-9a-f]{{64}}", address), address
        assert ann.say("daemon", "open").strip() == address, "whatever the configuration says"
        tokens.add(address)
        status, headers, _ = ask(f"http://127.0.0.1:{port}/api/v1/status", {"Authorization": f"Bearer {address.split('=')[1]}"})
        assert status == 200 and headers["content-type"] == "application/json"
        ann.say("daemon", "stop")
    assert len(tokens) == 1, "the token lasts over restarts"
    token = f"{ann.environment['XDG_RUNTIME_DIR']}/parlo/token"
    assert stat.S_IMODE(os.stat(token).st_mode) == 0o600
    # What others could have read is not trusted.
    os.chmod(token, 0o644)
    assert ann.say("daemon", "start", "--tcp", f"127.0.0.1:{port}").strip() not in tokens
    assert stat.S_IMODE(os.stat(token).st_mode) == 0o600


def test_without_the_token_people_are_asked_for_it_and_programs_are_refused(people):
    ann, _ = people
    port = free_tcp()
    address = ann.say("daemon", "start", "--tcp", f"127.0.0.1:{port}").strip()
    base, token = f"http://127.0.0.1:{port}", address.split("=")[1]
    for path, headers in (("/", {}), ("/?token=wrong", {}), ("/api/v1/status", {"Accept": "text/html,*/*;q=0.8"})):
        status, told, text = ask(base + path, headers)
        assert status == 401 and told["content-type"].startswith("text/html") and 'name="token"' in text, (path, text)
        assert "form-action 'self'" in told["content-security-policy"] and token not in text
    assert ask(base + "/style.css")[0] == 200
    status, told, text = ask(base + "/api/v1/status", {"Accept": "application/json"})
    assert status == 401 and told["content-type"] == "application/json" and "token" in text
    assert ask(base + "/", {"Origin": "http://evil.example"})[0] == 403
    # What the form sends.
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with opener.open(f"{base}/?token={token}", timeout=20) as answer:
        assert answer.status == 200 and answer.url == f"{base}/" and "<title>Parlo</title>" in answer.read().decode()
    ann.say("daemon", "stop")
    ann.say("daemon", "start")
    (line,) = fails(ann, "daemon", "open")
    assert "--tcp" in line, line


def test_a_daemon_whose_folder_vanished_is_found_again_and_stopped(people):
    ann, _ = people
    ann.say("daemon", "start")
    process, folder = daemon_of(ann), ann.environment["XDG_RUNTIME_DIR"]
    # As when the user logs out, and logs in again.
    shutil.rmtree(folder)
    time.sleep(1.5)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    end = time.monotonic() + 20
    while not os.path.exists(f"{folder}/parlo/control.sock"):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert daemon_of(ann) == process and ann.ask("status")["listening"]
    ann.say("daemon", "stop")
    end = time.monotonic() + 20
    while os.path.exists(f"/proc/{process}/exe"):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_call_that_breaks_ends_with_a_reason_once_and_not_well(people):
    ann, ben = people
    calling = in_call(ann, ben)
    os.kill(daemon_of(ben), signal.SIGKILL)
    said = calling.communicate(timeout=60)[0].decode()
    assert calling.returncode == 1, said
    assert said.count("nothing has come from there for ten seconds") == 1, said
    for peer, words in (("nobody-i-know", "nobody among your contacts"), ("nowhere.invalid:7", "cannot find the address")):
        lines = fails(ann, "call", peer)
        assert sum(words in line for line in lines) == 1, lines
        assert not any("socket address" in line for line in lines), lines


def test_the_log_has_no_colours(people):
    ann, _ = people
    ann.environment["TERM"] = "xterm-256color"
    ann.say("daemon", "start")
    with open(f"{ann.environment['XDG_STATE_HOME']}/parlo/parlod.log", encoding="utf-8") as file:
        text = file.read()
    assert "the control API is at" in text and "\x1b" not in text, text


def test_a_terminal_that_cannot_draw_gets_lines(people):
    ann, ben = people
    ben.say("daemon", "start")
    ann.environment["TERM"] = "dumb"
    command = f"{ann.program.path} call 127.0.0.1:{ben.port}"
    typed = subprocess.Popen(
        ["script", "-qec", command, "/dev/null"], env=ann.environment | {"SHELL": "/bin/sh"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    said = b""
    # Ringing is told before it is over: what is refused at once may never have been seen to ring.
    while b"it rings at" not in said and (more := os.read(typed.stdout.fileno(), 4096)):
        said += more
    ben.until(lambda calls: last(calls).get("state") == "ringing", "calls")
    ben.say("refuse")
    said = (said + typed.communicate(timeout=60)[0]).decode()
    assert "it rings at" in said and "\x1b" not in said, said
    assert "needs a terminal" in subprocess.run(
        ["script", "-qec", f"{ann.program.path} screen", "/dev/null"], env=ann.environment | {"SHELL": "/bin/sh"}, capture_output=True, text=True, stdin=subprocess.DEVNULL
    ).stdout


CLOCK = r"""
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
/* A clock that stands before 1970, as of a machine whose battery is empty. */
int clock_gettime(clockid_t clock, struct timespec *now) {
    int done = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME) now->tv_sec -= 3000000000L;
    return done;
}
"""


def test_a_clock_before_1970_is_no_reason_to_fail(people, tmp_path):
    ann, ben = people
    (tmp_path / "clock.c").write_text(CLOCK)
    shim = tmp_path / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, tmp_path / "clock.c"], check=True)
    ben.environment["LD_PRELOAD"] = str(shim)
    calling = in_call(ann, ben)
    ben.say("record")
    assert ben.ask("status")["calls"][0]["began_s"] == 0
    time.sleep(1)
    ben.say("record", "--stop")
    (recording,) = ben.until(lambda found: found and not found[0]["running"], "recordings")
    assert recording["duration_s"] > 0.5
    ben.say("hangup")
    assert calling.wait(timeout=30) == 0


def test_the_peer_is_told_of_a_recording(people):
    ann, ben = people
    calling = in_call(ann, ben)
    ben.say("record")
    ann.until(lambda calls: last(calls)["recorded_by_peer"], "calls")
    assert "they record it" in ann.say("calls")
    assert not last(ben.ask("calls"))["recorded_by_peer"]
    # What changes and changes back within 0.1 s is told to nobody.
    time.sleep(0.3)
    ben.say("record", "--stop")
    ann.until(lambda calls: not last(calls)["recorded_by_peer"], "calls")
    time.sleep(0.3)
    ben.say("hangup")
    said = calling.communicate(timeout=30)[0].decode()
    assert calling.returncode == 0 and "records this call\n" in said and "records this call no longer" in said, said


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace of its own needs root")
def test_all_addresses_of_a_name_are_tried(people, tmp_path):
    ann, ben = people
    ben.answer_all()
    ben.say("daemon", "start")
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n::1 two-homes\n127.0.0.7 two-homes\n127.0.0.1 two-homes\n")
    inside = f"mount --bind {hosts} /etc/hosts && exec {ann.program.path} call --standalone --source none --sink none two-homes:{ben.port}"
    made = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", inside], env=ann.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    ben.until(lambda calls: last(calls).get("state") == "active", "calls")
    ben.say("hangup")
    said = made.communicate(timeout=60)[0].decode()
    assert made.returncode == 0 and f"trying 127.0.0.1:{ben.port}" in said, said


def test_the_doctor_is_a_gate_and_writes_nothing(parlo, parlod, tmp_path):
    ann = Person(tmp_path / "ann", parlo, parlod, None, 'source = "none"\nsink = "none"\n')
    home = tmp_path / "home"
    home.mkdir()
    # What the library of the model would write is another test's.
    ann.environment |= {"HOME": str(home), "PULSE_SERVER": f"unix:{tmp_path}/nothing", "ORT_DISABLE_TELEMETRY": "1"}

    def files():
        return sorted(path for path in tmp_path.rglob("*") if path.is_file())

    before = files()
    assert "FAULT" not in ann.say("doctor")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", ann.port))
        assert any(line.startswith("FAULT  port") for line in fails(ann, "doctor"))
    right = ann.settings.read_text()
    for setting, look in (('source = "default"', "microphone"), ('sink = "device:nothing"', "loudspeaker"), ("source = 7", "settings")):
        ann.settings.write_text(re.sub(rf"^{setting.split()[0]} = .*$", setting, right, flags=re.M))
        assert any(line.startswith(f"FAULT  {look}") for line in fails(ann, "doctor")), look
    ann.settings.write_text(right)
    ann.start("devices").communicate(timeout=60)
    assert files() == before, "nothing is written"
    ann.say("daemon", "start")
    assert "the daemon that runs waits for calls" in ann.say("doctor")
    ann.stop()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1], ids=lambda sent: sent.name)
def test_signals_are_caught_before_anybody_is_told_that_it_is_ready(parlod, tmp_path, sent):
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(60)
    homes = dict.fromkeys(("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"), str(tmp_path))
    environment = {**parlod.environment, **homes, "NOTIFY_SOCKET": str(tmp_path / "notify")}

    def told(what):
        while notify.recv(100) != what:
            pass

    for _ in range(5):
        daemon = subprocess.Popen(
            [str(parlod.path), "--listen", "127.0.0.1:0", "--source", "none", "--sink", "none"],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        try:
            told(b"READY=1")
            daemon.send_signal(sent)
            if sent == signal.SIGUSR1:
                daemon.terminate()
            told(b"STOPPING=1")
        finally:
            said = daemon.communicate(timeout=60)[1]
        assert daemon.returncode == 0, (daemon.returncode, said)
