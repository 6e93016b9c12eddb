"""Live tokens as programs get them: two daemons in a call, a NATS server that hangs, and `parlo feed` on both sides."""

import json
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from test_daemon import free_port, in_call, last, people  # noqa: F401


class Feed:
    """`parlo feed` of somebody's only call, read as it comes."""

    def __init__(self, person, *words):
        command = [str(person.program.path), "feed", *words]
        self.process = subprocess.Popen(
            command, env=person.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.messages = []
        self.reading = threading.Thread(target=self._read)
        self.reading.start()

    def _read(self):
        for line in self.process.stdout:
            self.messages.append(json.loads(line))

    def until(self, holds):
        end = time.monotonic() + 60
        while not holds(self.frames()):
            assert time.monotonic() < end and self.process.poll() is None, (self.messages[-3:], self.process.poll())
            time.sleep(0.05)

    def frames(self, stream=None):
        found = [message for message in list(self.messages) if message["type"] == "frame"]
        return [frame for frame in found if stream in (None, frame["stream"])]

    def end(self):
        self.process.wait(timeout=60)
        self.reading.join()
        said = self.process.stderr.read().decode()
        assert self.process.returncode == 0, said
        return self.messages


def numbers(frames):
    return [frame["number"] for frame in frames if frame["number"] is not None]


def test_what_one_says_the_other_hears_in_feeds_on_both_sides(people):  # noqa: F811
    ann, ben = people
    calling = in_call(ann, ben)
    feeds = said, heard = Feed(ann, "--side", "said"), Feed(ben)
    heard.until(lambda frames: sum(frame["mark"] == "real" for frame in frames if frame["stream"] == "heard") > 150)
    ben.say("hangup")
    calling.communicate(timeout=30)
    messages = [feed.end() for feed in feeds]
    for own in messages:
        assert own[0]["type"] == "start" and own[-1] == {"type": "end"}
        assert not [message for message in own if message["type"] == "missed"]
    start = messages[0][0]
    assert start["bundle"] == messages[1][0]["bundle"] and len(start["bundle"]) == 64
    assert {frame["stream"] for frame in said.frames()} == {"said"}
    for frames in (said.frames(), heard.frames("said"), heard.frames("heard")):
        order = numbers(frames)
        assert order == sorted(set(order)), "each once, in order"
        # None is left out.
        assert order == list(range(order[0], order[0] + len(order)))
        times = [frame["time_ms"] for frame in frames]
        assert all(later >= earlier - 1 for earlier, later in zip(times, times[1:]))
    for frame in said.frames() + heard.frames():
        assert len(frame["codes"]) <= len(start["sizes"])
        assert all(0 <= code < size for code, size in zip(frame["codes"], start["sizes"]))
    # Ben's frames are Ann's, as far as they came.
    uttered = {frame["number"]: frame["codes"] for frame in said.frames()}
    both = [frame for frame in heard.frames("heard") if frame["mark"] == "real" and frame["number"] in uttered]
    assert len(both) > 100
    for frame in both:
        assert frame["codes"] and uttered[frame["number"]][: len(frame["codes"])] == frame["codes"]


def metrics(person):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(f"{person.environment['XDG_RUNTIME_DIR']}/parlo/control.sock")
        connection.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
        text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    lines = (line.split() for line in text.split("\r\n\r\n", 1)[1].splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value, *_ in lines}


@pytest.fixture
def nats():
    """A NATS server: its port and process."""
    program = shutil.which("nats-server", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("there is no nats-server; `cargo xtask setup` installs it")
    port = free_port()
    process = subprocess.Popen([program, "-a", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)
    yield port, process
    process.kill()
    process.wait()


class Subscriber:
    """Reads what NATS has, by its protocol alone (https://docs.nats.io/reference/reference-protocols/nats-protocol)."""

    def __init__(self, port, subject):
        self.connection = socket.create_connection(("127.0.0.1", port))
        self.connection.settimeout(60)
        self.lines = self.connection.makefile("rb")
        assert self.lines.readline().startswith(b"INFO ")
        self.connection.sendall(f'CONNECT {{"verbose":false}}\r\nSUB {subject} 1\r\nPING\r\n'.encode())
        while self.lines.readline() != b"PONG\r\n":
            pass

    def next(self):
        """A subject and its message."""
        while True:
            line = self.lines.readline()
            if line == b"PING\r\n":
                self.connection.sendall(b"PONG\r\n")
            elif line.startswith(b"MSG "):
                _, subject, _, length = line.split()
                message = json.loads(self.lines.read(int(length)))
                self.lines.readline()
                return subject.decode(), message
            else:
                assert line, "the server has ended"

    def frame(self):
        while True:
            subject, message = self.next()
            if message["type"] == "frame":
                assert subject == f"parlo.1.{message['stream']}"
                return message


def test_a_nats_server_has_what_the_feed_has_and_may_hang_without_a_call_noticing(people, nats):  # noqa: F811
    ann, ben = people
    port, server = nats
    settings = f"{ben.environment['XDG_CONFIG_HOME']}/parlo/config.toml"
    with open(settings, "a", encoding="utf-8") as file:
        file.write(f'[nats]\nurl = "nats://127.0.0.1:{port}"\n')
    subscriber = Subscriber(port, "parlo.>")
    calling = in_call(ann, ben)
    feed = Feed(ben, "1")
    subject, start = subscriber.next()
    assert (subject, start["type"], start["call"]) == ("parlo.1.start", "start", 1)
    feed.until(lambda frames: len(frames) > 50)
    # What was said and heard before the feed was asked for is only here.
    begins = max(numbers(feed.frames()))
    published = []
    while not published or (published[-1]["number"] or 0) < begins + 60:
        published.append(subscriber.frame())
    newest = max(numbers(published))
    feed.until(lambda frames: frames[-1]["stream"] == "heard" and min(frame["number"] or 0 for frame in frames[-4:]) > newest)
    shown = {(frame["stream"], frame["number"]): frame for frame in feed.frames() if frame["number"] is not None}
    common = [frame for frame in published if (frame["stream"], frame["number"]) in shown]
    assert len(common) > 50 and all(shown[frame["stream"], frame["number"]] == frame for frame in common)
    assert feed.messages[0] == start
    before = metrics(ben)
    assert before["parlo_nats_connected"] == 1 and before["parlo_nats_dropped_frames_total"] == 0
    assert before["parlo_feed_clients"] == 1 and before["parlo_feed_frames_total"] > 50
    server.send_signal(signal.SIGSTOP)
    seen = len(feed.frames())
    feed.until(lambda frames: len(frames) > seen + 300)
    server.send_signal(signal.SIGCONT)
    # What waited comes, and then what is new.
    latest = numbers(feed.frames("said"))[-1]
    found = []
    while not found or found[-1] <= latest:
        frame = subscriber.frame()
        if frame["stream"] == "said":
            found.append(frame["number"])
    assert found == list(range(found[0], found[0] + len(found))), "nothing is missing: the queue was long enough"
    # Nor did the call miss anything.
    after = metrics(ben)
    assert after["parlo_nats_dropped_frames_total"] == 0 and after["parlo_feed_missed_frames_total"] == 0
    order = numbers(feed.frames("said"))
    assert order == list(range(order[0], order[0] + len(order)))
    ben.say("hangup")
    calling.communicate(timeout=30)
    assert feed.end()[-1] == {"type": "end"}
    while subscriber.next()[0] != "parlo.1.end":
        pass
