"""A daemon as people have it: started when it is needed, asked by commands, killed and started again."""

import json
import os
import signal
import socket
import subprocess
import time

import numpy as np
import pytest
import soundfile

from conftest import CLIP, TIMEOUT_S


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


class Person:
    """Somebody with a home of their own, whose microphone is a file."""

    def __init__(self, folder, program, parlod, source):
        self.program, self.port = program, free_port()
        self.environment = {**program.environment, "XDG_RUNTIME_DIR": str(folder / "run")}
        for name in ("CONFIG", "DATA", "STATE"):
            self.environment[f"XDG_{name}_HOME"] = str(folder / name.lower())
        # The daemon is looked for beside the program, else here.
        self.environment["PATH"] = f"{parlod.path.parent}:{self.environment['PATH']}"
        (folder / "run").mkdir(parents=True, mode=0o700)
        settings = folder / "config" / "parlo"
        settings.mkdir(parents=True)
        text = f'[call]\nlisten = "127.0.0.1:{self.port}"\n[audio]\nsource = "file:{source}"\nsink = "none"\n'
        (settings / "config.toml").write_text(text)

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


def is_daemon_of(process, runtime):
    try:
        with open(f"/proc/{process}/comm", encoding="utf-8") as name, open(f"/proc/{process}/environ", "rb") as environment:
            return name.read().strip() == "parlod" and f"XDG_RUNTIME_DIR={runtime}".encode() in environment.read().split(b"\0")
    except OSError:
        return False
