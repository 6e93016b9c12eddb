"""Our measure of intelligibility against pystoi, the implementation that papers use."""

import json

import numpy as np
import pytest
import soundfile
from pystoi import stoi
from scipy.signal import resample_poly

from conftest import CLIP


@pytest.fixture(scope="module")
def speech():
    audio, rate = soundfile.read(CLIP, dtype="float32")
    return audio, rate


@pytest.fixture
def score(xtask, tmp_path):
    def run(reference, received, rate, received_rate=None):
        for name, audio, at in (("a.wav", reference, rate), ("b.wav", received, received_rate or rate)):
            soundfile.write(tmp_path / name, audio, at, subtype="FLOAT")
        return json.loads(xtask.run("score", tmp_path / "a.wav", tmp_path / "b.wav"))

    return run


def noisy(audio, db):
    noise = np.random.default_rng(3).standard_normal(len(audio)) * audio.std() / 10 ** (db / 20)
    return (audio + noise).astype(np.float32)


@pytest.mark.parametrize("db", [-5, 5, 20])
@pytest.mark.parametrize("rate", [10000, 16000, 24000, 44100, 48000])
def test_noise_scores_as_by_pystoi(speech, score, rate, db):
    audio = resample_poly(speech[0], rate, speech[1]).astype(np.float32)
    found = score(audio, noisy(audio, db), rate)
    assert (found["lag_ms"], found["covered"]) == (0, 1)
    expected = stoi(audio, noisy(audio, db), rate, extended=True)
    assert found["estoi"] == pytest.approx(expected, abs=1e-5)


def test_delay_is_found_and_does_not_count(speech, score):
    audio, rate = speech
    lag = 2345
    late = np.concatenate([np.zeros(lag, np.float32), noisy(audio, 20)])[: len(audio)]
    found = score(audio, late, rate)
    assert round(found["lag_ms"] * rate / 1000) == lag
    assert found["covered"] == pytest.approx(1 - lag / len(audio), abs=1e-6)
    expected = stoi(audio[:-lag], late[lag:], rate, extended=True)
    assert found["estoi"] == pytest.approx(expected, abs=1e-5)


def test_rates_need_not_be_the_same(speech, score):
    audio, rate = speech
    lower = resample_poly(noisy(audio, 10), 16000, rate)
    found = score(audio, lower, rate, 16000)
    expected = stoi(resample_poly(audio, 16000, rate), lower, 16000, extended=True)
    assert found["estoi"] == pytest.approx(expected, abs=2e-3)


def test_other_speech_is_not_taken_for_the_same(speech, score):
    audio, rate = speech
    found = score(audio, audio[::-1].copy(), rate)
    assert found["estoi"] < 0.3 and found["correlation"] < 0.5
