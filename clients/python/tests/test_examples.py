"""The examples run from end to end, with seconds of budget, on pieces of the clip that ships."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import parlo
from speech import RATE, codec, wave  # noqa: F401

pytest.importorskip("torch")
soundfile = pytest.importorskip("soundfile")

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


def test_a_language_model_learns_and_speaks(tmp_path, wave, codec):
    soundfile.write(tmp_path / "clip.wav", wave, RATE, subtype="FLOAT")
    done = run("language_model.py", "--speech", tmp_path, "--minutes", 0.1, "--seconds", 1, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["steps"] >= 1 and len(report["bits"]) == len(report["bits_without_context"]) == 4
    assert all(0 < bits < 15 for bits in report["bits"])
    for name in ("anew", "continued"):
        tokens = parlo.open(tmp_path / "out" / f"{name}.ptk", codec)["audio"][:]
        sound, rate = soundfile.read(tmp_path / "out" / f"{name}.wav")
        assert tokens.codes.shape == (4, 50) and rate == codec.sampling_rate and len(sound) == 49 * codec.frame_samples
        assert np.isfinite(sound).all()
    # What goes on from a recording begins with its codes: those of the clip's last quarter.
    codes = codec.encode(wave, RATE, 4)[0]
    assert np.array_equal(tokens.codes[:, :25], codes[:, codes.shape[1] * 3 // 4 :][:, :25])


def test_a_classifier_is_measured_against_features(tmp_path, wave):
    """Two "speakers": the clip, and the same an octave lower and slower."""
    for name, rate in (("high", RATE), ("low", RATE // 2)):
        (tmp_path / name).mkdir()
        for clip in range(8):
            soundfile.write(tmp_path / name / f"{clip}.wav", wave[clip * 12000 : clip * 12000 + rate], rate)
    done = run("classifier.py", "--speech", tmp_path, "--minutes", 0.1, "--report", tmp_path / "report.json")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["speakers"], report["train"], report["test"], report["by_chance"]) == (2, 12, 4, 0.5)
    assert report["steps"] >= 20
    for name in ("tokens", "log_mel"):
        assert report[f"{name}_accuracy"] in (0, 0.25, 0.5, 0.75, 1)


@pytest.mark.parametrize("name", ["language_model.py", "classifier.py"])
def test_a_folder_without_speech_is_told(name, tmp_path):
    done = run(name, "--speech", tmp_path)
    assert done.returncode != 0 and "holds no recordings" in done.stderr
