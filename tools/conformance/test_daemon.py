"""A daemon as people have it: started when it is needed, asked by commands, killed and started again."""

import json
import os
import re
import signal
import socket
import subprocess
import time

import numpy as np
import ptk
import pytest
import soundfile

from conftest import CLIP, ROOT, TIMEOUT_S


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


class Person:
    """Somebody with a home of their own, whose microphone is a file."""

    def __init__(self, folder, program, parlod, source, audio=None):
        self.program, self.port = program, free_port()
        self.environment = {**program.environment, "XDG_RUNTIME_DIR": str(folder / "run")}
        for name in ("CONFIG", "DATA", "STATE"):
            self.environment[f"XDG_{name}_HOME"] = str(folder / name.lower())
        # The daemon is looked for beside the program, else here.
        self.environment["PATH"] = f"{parlod.path.parent}:{self.environment['PATH']}"
        (folder / "run").mkdir(parents=True, mode=0o700)
        settings = folder / "config" / "parlo"
        settings.mkdir(parents=True)
        audio = audio or f'source = "file:{source}"\nsink = "none"\n'
        self.settings = settings / "config.toml"
        self.settings.write_text(f'[call]\nlisten = "127.0.0.1:{self.port}"\n[audio]\n{audio}')

    def answer_all(self):
        """Calls are answered by themselves, from when the daemon is started next."""
        self.settings.write_text(self.settings.read_text().replace("[call]\n", '[call]\nanswer = "all"\n'))

    def start(self, *words):
        command = [str(self.program.path), *map(str, words)]
        return subprocess.Popen(
            command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def say(self, *words):
        command = [str(self.program.path), *map(str, words)]
        result = subprocess.run(
            command, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S
        )
        assert result.returncode == 0, (words, result.stderr.decode())
        return result.stdout.decode()

    def ask(self, *words):
        return json.loads(self.say(*words, "--json"))

    def until(self, holds, *words):
        """Asks again and again until the answer is as it should be."""
        end = time.monotonic() + 30
        while not holds(answer := self.ask(*words)):
            assert time.monotonic() < end, (words, answer)
            time.sleep(0.1)
        return answer

    def stop(self):
        subprocess.run([str(self.program.path), "daemon", "stop"], env=self.environment, capture_output=True, timeout=60)


@pytest.fixture
def people(tmp_path, parlo, parlod):
    """Two of them; whoever speaks says the clip, over and over."""
    speech, rate = soundfile.read(CLIP)
    source = tmp_path / "speech.wav"
    soundfile.write(source, np.tile(speech, 10), rate, subtype="PCM_16")
    both = [Person(tmp_path / name, parlo, parlod, source) for name in ("ann", "ben")]
    yield both
    for person in both:
        person.stop()


def last(calls):
    return calls[-1] if calls else {}


def in_call(ann, ben):
    """Ann calls Ben, who answers."""
    ben.say("daemon", "start")
    calling = ann.start("call", f"127.0.0.1:{ben.port}")
    ben.until(lambda calls: last(calls).get("state") == "ringing", "calls")
    ben.say("answer")
    ben.until(lambda calls: (last(calls).get("figures") or {}).get("frames", {}).get("real", 0) > 50, "calls")
    return calling


def test_a_call_is_placed_answered_held_changed_recorded_and_ended_by_commands(people, tmp_path):
    ann, ben = people
    calling = in_call(ann, ben)
    ben.say("record")
    ann.say("hold")
    ben.until(lambda calls: last(calls)["held_by_peer"], "calls")
    ann.say("resume")
    ann.say("set", "--depth", "3")
    ann.until(lambda calls: last(calls)["figures"]["depth"] <= 3, "calls")
    time.sleep(2)
    ben.say("record", "--stop")
    (recording,) = ben.until(lambda found: found and not found[0]["running"], "recordings")
    assert recording["duration_s"] > 2 and not recording["broken_off"], recording
    wav = tmp_path / "heard.wav"
    ben.say("recordings", "--wav", recording["name"], wav)
    heard, rate = soundfile.read(wav)
    assert abs(len(heard) / rate - recording["duration_s"]) < 0.5 and np.std(heard) > 0.01
    ben.say("hangup")
    said = calling.communicate(timeout=30)[0].decode()
    assert calling.returncode == 0 and "in a call" in said, said
    assert "127.0.0.1" in ann.say("status")


def test_a_daemon_that_is_killed_in_a_call_comes_back_and_its_recording_is_whole_to_the_last_second(people, tmp_path):
    ann, ben = people
    calling = in_call(ann, ben)
    ben.say("record")
    began = time.monotonic()
    time.sleep(4)
    (process,) = [
        int(entry)
        for entry in os.listdir("/proc")
        if entry.isdigit() and is_daemon_of(entry, ben.environment["XDG_RUNTIME_DIR"])
    ]
    recorded = time.monotonic() - began
    os.kill(process, signal.SIGKILL)
    while os.path.exists(f"/proc/{process}/exe"):
        time.sleep(0.02)
    ben.say("daemon", "start")
    (recording,) = ben.ask("recordings")
    assert recording["broken_off"] and not recording["running"]
    assert recording["duration_s"] > recorded - 1.2, (recording, recorded)
    wav = tmp_path / "heard.wav"
    ben.say("recordings", "--wav", recording["name"], wav)
    heard, rate = soundfile.read(wav)
    assert len(heard) / rate > recorded - 1.2 and np.std(heard) > 0.01
    # And calls come as before.
    calling.terminate()
    calling.communicate(timeout=60)
    again = in_call(ann, ben)
    ben.say("hangup")
    again.communicate(timeout=30)


def shown():
    """The lines of the page that ask the daemon something, by what they ask for."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs/control.md").read_text(), re.S)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("curl ")]
    return {re.search(r"http://[^/]*(/\S*)(.*)", line).expand(r"\1\2"): line for line in lines}


def curl(person, line):
    result = subprocess.run(
        ["sh", "-c", f"{line} --silent --show-error --fail"], env=person.environment, capture_output=True, timeout=TIMEOUT_S
    )
    assert result.returncode == 0, (line, result.stderr.decode())
    return result.stdout.decode()


def test_what_the_page_of_the_api_shows_works(people):
    ann, ben = people
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port = made.getsockname()[1]
    settings = f"{ben.environment['XDG_CONFIG_HOME']}/parlo/config.toml"
    with open(settings, "a", encoding="utf-8") as file:
        file.write(f'[control]\ntcp = "127.0.0.1:{port}"\n')
    ben.say("daemon", "start")
    ann.say("daemon", "start")
    ann.say("contacts", "add", "ada", f"127.0.0.1:{ben.port}", ben.say("id").split()[0])
    asked, call = [], 7

    def ask(person, what):
        asked.append(what)
        return curl(person, shown()[what].replace("/calls/7", f"/calls/{call}").replace(":7276", f":{port}"))

    assert json.loads(ask(ann, """/api/v1/calls --json '{"peer": "ada"}'"""))["state"] == "calling"
    call = last(ben.until(lambda calls: last(calls).get("state") == "ringing", "calls"))["id"]
    ask(ben, "/api/v1/calls/7/answer --request POST")
    ben.until(lambda calls: last(calls)["state"] == "active", "calls")
    assert json.loads(ask(ben, """/api/v1/calls/7 --request PATCH --json '{"held": true}'"""))["held"]
    assert json.loads(ask(ben, """/api/v1/audio --request PATCH --json '{"muted": true}'"""))["muted"]
    assert json.loads(ask(ben, """/api/v1/presence --request PUT --json '{"do_not_disturb": true}'"""))["do_not_disturb"]
    assert [found["id"] for found in json.loads(ask(ben, "/api/v1/calls"))] == [call]
    assert json.loads(ask(ben, "/api/v1/devices")) is not None
    for line in [line for line in shown().values() if line.endswith(("/api/v1/status", "/metrics"))]:
        assert "parlo_sound_blocks_total" in (text := curl(ben, line.replace(":7276", f":{port}"))) or json.loads(text)["calls"]
    ask(ben, "/api/v1/calls/7 --request DELETE")
    ben.until(lambda calls: last(calls)["state"] == "ended", "calls")
    assert set(shown()) - set(asked) == {"/api/v1/status", "/metrics"}


def is_daemon_of(process, runtime):
    try:
        with open(f"/proc/{process}/comm", encoding="utf-8") as name, open(f"/proc/{process}/environ", "rb") as environment:
            return name.read().strip() == "parlod" and f"XDG_RUNTIME_DIR={runtime}".encode() in environment.read().split(b"\0")
    except OSError:
        return False


def test_a_day_is_played_in_a_call_with_a_few_megabytes(people, bundle, tmp_path):
    """A recording of a day, and one that only says that it is long, asked for from anywhere while the daemon is in a call."""
    ann, ben = people
    calling = in_call(ann, ben)
    folder = tmp_path / "ben/data/parlo/recordings"
    folder.mkdir(parents=True, exist_ok=True)
    tokens = ptk.TokenFile(bundle.tokens[:16], bundle.sample_rate, bundle.frame_samples, 6, bundle.folder.name)
    noise = bytes([60] + [127] * 8)
    sides = {0: "said", 1: "heard"}
    blocks = [(side, at, [ptk.Run("silent", 500, noise=noise)]) for at in range(0, 86_400_000, 10_000) for side in sides]
    (folder / "day.ptk").write_bytes(ptk.StreamsFile(tokens, 0, sides, {}, blocks).to_bytes())
    late = [(0, 134_000_000, [ptk.Run("waiting", 1)])]
    (folder / "late.ptk").write_bytes(ptk.StreamsFile(tokens, 0, sides, {}, late).to_bytes())
    control = tmp_path / "ben/run/parlo/control.sock"
    served = peer_of(control)

    def peak():
        text = open(f"/proc/{served}/status").read()
        return int(re.search(r"VmHWM:\s+(\d+)", text)[1]) / 1024

    def get(name, span=None):
        heads = ["-H", f"Range: bytes={span}"] if span else []
        return subprocess.run(
            ["curl", "-s", "-D", "-", "--unix-socket", control, *heads, f"http://localhost/api/v1/recordings/{name}"], capture_output=True, timeout=TIMEOUT_S
        ).stdout.partition(b"\r\n\r\n")

    before = peak()
    length = 44 + 2 * (86_400 * bundle.sample_rate)
    head, _, tail = get("day.wav", f"{length - 200_000}-")
    assert head.startswith(b"HTTP/1.1 206") and f"/{length}".encode() in head and len(tail) == 200_000
    head, _, start = get("day.wav", "0-3999999")
    assert start.startswith(b"RIFF") and len(start) == 4_000_000
    for first in (0, 43, 45, 1_000_001, 2_000_000, 3_200_000):
        assert get("day.wav", f"{first}-{first + 99_999}")[2] == start[first : first + 100_000]
    head, _, said = get("late.wav")
    assert head.startswith(b"HTTP/1.1 500") and b"has nothing from 0.0 s to 134000.0 s" in said
    assert get("day.ptk")[2] == (folder / "day.ptk").read_bytes()
    assert peak() - before < 64, f"{before} to {peak()} MiB"
    assert last(ben.ask("calls"))["state"] == "active"
    ann.say("hangup")
    calling.wait(timeout=30)


def peer_of(path):
    """The process that serves a Unix socket."""
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(str(path))
        return int.from_bytes(asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")
