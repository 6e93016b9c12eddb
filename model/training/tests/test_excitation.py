"""Pulses and noise: exact in a stream, where they should be, and no louder."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("soxr")

from parlo_training.excitation import (
    LOWEST_PITCH,
    NOISE_FRAMES,
    OCTAVES,
    TURN,
    Excitation,
    Pitch,
)

RATES = (16000, 24000)


def made(rate=16000, scale=32):
    return Excitation(rate, rate // 50, scale)


def steady(excitation, hertz, frames):
    """Pulses [samples] at a steady pitch, and the pitch in Hz that it became."""
    rate = excitation.frame * 50
    element = excitation.pitch.element(torch.full((1, frames), float(hertz), dtype=torch.float64))
    pulses, _ = excitation.whole(element.float(), None)
    return pulses[0], float(excitation.pitch.increment(element[0, 0])) * rate / TURN


def wandering(frames, seed=1):
    """Pitch elements [1, frames] that wander over the whole range and beyond, and jump."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randn(frames, generator=generator)
    jumps = 60 * torch.randn(frames, generator=generator)
    jumps *= torch.rand(frames, generator=generator) < 0.05
    return ((steps + jumps).cumsum(0) % 140 - 70).unsqueeze(0)


@pytest.mark.parametrize("rate", RATES)
def test_a_stream_and_a_whole_file_agree(rate):
    excitation = made(rate)
    element = wandering(3 * NOISE_FRAMES)
    pulses, noise = excitation.whole(element, None)
    state = torch.zeros(1, 3)
    steps = []
    for frame in range(element.shape[1]):
        *sound, state = excitation.step(element[:, frame : frame + 1], state)
        steps.append(sound)
    assert torch.equal(torch.cat([step[1] for step in steps], 1), noise)
    # the phase is exact: only the sines of the two ways may differ, and not ever more
    difference = (torch.cat([step[0] for step in steps], 1) - pulses).abs()
    assert difference.max() < 1e-4
    assert difference[:, -rate:].mean() < 2 * difference[:, :rate].mean() + 1e-6


