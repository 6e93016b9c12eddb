"""What a caller cannot do to a daemon that the system gives nothing to: end it, or a call that stands."""

import os
import resource
import signal
import socket
import subprocess
import time

from test_daemon import Person, last, people  # noqa: F401: `people` is a fixture
from test_sound import daemon_of


def test_without_free_descriptors_a_call_goes_on_and_a_caller_ends_nothing(people, tmp_path, parlo, parlod):
    ann, ben = people
    carl = Person(tmp_path / "carl", parlo, parlod, tmp_path / "speech.wav")
    ben.answer_all()
    ben.say("daemon", "start")
    ann.start("call", f"127.0.0.1:{ben.port}")
    first = lambda calls: calls[0]["figures"]["frames"]["real"] if calls and calls[0]["figures"] else 0
    ben.until(lambda calls: first(calls) > 50, "calls")
    carl.say("daemon", "start")
    process = daemon_of(ben)
    most = resource.prlimit(process, resource.RLIMIT_NOFILE)
    before = first(ben.ask("calls"))
    # What is open stays open, and nothing more can be opened: no list of contacts, no connection to the API.
    lowest = next(n for n in range(1024) if not os.path.lexists(f"/proc/{process}/fd/{n}"))
    resource.prlimit(process, resource.RLIMIT_NOFILE, (lowest, most[1]))
    try:
        calling = carl.start("call", f"127.0.0.1:{ben.port}")
        carl.until(lambda calls: last(calls).get("state") in ("active", "ended"), "calls")
        time.sleep(2)
        assert daemon_of(ben) == process, "the daemon is there"
    finally:
        resource.prlimit(process, resource.RLIMIT_NOFILE, most)
    # The first call went on all the while: four seconds at least.
    ben.until(lambda calls: calls[0]["state"] == "active" and first(calls) > before + 100, "calls")
    assert daemon_of(ben) == process
    calling.kill()
    calling.wait(timeout=60)
    carl.stop()
    log = next(tmp_path.glob("ben/**/*.log")).read_text()
    assert log.count("Too many open files") == 1, log


def test_systemds_watchdog_is_told_while_the_daemon_goes_round_and_not_while_it_stands(people, tmp_path, parlod):
    _, ben = people
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        environment = {**ben.environment, "NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "2000000"}
        daemon = subprocess.Popen([str(parlod.path)], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

        def told(seconds):
            end, said = time.monotonic() + seconds, []
            while (left := end - time.monotonic()) > 0:
                manager.settimeout(left)
                try:
                    said.append(manager.recv(200).decode())
                except TimeoutError:
                    break
            return said

        try:
            start = time.monotonic()
            while "READY=1" not in told(1):
                assert time.monotonic() - start < 60
            assert 4 <= told(3).count("WATCHDOG=1") <= 8
            daemon.send_signal(signal.SIGSTOP)
            told(0.5)
            assert told(2) == []
            daemon.send_signal(signal.SIGCONT)
            assert told(3).count("WATCHDOG=1") >= 4
        finally:
            daemon.kill()
            daemon.wait()
