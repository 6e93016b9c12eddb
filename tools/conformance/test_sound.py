"""Sound that comes and goes: a private sound server whose devices lead nowhere, daemons that live through what happens to it."""

import os
import signal
import subprocess
import time

import numpy as np
import pytest
import soundfile

from conftest import CLIP
from test_daemon import Person, last

# A microphone that is no monitor: what is played to the sink `mic` is heard there.
MICROPHONE = "module-remap-source master=mic.monitor source_name=microphone"


class Pulse:
    """PulseAudio in a folder of its own."""

    def __init__(self, folder, *more):
        self.folder, self.socket = folder, folder / "socket"
        folder.mkdir(parents=True, mode=0o700)
        self.modules = [
            f"module-native-protocol-unix auth-anonymous=1 socket={self.socket}",
            "module-null-sink sink_name=mic rate=48000 channels=1",
            "module-null-sink sink_name=spk rate=48000 channels=2",
            *more,
        ]
        self.environment = {**os.environ, "PULSE_SERVER": f"unix:{self.socket}", "XDG_RUNTIME_DIR": str(folder), "HOME": str(folder)}
        self.server = None

    def start(self):
        self.socket.unlink(missing_ok=True)
        modules = [word for module in self.modules for word in ("-L", module)]
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--realtime=yes", "--high-priority=yes", *modules]
        with open(self.folder / "log", "ab") as log:
            self.server = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 20
        while not self.control("set-default-sink", "spk"):
            assert time.monotonic() < end, (self.folder / "log").read_text()
            time.sleep(0.05)
        if MICROPHONE in self.modules:
            assert self.control("set-default-source", "microphone")

    def control(self, *words):
        return subprocess.run(["pactl", *words], env=self.environment, capture_output=True).returncode == 0

    def kill(self):
        self.server.send_signal(signal.SIGKILL)
        self.server.wait()

    def play(self, sink, file):
        return subprocess.Popen(["paplay", "--latency-msec=20", "-d", sink, file], env=self.environment)


@pytest.fixture
def people(tmp_path, parlo, parlod):
    """Makes people whose sound is as their configuration says, on the sound server of the test."""
    made = []

    def make(name, audio, variables=()):
        person = Person(tmp_path / name, parlo, parlod, None, audio)
        person.environment |= {"HOME": str(tmp_path / name), "PULSE_SERVER": f"unix:{tmp_path / 'pulse/socket'}", **dict(variables)}
        made.append(person)
        return person

    yield make
    for person in made:
        person.stop()


@pytest.fixture
def pulse(tmp_path):
    made = []

    def make(*more):
        made.append(Pulse(tmp_path / "pulse", *more))
        return made[-1]

    yield make
    for server in made:
        if server.server is not None and server.server.poll() is None:
            server.kill()


def daemon_of(person):
    """The number of a person's daemon."""
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/comm", encoding="utf-8") as name, open(f"/proc/{entry}/environ", "rb") as environment:
                ours = f"XDG_RUNTIME_DIR={person.environment['XDG_RUNTIME_DIR']}".encode() in environment.read().split(b"\0")
                if ours and name.read().strip() == "parlod":
                    return int(entry)
        except OSError:
            continue
    raise AssertionError("no daemon runs")


