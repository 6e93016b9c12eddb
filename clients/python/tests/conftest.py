"""What the tests share: the codec, the clip that ships, and the program `parlo` as built."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import parlo

ROOT = Path(__file__).resolve().parents[3]
CLIP = ROOT / "assets/speech.flac"
# Longer than anything takes: something hangs.
TIMEOUT_S = 240

# Token files, read and written by the document alone.
sys.path.append(str(ROOT / "tools/conformance"))


@pytest.fixture(scope="session")
def codec():
    return parlo.Codec()


@pytest.fixture(scope="session")
def clip():
    """The clip that ships, float32 [N], and its rate."""
    return soundfile.read(CLIP, dtype="float32")


@pytest.fixture(scope="session")
def wav(codec, clip):
    """Two seconds of speech at the codec's rate, by the simplest of all resamplers."""
    samples, rate = clip
    times = np.arange(2 * codec.sampling_rate) / codec.sampling_rate
    return np.interp(times, np.arange(len(samples)) / rate, samples).astype(np.float32)


@pytest.fixture(scope="session")
def codes(codec, wav):
    """Its codes, int64 [6, T]."""
    return codec.encode(wav, codec.sampling_rate)[0]


@pytest.fixture(scope="session")
def program(codec):
    """Runs the program `parlo` with the codec's bundle; gives what it wrote to standard output."""
    target = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
    named = os.environ.get("PARLO_BIN")
    path = Path(named).absolute() if named else target / "debug/parlo"
    if not path.is_file():
        pytest.fail(f"{path} is missing; build it with `cargo build --workspace --bins`", pytrace=False)
    environment = {**os.environ, "XDG_CONFIG_HOME": os.devnull, "XDG_DATA_HOME": os.devnull}
    environment.update(ORT_DYLIB_PATH=codec._native.library, PARLO_BUNDLE=str(codec.folder))

    def run(*arguments):
        command = [str(path), *map(str, arguments)]
        result = subprocess.run(command, env=environment, capture_output=True, timeout=TIMEOUT_S)
        assert result.returncode == 0, result.stderr.decode(errors="replace")
        return result.stdout

    return run


@pytest.fixture(scope="session")
def python():
    """Runs a script in another interpreter, with these environment variables changed; gives what it printed."""

    def run(script, **variables):
        environment = {key: value for key, value in {**os.environ, **variables}.items() if value is not None}
        command = [sys.executable, "-c", script]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run
