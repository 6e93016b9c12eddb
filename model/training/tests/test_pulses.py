"""Where the pulses of a voice are: found where they were put, and the right way up."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("soxr")

from parlo_training.pulses import STEPS, residual, track

RATE = 16000


def voice(hertz, seconds=1.0, seed=1):
    """Pulses through two resonances, with a little noise: audio [samples], cycles [samples] whose
    whole numbers are the pulses, pitch every 5 ms."""
    random = np.random.default_rng(seed)
    count = round(seconds * RATE)
    pitch = hertz * np.exp2(0.15 * np.sin(2 * np.pi * 3 * np.arange(count) / RATE))
    cycles = np.cumsum(pitch) / RATE + random.random()
    sound = np.zeros(count)
    places = np.flatnonzero(np.floor(cycles[1:]) > np.floor(cycles[:-1])) + 1
    sound[places] = 1.0
    for centre, width in ((600, 80), (1500, 120), (2800, 200)):
        radius = np.exp(-np.pi * width / RATE)
        a1, a2 = -2 * radius * np.cos(2 * np.pi * centre / RATE), radius**2
        out = np.zeros(count + 2)
        for n in range(count):
            out[n + 2] = sound[n] - a1 * out[n + 1] - a2 * out[n]
        sound = out[2:]
    sound = 0.1 * sound / np.abs(sound).max() + 1e-4 * random.standard_normal(count)
    return sound, cycles, pitch[:: RATE // STEPS]


@pytest.mark.parametrize("hertz", [80, 130, 220, 330])
@pytest.mark.parametrize("sign", [1, -1])
def test_pulses_are_found_whichever_way_up(hertz, sign):
    sound, cycles, pitch = voice(hertz)
    found, sharper = track(sign * sound, pitch, RATE)
    assert np.sign(sharper) == sign
    off = found - cycles[:: RATE // STEPS]
    off = (off - np.round(off))[10:-10]
    assert np.abs(off).max() < 0.06, off
    # and they stay where they are: a tenth of a radian at the tenth harmonic
    assert np.abs(np.diff(off)).mean() < 0.002


def test_the_residual_is_flat():
    sound, _, _ = voice(120)
    found = residual(sound, RATE)
    assert len(found) == len(sound)

    def flatness(x):
        power = np.abs(np.fft.rfft(x * np.hanning(len(x)))) ** 2
        bands = power[: 6400].reshape(64, -1).mean(1)
        return np.exp(np.log(bands).mean()) / bands.mean()

    assert flatness(found) > 10 * flatness(sound)


@pytest.mark.parametrize("pitch", [np.zeros(100), -np.full(100, 120.0), np.zeros(0)])
def test_without_a_voice_there_is_no_track(pitch):
    noise = np.random.default_rng(1).standard_normal(80 * len(pitch))
    found, sharper = track(noise, pitch, RATE)
    assert sharper == 0 and (found == 0).all() and len(found) == len(pitch)


def test_silence_and_short_clips_have_phases_too():
    for audio in (np.zeros(8000), np.zeros(10)):
        found, _ = track(audio, np.full(100, 120.0), RATE)
        assert np.isfinite(found).all() and ((found >= 0) & (found < 1)).all()
