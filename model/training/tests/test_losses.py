"""Losses: their gradients against differences, their zeros, and their weights."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("soxr")

from parlo_training import config
from parlo_training.encoder import PITCH_BINS
from parlo_training.excitation import LOWEST_PITCH, OCTAVES
from parlo_training.losses import (
    FLOOR,
    SpectralLoss,
    _SpectralEnergyDistance,
    _Terms,
    mel_filters,
    pitch_loss,
)

RATE = 16000


def white(*shape, seed=1, dtype=torch.float32):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def plain(**changes):
    """The settings of a loss of one draw."""
    return config.Losses(**{"draws": 1, **changes})


def loss_of(own, made, target, weight=None, phases=False):
    """The loss of one draw made [B, samples], a scalar."""
    weight = torch.ones(len(target)) if weight is None else weight
    counts = torch.ones(len(target)) if phases else None
    return SpectralLoss(own, RATE)(made.unsqueeze(0), target, weight, counts).loss


def distance(weights, size=64, bands=8, low=20, most=1.0):
    """The loss at one resolution in doubles: a function of made, target and weight."""
    window = torch.hann_window(size, dtype=torch.float64)
    filters = mel_filters(RATE, size, bands).double()

    def loss(made, target, weight):
        return _SpectralEnergyDistance.apply(
            made, target, None, torch.stack([weight, weight]), window, filters, size // 4, weights,
            low, RATE, most,
        )[0]

    return loss


def by_autograd(weights, made, target, weight, size=64, bands=8, low=20, most=1.0):
    """The energy distance as its definition says, for autograd to differentiate."""
    window = torch.hann_window(size, dtype=torch.float64)
    filters = mel_filters(RATE, size, bands).double()

    def features(audio):
        audio = torch.nn.functional.pad(audio, (size // 2, size // 2))
        spectrum = torch.fft.rfft(audio.unfold(-1, size, size // 4) * window)
        power = spectrum.abs().square()
        root = (power + 1e-6) ** 0.25
        return torch.log(power @ filters + FLOOR), root, (spectrum / root)[..., :low]

    def apart(one, other):
        share = weight / weight.sum()
        return sum(
            w * (share * (a - b).abs().mean((-1, -2))).sum()
            for w, a, b in zip(weights, features(one), features(other))
        )

    total = sum(apart(draw, target) for draw in made) / len(made)
    return total - (0.5 * most * apart(*made) if len(made) == 2 else 0)


@pytest.mark.parametrize("draws", [1, 2])
@pytest.mark.parametrize("weights", [(1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0), (0.7, 1.3, 0.4)])
@pytest.mark.parametrize("samples, most", [(160, 1.0), (157, 1.0), (160, 0.6)])
def test_the_gradient_is_that_of_the_loss(draws, weights, samples, most):
    made = white(draws, 2, samples, seed=1, dtype=torch.float64).requires_grad_()
    target = white(2, samples, seed=2, dtype=torch.float64)
    weight = torch.tensor([0.4, 1.0], dtype=torch.float64)
    loss = distance(weights, most=most)(made, target, weight)
    expected = by_autograd(weights, made, target, weight, most=most)
    assert float(loss) == pytest.approx(float(expected), rel=1e-3)
    (gradient,) = torch.autograd.grad(loss, made)
    (true,) = torch.autograd.grad(expected, made)
    assert (gradient - true).norm() < 1e-3 * true.norm()
    assert torch.autograd.gradcheck(
        lambda audio: distance(weights, most=most)(audio, target, weight), made,
        eps=1e-7, atol=1e-5, rtol=1e-3,
    )


def test_the_whole_loss_goes_down_along_its_gradient():
    target = white(2, 6400, seed=2)
    made = white(2, 6400, seed=1).requires_grad_()
    value = loss_of(plain(), made, target)
    (gradient,) = torch.autograd.grad(value, made)
    value = value.detach()
    step = 1e-3 * value / gradient.square().sum()
    with torch.no_grad():
        change = loss_of(plain(), made - step * gradient, target) - value
    assert float(change) == pytest.approx(float(-1e-3 * value), rel=0.1)


def test_what_comes_after_scales_the_gradient():
    target = white(1, 4000, seed=2)
    gradients = []
    for factor in (1.0, 3.0):
        made = white(1, 4000, seed=1).requires_grad_()
        (factor * loss_of(plain(), made, target)).backward()
        gradients.append(made.grad)
    assert torch.allclose(3 * gradients[0], gradients[1])


def test_noise_of_its_own_is_worth_more_than_the_median_of_noise():
    """What a plain distance rewards, and the energy distance does not: magnitudes that hold still
    in the middle of what noise has."""
    spectra = torch.randn(3, 64, 50, 40, 2, generator=torch.Generator().manual_seed(1))
    target, *drawn = spectra.square().sum(-1) ** 0.25
    drawn = torch.stack(drawn)
    still = target.median().expand_as(drawn)

    def energy(made):
        terms = _Terms(len(made))
        terms.add(torch.cat([target.unsqueeze(0), made]), torch.full((), 1 / target.numel()))
        return float(terms.apart - 0.5 * terms.spread)

    assert energy(still[:1]) < 0.75 * energy(drawn[:1])
    assert energy(still) > 1.4 * energy(drawn)


def test_how_far_draws_are_apart_tells_a_decoder_that_ignores_its_noise():
    loss, weight = SpectralLoss(config.Losses(), RATE), torch.ones(4)
    target = white(4, 8000, seed=2)
    drawn = loss(torch.stack([white(4, 8000, seed=seed) for seed in (3, 4)]), target, weight)
    deaf = loss(white(4, 8000, seed=3).expand(2, -1, -1), target, weight)
    assert float(drawn.spread / drawn.apart) == pytest.approx(1, abs=0.05)
    assert deaf.spread == 0 and deaf.apart == pytest.approx(float(drawn.apart), rel=0.05)


def test_the_less_draws_repel_the_nearer_to_the_median_is_best():
    """Of magnitudes between the median of what noise has, 0, and noise of their own, 1."""
    spectra = torch.randn(3, 64, 50, 40, 2, generator=torch.Generator().manual_seed(1))
    target, *drawn = spectra.square().sum(-1) ** 0.25
    drawn = torch.stack(drawn)
    shares = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]

    def best(repulsion):
        def energy(share):
            made = target.median() + share * (drawn - target.median())
            terms = _Terms(2)
            terms.add(torch.cat([target.unsqueeze(0), made]), torch.full((), 1 / target.numel()), repulsion)
            return float(terms.apart - 0.5 * terms.counted)

        return min(shares, key=energy)

    assert best(1.0) == 1 and best(0.0) == 0 and 0 < best(0.8) < 1


@pytest.mark.parametrize("known", [True, False])
def test_how_much_draws_repel_is_as_configured(known):
    target, first, second = white(3, 2, 8000, seed=2)
    rest = target if known else None

    def terms(repulsion):
        loss = SpectralLoss(config.Losses(repulsion=repulsion), RATE)
        return loss(torch.stack([first, second]), target, torch.ones(2), rest=rest)

    whole, half = terms(1.0), terms(0.5)
    assert float(whole.loss) == pytest.approx(float(whole.apart - 0.5 * whole.spread), rel=1e-3)
    assert float(half.loss) == pytest.approx(float(half.apart - 0.25 * half.spread), rel=1e-3)


def test_phases_count_where_they_are_told_to():
    time = torch.arange(8000) / RATE
    tone = torch.sin(2 * math.pi * 440 * time).unsqueeze(0) * 0.1
    high = torch.sin(2 * math.pi * 6000 * time).unsqueeze(0) * 0.1
    own = plain(complex=1.0)
    assert float(loss_of(own, -tone, tone)) == pytest.approx(0, abs=1e-5)
    assert loss_of(own, -tone, tone, phases=True) > 0.02
    assert loss_of(own, -high, high, phases=True) < 0.1 * loss_of(own, -tone, tone, phases=True)


@pytest.mark.parametrize("rate", [16000, 24000])
def test_equal_signals_have_no_loss(rate):
    loss = SpectralLoss(plain(complex=1.0), rate)
    for audio in (white(2, rate // 2), torch.zeros(2, rate // 2)):
        made = audio.clone().requires_grad_()
        value = loss(made.unsqueeze(0), audio, torch.ones(2), torch.ones(2)).loss
        value.backward()
        assert value == 0 and (made.grad == 0).all()


def test_silence_against_speech_is_finite():
    speech, silence = white(1, 8000), torch.zeros(1, 8000)
    for made, target in ((silence.clone(), speech), (speech.clone(), silence)):
        made.requires_grad_()
        value = loss_of(plain(complex=1.0), made, target, phases=True)
        value.backward()
        assert torch.isfinite(value) and value > 0.1 and torch.isfinite(made.grad).all()


def test_items_count_by_their_weights():
    made, target = white(2, 4000, seed=1), white(2, 4000, seed=2) * torch.tensor([[1.0], [0.1]])
    alone = [loss_of(plain(), made[i : i + 1], target[i : i + 1]) for i in range(2)]
    assert alone[1] > 1.5 * alone[0]
    for first, second in ((1.0, 0.0), (0.0, 1.0), (1.0, 3.0), (0.25, 0.25)):
        expected = (first * alone[0] + second * alone[1]) / (first + second)
        found = loss_of(plain(), made, target, torch.tensor([first, second]))
        assert found == pytest.approx(float(expected), rel=1e-5)
    made.requires_grad_()
    loss_of(plain(), made, target, torch.tensor([1.0, 0.0])).backward()
    assert made.grad[0].abs().max() > 0 and (made.grad[1] == 0).all()


def test_phase_does_not_count_but_level_and_pitch_do():
    time = torch.arange(8000) / RATE

    def tone(hertz, phase=0.0, level=0.1):
        return (level * torch.sin(2 * math.pi * hertz * time + phase)).unsqueeze(0)

    def of(made):
        return float(loss_of(plain(), made, tone(440)))

    # a tone that begins elsewhere in its turn differs where it begins and ends, and only there
    assert of(tone(440, phase=1.5)) < 0.5 * of(tone(440, level=0.03)) < 0.3 * of(tone(660))
    assert of(-tone(440)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
def test_mel_filters_cover_the_band(rate):
    for size, bands in zip(config.Losses().sizes, config.Losses().mels):
        filters = mel_filters(rate, size * rate // 16000 // 4 * 4, bands)
        assert filters.shape[1] == bands and (filters >= 0).all()
        assert torch.allclose(filters.sum(0), torch.ones(bands))
        centres = (filters * torch.arange(len(filters)).unsqueeze(1)).sum(0)
        assert (centres.diff() >= 0).all()


# Pitch.


def bins_of(hertz):
    octaves = torch.log2(hertz) - math.log2(LOWEST_PITCH)
    return octaves / OCTAVES * (PITCH_BINS - 1)


def scores_for(hertz, sharpness=10.0):
    """Scores [B, T, PITCH_BINS] that say this pitch [B, T]."""
    index = torch.arange(PITCH_BINS)
    return -0.5 * sharpness * (index - bins_of(hertz.abs()).unsqueeze(-1)).square()


def test_the_right_pitch_costs_little_and_counts_as_right():
    hertz = torch.tensor([[80.0, 120.0, 240.0, 400.0]])
    known = torch.tensor([True])
    good, right = pitch_loss(scores_for(hertz, 1.0), hertz, known)
    octave, wrong = pitch_loss(scores_for(hertz.roll(1, 1), 1.0), hertz, known)
    assert right == 1 and wrong == 0 and good < 2 < octave
    semitone, near = pitch_loss(scores_for(hertz * 2 ** (0.4 / 12), 1.0), hertz, known)
    assert near == 1 and good < semitone < octave


def test_labels_count_as_they_are_known():
    hertz = torch.tensor([[120.0, -120.0, 0.0, 900.0]])
    scores = white(1, 4, PITCH_BINS, seed=3).requires_grad_()
    pitch_loss(scores, hertz, torch.tensor([True]))[0].backward()
    force = scores.grad.abs().sum(-1)[0]
    assert force[2] == force[3] == 0  # unknown, and out of range
    assert force[1] == pytest.approx(0.05 * float(force[0]), rel=0.01)  # unvoiced


def test_items_of_unknown_pitch_are_left_out():
    hertz = torch.tensor([[120.0, 150.0], [200.0, 220.0]])
    scores = white(2, 2, PITCH_BINS, seed=3)
    both, _ = pitch_loss(scores, hertz, torch.tensor([True, False]))
    alone, _ = pitch_loss(scores[:1], hertz[:1], torch.tensor([True]))
    assert both == pytest.approx(float(alone))
    none, share = pitch_loss(scores, hertz, torch.tensor([False, False]))
    assert none == 0 and share == 0


def test_the_pitch_loss_has_the_gradient_of_its_definition():
    hertz = torch.tensor([[120.0, -300.0, 0.0]])
    scores = torch.randn(1, 3, PITCH_BINS, generator=torch.Generator().manual_seed(1)).double()
    assert torch.autograd.gradcheck(
        lambda x: pitch_loss(x, hertz.double(), torch.tensor([True]))[0], scores.requires_grad_()
    )
