"""Two daemons in a real call, no sound card needed, and the page of one of them. For the tests and for `screenshot.py`."""

import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.request
import wave
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# Longer than anything takes: something hangs.
TIMEOUT_S = 60


def program(name):
    named = os.environ.get(f"{name.upper()}_BIN")
    return Path(named).absolute() if named else ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug" / name


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def wait(condition, what):
    until = time.monotonic() + TIMEOUT_S
    while not (value := condition()):
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not after {TIMEOUT_S} s")
        time.sleep(0.05)
    return value


class Daemon:
    """`parlod` with a home of its own, that says what a file says, over and over as often as it holds."""

    def __init__(self, folder, source, *flags):
        self.folder = Path(folder)
        self.port, self.call_port = free_port(), free_port(socket.SOCK_DGRAM)
        homes = {}
        for name in ("CONFIG", "DATA", "STATE", "CACHE"):
            homes[f"XDG_{name}_HOME"] = str(self.folder / name.lower())
        runtime = self.folder / "run"
        runtime.mkdir(parents=True, mode=0o700)
        environment = {**os.environ, **homes, "XDG_RUNTIME_DIR": str(runtime)}
        environment.setdefault("ORT_DYLIB_PATH", str(ROOT / "vendor/onnxruntime/libonnxruntime.so"))
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen(
            [program("parlod"), "--listen", self.address, "--control-tcp", f"127.0.0.1:{self.port}", "--source", f"file:{Path(source).name}", "--sink", "none", *flags],
            env=environment,
            cwd=Path(source).parent,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )
        self.token_file = runtime / "parlo/token"
        self.token = None
        wait(self.ready, f"{program('parlod')} serves its control API")

    @property
    def address(self):
        return f"127.0.0.1:{self.call_port}"

    @property
    def page(self):
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    def ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"parlod has ended:\n{self.said()}")
        try:
            self.token = self.token_file.read_text().strip()
            return self.ask("GET", "/status")
        except OSError:
            return None

    def said(self):
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def ask(self, method, path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/v1{path}", method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Pair:
    """Two daemons, and between them a network that loses packets: call `address` from `near` to reach `far`."""

    def __init__(self, speech, loss="10%"):
        """`speech` is 16-bit WAV; both say it again and again for two minutes."""
        self.temporary = tempfile.TemporaryDirectory(prefix="parlo-pair-")
        folder = Path(self.temporary.name)
        long = folder / "long.wav"
        with wave.open(str(speech), "rb") as source, wave.open(str(long), "wb") as made:
            samples = source.readframes(source.getnframes())
            made.setparams(source.getparams())
            made.writeframes(samples * (1 + 120 * source.getframerate() // source.getnframes()))
        self.started = []
        try:
            self.far = self.keep(Daemon(folder / "far", long, "--answer", "all"))
            self.near = self.keep(Daemon(folder / "near", long))
            port = free_port(socket.SOCK_DGRAM)
            self.address = f"127.0.0.1:{port}"
            impair = [program("parlo"), "impair", "--listen", self.address, "--to", self.far.address, "--loss", loss, "--burst", "2", "--delay", "15ms"]
            self.network = subprocess.Popen(impair, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except BaseException:
            self.stop()
            raise

    def keep(self, daemon):
        self.started.append(daemon)
        return daemon

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if network := getattr(self, "network", None):
            network.terminate()
            network.wait()
        for daemon in self.started:
            daemon.stop()
        self.temporary.cleanup()
