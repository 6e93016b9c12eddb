"""`parlo` with imported bundles: what its files hold and sound like is what PyTorch makes.

Needs the program: PARLO_PROGRAM names it, else it is the one built in the source tree.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

import importing_onnx as files
import importing_support as support

for package in ("torch", "transformers", "onnx", "onnxruntime", "safetensors"):
    pytest.importorskip(package)

from parlo.importing import convert  # noqa: E402
from parlo.importing.check import Original  # noqa: E402
from parlo.importing.player import Player  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = Path(os.environ.get("PARLO_PROGRAM") or ROOT / "target/debug/parlo")
FRAMES = 50

if not PROGRAM.is_file():
    pytest.skip(f"{PROGRAM} is missing: cargo build -p parlo", allow_module_level=True)
sys.path.append(str(ROOT / "tools/conformance"))
import ptk  # noqa: E402


def parlo(*arguments, fails: bool = False, **environment) -> subprocess.CompletedProcess:
    library = ROOT / "vendor/onnxruntime/libonnxruntime.so"
    environment = {"ORT_DYLIB_PATH": str(library), **os.environ, "XDG_CONFIG_HOME": os.devnull,
                   "XDG_DATA_HOME": os.devnull, **environment}
    result = subprocess.run([PROGRAM, *map(str, arguments)], env=environment, timeout=300,
                            capture_output=True, text=True)
    assert (result.returncode != 0) == fails, result.stderr
    return result


@pytest.fixture(scope="module", params=["encodec", "encodec, whole", "mimi", "dac", "snac"])
def case(request, tmp_path_factory):
    """A bundle, and functions that make the original's codes and sound."""
    folder = tmp_path_factory.mktemp("model")
    codec = request.param.split(",")[0]
    if codec == "snac":
        bundle = convert(codec, files.snac(folder / "files"), folder / "bundle")
        player = Player(bundle)
        return bundle, player, player.encode, player.decode
    pad_mode = {"pad_mode": "reflect"} if "whole" in request.param else {}
    checkpoint = getattr(support, codec)(folder / "checkpoint", **pad_mode)
    bundle = convert(codec, checkpoint, folder / "bundle", compare=False)
    architecture = {"encodec": "EncodecModel", "mimi": "MimiModel", "dac": "DacModel"}[codec]
    original = Original(architecture, checkpoint)
    return (bundle, Player(bundle), original.encode,
            lambda codes, depth: original.decode(codes[:, :depth]))


@pytest.fixture
def speech(case, tmp_path):
    """A 16-bit file of whole frames, and its samples."""
    player = case[1]
    rate = player.manifest["audio"]["sample_rate"]
    audio = support.audio(rate, player.frame_samples, FRAMES)
    whole = (audio * 32768).round().clip(-32768, 32767).astype("<i2")
    with wave.open(str(tmp_path / "in.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(whole.tobytes())
    return tmp_path / "in.wav", whole.astype(np.float32) / 32768


@pytest.mark.parametrize("shallow", [False, True], ids=["all codes", "one code"])
def test_files_hold_pytorchs_tokens_and_sound_like_its_audio(case, speech, tmp_path, shallow):
    bundle, player, encode, decode = case
    path, audio = speech
    depth = 1 if shallow else len(player.sizes)
    codes = encode(audio)
    parlo("encode", "--plain", "--depth", depth, "--bundle", bundle, path, tmp_path / "a.ptk")
    file = ptk.TokenFile.parse((tmp_path / "a.ptk").read_bytes())
    assert (file.depth, file.samples) == (depth, len(audio))
    np.testing.assert_array_equal(np.array(file.frames(player.sizes)), codes[:, :depth])
    parlo("decode", "--bundle", bundle, tmp_path / "a.ptk", tmp_path / "out.wav")
    with wave.open(str(tmp_path / "out.wav"), "rb") as file:
        assert file.getframerate() == player.manifest["audio"]["sample_rate"]
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
    np.testing.assert_allclose(sound, decode(codes, depth).clip(-1, 1), rtol=0, atol=1e-3)


def test_the_verb_makes_a_bundle(tmp_path):
    package = tmp_path / "package/parlo"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"__path__ = [{str(support.PACKAGE)!r}]\n")
    checkpoint = support.mimi(tmp_path / "mimi")
    bundle = tmp_path / "made"
    result = parlo("import", "--from", "mimi", "--python", sys.executable, "--out", bundle,
                   "--licence", "CC-BY-4.0", checkpoint, PYTHONPATH=str(tmp_path / "package"))
    assert result.stdout == f"{bundle}\n"
    assert "100.00% of the codes equal" in result.stderr
    assert "24000 Hz, 300.0000 frames a second of 4 codes" in result.stderr
    refused = parlo("import", "--from", "dac", "--python", sys.executable, "--out", bundle,
                    checkpoint, fails=True, PYTHONPATH=str(tmp_path / "package"))
    assert "--from must name what the checkpoint is" in refused.stderr


def test_the_commands_of_the_page(tmp_path, monkeypatch):
    page = (ROOT / "docs/importing.md").read_text()
    commands = re.search(r"```sh\n(.*?)```", page, re.S)[1]
    assert commands.count("parlo import") == 2
    package = tmp_path / "package/parlo"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"__path__ = [{str(support.PACKAGE)!r}]\n")
    monkeypatch.chdir(tmp_path)
    support.mimi(Path("checkpoints/mimi"))
    support.encodec(Path("checkpoints/encodec_24khz"), pad_mode="reflect",
                    target_bandwidths=[28.8])
    audio = support.audio(24_000, 320, 75)
    with wave.open("talk.wav", "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24_000)
        file.writeframes((audio * 32767).astype("<i2").tobytes())
    environment = {**os.environ, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}",
                   "PARLO_PYTHON": sys.executable, "PYTHONPATH": str(tmp_path / "package"),
                   "ORT_DYLIB_PATH": str(ROOT / "vendor/onnxruntime/libonnxruntime.so")}
    subprocess.run(["bash", "-euc", commands], env=environment, check=True, timeout=300)
    assert Path("mimi-24k/manifest.toml").is_file() and Path("encodec-24k/README.md").is_file()
    assert len(Path("talk.ptk").read_bytes()) > 1000
