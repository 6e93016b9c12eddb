"""Live feeds against real daemons in a real call: what comes is what a recording of the call holds."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

import parlo

pytest.importorskip("websockets")

ROOT = Path(__file__).resolve().parents[3]
CLIP = ROOT / "assets/speech.flac"
LONG = 90


def program(name):
    named = os.environ.get(f"{name.upper()}_BIN")
    path = Path(named).absolute() if named else ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug" / name
    if not path.is_file():
        pytest.skip(f"{path} is missing; build it with `cargo build --workspace --bins`")
    return path


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


class Person:
    """Somebody with a home and a daemon of their own, whose microphone is a file."""

    def __init__(self, folder, source):
        self.port, self.tcp = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
        self.runtime, self.data = folder / "run", folder / "data"
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": str(self.runtime), "XDG_DATA_HOME": str(self.data)}
        self.environment |= {"XDG_CONFIG_HOME": str(folder / "config"), "XDG_STATE_HOME": str(folder / "state")}
        self.environment.setdefault("ORT_DYLIB_PATH", str(ROOT / "vendor/onnxruntime/libonnxruntime.so"))
        self.runtime.mkdir(parents=True, mode=0o700)
        settings = folder / "config/parlo"
        settings.mkdir(parents=True)
        (settings / "config.toml").write_text(
            f'[call]\nlisten = "127.0.0.1:{self.port}"\nanswer = "all"\n[control]\ntcp = "127.0.0.1:{self.tcp}"\n'
            f'[audio]\nsource = "file:{source}"\nsink = "none"\n'
        )
        self.parlo = program("parlo")
        self.daemon = subprocess.Popen([program("parlod")], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.daemon.stdout.readline().startswith(b"listening")

    def say(self, *words):
        return subprocess.run([self.parlo, *words], env=self.environment, capture_output=True, check=True, timeout=LONG).stdout.decode()

    @property
    def socket(self):
        return self.runtime / "parlo/control.sock"

    @property
    def token(self):
        return (self.runtime / "parlo/token").read_text()


@pytest.fixture
def people(tmp_path):
    """Two of them; whoever speaks says the clip, over and over."""
    speech, rate = soundfile.read(CLIP)
    source = tmp_path / "speech.wav"
    soundfile.write(source, np.tile(speech, 10), rate, subtype="PCM_16")
    both = [Person(tmp_path / name, source) for name in ("ann", "ben")]
    yield both
    for person in both:
        person.daemon.terminate()
        person.daemon.wait(timeout=LONG)


async def until(holds):
    end = time.monotonic() + LONG
    while not (found := holds()):
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
    return found


async def collect(feed, into):
    async for frame in feed:
        into.append(frame)


def aligned(frames, tokens):
    """Where in `frames` those of a recording begin."""
    rows = [row[row >= 0].tolist() for row in tokens.codes.T]
    codes = [frame.codes.tolist() for frame in frames]
    (found,) = [at for at in range(len(codes) - len(rows) + 1) if codes[at : at + len(rows)] == rows]
    return found


def test_a_feed_gives_what_a_recording_of_the_call_holds(people):
    ann, ben = people

    async def work():
        calling = await asyncio.create_subprocess_exec(
            ann.parlo, "call", f"127.0.0.1:{ben.port}", env=ann.environment, stdin=asyncio.subprocess.DEVNULL
        )
        calls = await until(lambda: [call for call in json.loads(ben.say("calls", "--json")) if call["state"] == "active"])
        # Over the socket and over TCP, one side and both.
        over_socket = parlo.feed(side="both", socket=ben.socket)
        over_tcp = parlo.feed(calls[0]["id"], "heard", url=f"http://127.0.0.1:{ben.tcp}", token=ben.token)
        both, heard = [], []
        await over_socket.open()
        await over_tcp.open()
        collecting = [asyncio.create_task(collect(*pair)) for pair in ((over_socket, both), (over_tcp, heard))]
        await until(lambda: len(both) > 20)
        await asyncio.to_thread(ben.say, "record")
        began = len(both)
        await until(lambda: len(both) > began + 300)
        await asyncio.to_thread(ben.say, "record", "--stop")
        await until(lambda: len(both) > began + 400)
        await asyncio.to_thread(ben.say, "hangup")
        await asyncio.gather(*collecting)
        await calling.wait()
        assert over_socket.missed == over_tcp.missed == 0
        return over_socket.start, both, heard

    start, both, heard = asyncio.run(asyncio.wait_for(work(), LONG))
    (path,) = (ben.data / "parlo/recordings").glob("*.ptk")
    recording = parlo.open(path)
    assert recording.created is not None
    offset = recording.created.timestamp() - start.created
    for stream in ("said", "heard"):
        frames = [frame for frame in both if frame.stream == stream]
        tokens = recording[stream][:]
        assert tokens.codes.shape[1] > 100
        at = aligned(frames, tokens)
        frames = frames[at : at + tokens.codes.shape[1]]
        assert [frame.mark for frame in frames] == [parlo.Mark(mark) for mark in tokens.marks]
        # The same clock; within a block a recording counts by the frame.
        apart = [frame.time - (time_s + offset) for frame, time_s in zip(frames, tokens.times, strict=True)]
        assert max(map(abs, apart)) < 0.06, apart
        assert any(frame.codes.size for frame in frames)
    # Of the two that listened, each had every frame.
    same = {frame.number: frame for frame in both if frame.stream == "heard"}
    common = [frame for frame in heard if frame.number is not None and frame.number in same]
    assert len(common) > 150
    for frame in common:
        assert np.array_equal(frame.codes, same[frame.number].codes) and frame.time == same[frame.number].time


def test_the_manuals_example_works(people):
    ann, ben = people
    manual = (ROOT / "docs/control.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", manual, re.S)
    assert example in (ROOT / "docs/python.md").read_text(), "both pages show the same"
    example = textwrap.dedent(example)
    calling = subprocess.Popen(
        [ann.parlo, "call", f"127.0.0.1:{ben.port}"], env=ann.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    asyncio.run(until(lambda: any(call["state"] == "active" for call in json.loads(ben.say("calls", "--json")))))
    listener = subprocess.Popen(
        [sys.executable, "-u", "-c", example],
        env={**os.environ, "XDG_RUNTIME_DIR": str(ben.runtime)},
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = [listener.stdout.readline() for _ in range(100)]
    ben.say("hangup")
    rest, _ = listener.communicate(timeout=LONG)
    calling.wait(timeout=LONG)
    assert listener.returncode == 0
    assert all(re.match(r"(\d+|None) [\d.]+ s [A-Z]+ \[[\d ]*", line) for line in lines), lines[:3]
    assert rest.splitlines()[-1] == "0 frames were missed"
