"""The tracker that labels pitch: right on voices, silent on noise, whatever the level."""

from __future__ import annotations

import numpy as np
import pytest

from parlo_training.pitch import track
from support import pulse_train

RATE, STEPS = 16000, 200


def noise(seconds, level=0.1, seed=1):
    return level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))


@pytest.mark.parametrize("hertz", [60, 85, 130, 220, 350, 500])
@pytest.mark.parametrize("level", [0.003, 1.0])
def test_a_voice_has_its_pitch(hertz, level):
    found = track(level * pulse_train(hertz, 1.0, RATE), RATE, STEPS)
    assert len(found) == STEPS
    inner = found[8:-8]
    assert (inner > 0).mean() > 0.97
    assert np.abs(12 * np.log2(inner[inner > 0] / hertz)).max() < 0.35  # a third of a semitone


def test_a_glide_is_followed():
    hertz = 100 * 2 ** np.linspace(0, 1.2, RATE)
    turns = np.cumsum(hertz) / RATE
    voice = sum(np.cos(2 * np.pi * k * turns) / k for k in range(1, 12))
    found = track(0.1 * voice, RATE, STEPS)[8:-8]
    expected = hertz[:: RATE // STEPS][8:-8]
    assert (found > 0).all() and np.abs(np.log2(found / expected)).max() < 0.06


@pytest.mark.parametrize("audio", [noise(1.0), np.zeros(RATE), noise(1.0, 1e-6)])
def test_noise_and_silence_have_no_pitch(audio):
    assert (track(audio, RATE, STEPS) > 0).mean() < 0.03


def test_a_voice_between_pauses_begins_and_ends_where_it_does():
    audio = noise(1.5, 1e-3)
    audio[RATE // 2 : RATE] += pulse_train(140, 0.5, RATE)
    voiced = track(audio, RATE, STEPS) > 0
    first, last = np.flatnonzero(voiced)[[0, -1]]
    assert abs(first - 100) <= 6 and abs(last - 200) <= 6
    assert voiced[first : last + 1].all()


@pytest.mark.parametrize("samples", [0, 1, 79, 80, 400])
def test_the_shortest_audio_has_as_many_values_as_steps(samples):
    assert len(track(noise(1.0)[:samples], RATE, STEPS)) == samples // 80


def test_other_rates():
    found = track(pulse_train(150, 0.6, 24000), 24000, STEPS)[8:-8]
    assert np.abs(np.log2(found / 150)).max() < 0.03