@pytest.mark.parametrize("rate", RATES)
def test_the_phase_is_that_of_whole_numbers(rate):
    excitation = made(rate)
    element = wandering(1000, seed=2)
    increments = [int(value) for value in excitation.pitch.increment(element)[0]]
    assert torch.equal(excitation.pitch.increment(element), torch.tensor([increments]).float())
    state, phase, before = torch.zeros(1, 3), 0, increments[0]
    for frame, now in enumerate(increments):
        _, _, state = excitation.step(element[:, frame : frame + 1], state)
        phase = (phase + (before + now) * (excitation.frame // 2)) % TURN
        assert state.tolist() == [[now, phase, (frame + 1) % NOISE_FRAMES]]
        before = now


def test_a_batch_is_its_items():
    excitation = made()
    elements = torch.cat([wandering(20, seed) for seed in range(3)])
    together = excitation.whole(elements, None)
    for item in range(3):
        alone = excitation.whole(elements[item : item + 1], None)
        for whole, single in zip(together, alone):
            assert torch.allclose(whole[item], single[0], atol=1e-5)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("hertz", [60, 100, 173, 320, 500])
def test_pulses_are_a_period_apart(rate, hertz):
    sound, exact = steady(made(rate), hertz, 100)
    assert exact == pytest.approx(hertz, rel=0.001)
    # half way between two samples a pulse is 2/pi of its height
    peaks = (sound > 0.5 * sound.max()) & (sound >= sound.roll(1)) & (sound > sound.roll(-1))
    places = peaks[1:-1].nonzero().flatten().double() + 1
    assert (places.diff() - rate / exact).abs().max() <= 1
    mean = (places[-1] - places[0]) / (len(places) - 1)
    assert float(mean) == pytest.approx(rate / exact, rel=0.002)


@pytest.mark.parametrize("rate", RATES)
def test_pulses_have_unit_power_at_every_pitch(rate):
    excitation = made(rate)
    for hertz in range(56, 520, 31):
        power = steady(excitation, hertz, 100)[0].square().mean()
        assert 0.95 < power < 1.02
    glide = excitation.whole(torch.linspace(-50, 50, 100).unsqueeze(0), None)[0]
    assert glide.square().mean() == pytest.approx(1, abs=0.05)
    noise = excitation.whole(torch.zeros(1, NOISE_FRAMES), None)[1]
    assert noise.square().mean() == pytest.approx(1, abs=0.03)


def spectrum(sound):
    """Power of each bin, those of a steady tone's sidelobes under -90 dB of it, sum 1."""
    n = torch.arange(len(sound), dtype=torch.float64) * (2 * math.pi / len(sound))
    terms = (0.35875, -0.48829, 0.14128, -0.01168)  # Blackman and Harris
    window = sum(term * torch.cos(k * n) for k, term in enumerate(terms))
    power = torch.fft.rfft(sound.double() * window).abs().square()
    return power / power.sum()


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("hertz", [57, 100, 141, 200, 236])
def test_there_are_harmonics_up_to_the_edge_and_nothing_else(rate, hertz):
    sound, exact = steady(made(rate), hertz, 200)
    power = spectrum(sound)
    frequency = torch.fft.rfftfreq(len(sound), 1 / rate).double()
    numbers = torch.round(frequency / exact).clamp(min=1)
    near = (frequency - numbers * exact).abs() < 4.1 * rate / len(sound)
    assert power[~near].sum() < 1e-7
    levels = torch.zeros(int(numbers.max()) + 1, dtype=torch.float64).index_add_(
        0, numbers.long(), power
    )
    edge = int(0.97 * rate / 2 / exact)
    assert levels[1 : edge + 1].min() > 0.9 * levels[1 : edge + 1].max()
    # what is above fades in, and lies below the Nyquist frequency
    assert (edge + 1) * exact < rate / 2 and levels[edge + 1] < 1.1 * levels[edge]
    assert levels[edge + 2 :].sum() < 1e-9


@pytest.mark.parametrize("rate", RATES)
def test_what_high_voices_alias_is_less_than_a_harmonic(rate):
    """Above 0.03 of the Nyquist frequency the harmonic that fades in may lie beyond it."""
    excitation = made(rate)
    for hertz in range(240, 520, 7):
        sound, exact = steady(excitation, hertz, 100)
        power = spectrum(sound)
        frequency = torch.fft.rfftfreq(len(sound), 1 / rate).double()
        numbers = torch.round(frequency / exact).clamp(min=1)
        near = (frequency - numbers * exact).abs() < 4.1 * rate / len(sound)
        assert power[~near].sum() < 0.35 / (rate / 2 / exact)


def test_nothing_clicks_where_the_pitch_moves():
    excitation = made()
    sound, _ = excitation.whole(torch.linspace(-45, 45, 400).unsqueeze(0), None)
    # between the pulses of a smooth glide: no sample stands out at the frames' borders
    loudest = sound.reshape(400, -1).abs()
    assert loudest[:, 0].mean() == pytest.approx(float(loudest.mean()), rel=0.3)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("scale", [8, 32])
def test_pitch_comes_back_within_two_cents(rate, scale):
    pitch = Pitch(rate, scale)
    top = LOWEST_PITCH * 2**OCTAVES
    hertz = torch.logspace(math.log10(LOWEST_PITCH), math.log10(top) - 0.001, 500).double()
    back = pitch.increment(pitch.element(hertz)).double() * rate / TURN
    assert (1200 * torch.log2(back / hertz)).abs().max() < 2
    outside = pitch.element(torch.tensor([1.0, 20.0, 900.0, 1e6], dtype=torch.float64))
    limits = pitch.increments[[0, 0, -1, -1]]
    assert torch.equal(pitch.increment(outside), limits)


def test_drawn_noise_follows_its_generator():
    excitation = made()
    element = torch.zeros(2, 30)
    first, again, other = (
        excitation.whole(element, torch.Generator().manual_seed(seed))[1] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])
