"""What the tests share: the programs as built, the bundles, the clip."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

# Before the library is loaded, by `reference`: it reports to its vendor otherwise.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from ptk import TokenFile  # noqa: E402
from reference import Bundle  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = sorted(path.parent for path in ROOT.glob("model/bundles/*/manifest.toml"))
CLIP = ROOT / "assets/speech.flac"
# Longer than anything takes: something hangs.
TIMEOUT_S = 120


class Program:
    """A program as built, told where the library and the bundle are, wherever it was built."""

    def __init__(self, name):
        target = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
        named = os.environ.get(f"{name.upper()}_BIN")
        self.path = Path(named).absolute() if named else target / "debug" / name
        if not self.path.is_file():
            pytest.fail(f"{self.path} is missing; build it with `cargo build --workspace --bins`", pytrace=False)
        self.environment = {**os.environ, "XDG_CONFIG_HOME": os.devnull, "XDG_DATA_HOME": os.devnull}
        self.environment.setdefault("ORT_DYLIB_PATH", str(ROOT / "vendor/onnxruntime/libonnxruntime.so"))

    def start(self, *arguments, **options):
        command = [str(self.path), *map(str, arguments)]
        return subprocess.Popen(command, env=self.environment, **options)

    def result(self, *arguments, **options):
        command = [str(self.path), *map(str, arguments)]
        return subprocess.run(command, env=self.environment, capture_output=True, timeout=TIMEOUT_S, **options)

    def run(self, *arguments, **options):
        """Its standard output; the test fails if the program does."""
        result = self.result(*arguments, **options)
        if result.returncode != 0:
            said = result.stderr.decode(errors="replace")
            pytest.fail(f"{self.path.name} {' '.join(map(str, arguments))} failed:\n{said}", pytrace=False)
        return result.stdout

    def refuses(self, *arguments, **options):
        """What it says as it fails; the test fails if the program does not, or dies rather than refuses."""
        result = self.result(*arguments, **options)
        said = result.stderr.decode()
        assert result.returncode == 1, (result.returncode, said)
        assert "panicked" not in said and said.startswith(f"{self.path.name}: "), said
        return said


@pytest.fixture(scope="session")
def parlod():
    return Program("parlod")


@pytest.fixture(scope="session")
def parlo():
    return Program("parlo")


@pytest.fixture(scope="session")
def xtask():
    return Program("xtask")


@pytest.fixture(scope="session", params=BUNDLES, ids=lambda folder: folder.name)
def bundle(request):
    return Bundle(request.param)


@pytest.fixture(scope="session")
def clip(bundle, tmp_path_factory):
    """The clip that ships at the bundle's rate: a 16-bit WAV file, and its samples."""
    audio, rate = soundfile.read(CLIP, dtype="float32")
    if rate != bundle.sample_rate:
        audio = resample_poly(audio, bundle.sample_rate, rate).clip(-1, 1)
    path = tmp_path_factory.mktemp("clip") / "clip.wav"
    soundfile.write(path, audio, bundle.sample_rate, subtype="PCM_16")
    samples, _ = soundfile.read(path, dtype="float32")
    assert np.abs(samples).max() > 0.05
    return path, samples


@pytest.fixture(scope="session")
def encode(parlo, bundle, clip, tmp_path_factory):
    """Encodes the clip with these flags: the file, and what it holds."""

    def run(*flags):
        path = tmp_path_factory.mktemp("tokens") / "clip.ptk"
        parlo.run("encode", "--bundle", bundle.folder, *flags, clip[0], path)
        return path, TokenFile.parse(path.read_bytes())

    return run


@pytest.fixture(scope="session")
def coder(bundle):
    """The bundle's entropy model, read by docs/entropy.md."""
    if bundle.coder is None:
        pytest.skip(f"the bundle {bundle.folder.name} has no entropy model: nothing is coded with one")
    return bundle.coder


@pytest.fixture(scope="session")
def tokens(encode):
    """The clip at depth 6 by the greedy walk."""
    return encode("--depth", 6, "--beam", 1)


@pytest.fixture(scope="session")
def plain(encode):
    """The same in coding 0."""
    return encode("--depth", 6, "--beam", 1, "--plain")