def processor_time(process):
    """Seconds of a processor that a process has used."""
    with open(f"/proc/{process}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def call(ann, ben):
    ann.say("daemon", "start")
    calling = ann.start("call", f"127.0.0.1:{ben.port}")
    ann.until(lambda calls: last(calls).get("state") == "active", "calls")
    return calling


def test_without_sound_the_daemon_starts_says_so_and_takes_what_comes(people, pulse, tmp_path):
    ben = people("ben", 'source = "default"\nsink = "default"\n')
    said = ben.start("daemon", "start")
    text = said.communicate(timeout=60)[0].decode()
    assert said.returncode == 0 and "no sound input" in text and "ALSA lib" not in text, text
    trouble = ben.ask("status")["audio"]["trouble"]
    assert "no sound input" in trouble
    assert trouble in ben.say("status")
    # A call works, and is silent.
    speech = tmp_path / "speech.wav"
    samples, rate = soundfile.read(CLIP)
    soundfile.write(speech, np.tile(samples, 10), rate, subtype="PCM_16")
    ann = people("ann", f'source = "file:{speech}"\nsink = "none"\n')
    ben.say("daemon", "stop")
    ben.answer_all()
    ben.say("daemon", "start")
    calling = call(ann, ben)
    ben.until(lambda calls: (last(calls).get("figures") or {}).get("frames", {}).get("real", 0) > 20, "calls")
    # The sound server comes: both devices are taken, in the call.
    pulse(MICROPHONE).start()
    names = ben.until(lambda status: status["audio"]["endpoints"]["source_name"] and status["audio"]["endpoints"]["sink_name"], "status")
    assert "microphone" in names["audio"]["endpoints"]["source_name"], names["audio"]
    ben.until(lambda status: status["audio"]["trouble"] is None, "status")
    ann.say("hangup")
    calling.communicate(timeout=30)


def test_a_monitor_is_not_sent_to_the_peer(people, pulse, tmp_path):
    server = pulse()
    server.start()
    ben = people("ben", 'source = "default"\nsink = "none"\n')
    ben.answer_all()
    heard = tmp_path / "heard.wav"
    ann = people("ann", f'source = "none"\nsink = "file:{heard}"\n')
    said = ben.start("daemon", "start").communicate(timeout=60)[0].decode()
    assert "monitors" in said, said
    speech = tmp_path / "speech.wav"
    samples, rate = soundfile.read(CLIP)
    soundfile.write(speech, np.tile(samples, 5), rate, subtype="PCM_16")
    music = server.play("spk", speech)
    calling = call(ann, ben)
    ann.until(lambda calls: (last(calls).get("figures") or {}).get("elapsed_s", 0) > 3, "calls")
    ann.say("hangup")
    calling.communicate(timeout=30)
    music.kill()
    music.wait()
    ann.say("daemon", "stop")
    samples, _ = soundfile.read(heard)
    assert len(samples) > 0 and np.abs(samples).max() < 1e-3, "nothing of what the machine plays is sent"
    listed = ben.say("devices")
    microphones = listed.split("Microphones")[1].split("Loudspeakers")[0]
    assert "none" in microphones and "spk.monitor" in listed.split("Monitors")[1], listed
    # Named, it is sent: somebody asked for it.
    ben.say("audio", "--source", "device:spk.monitor")


def test_ten_deaths_of_the_sound_server_cost_less_than_a_fifth_of_a_processor(people, pulse, tmp_path):
    server = pulse(MICROPHONE)
    server.start()
    both = [people(name, 'source = "default"\nsink = "default"\n') for name in ("ann", "ben")]
    ann, ben = both
    ben.answer_all()
    ben.say("daemon", "start")
    calling = call(ann, ben)
    processes = [daemon_of(person) for person in both]
    ben.until(lambda status: status["audio"]["endpoints"]["source_name"], "status")
    time.sleep(3)
    begun, before = time.monotonic(), [processor_time(process) for process in processes]
    for _ in range(10):
        server.kill()
        time.sleep(1)
        server.start()
        time.sleep(1.5)
    shares = [
        (processor_time(process) - used) / (time.monotonic() - begun) for process, used in zip(processes, before, strict=True)
    ]
    print("shares of a processor:", shares)
    assert max(shares) < 0.2, shares
    for person in both:
        # The call stands, and its sound is back.
        assert last(person.ask("calls"))["state"] == "active"
        names = person.until(lambda status: all(status["audio"]["endpoints"][f"{end}_name"] for end in ("source", "sink")), "status")
        assert "microphone" in names["audio"]["endpoints"]["source_name"]
    ann.say("hangup")
    calling.communicate(timeout=30)
