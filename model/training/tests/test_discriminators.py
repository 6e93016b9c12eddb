"""Discriminators: shapes, gradients, what they learn, and their losses on made-up judgements."""

import math

import pytest

torch = pytest.importorskip("torch")

from parlo_training.discriminators import (
    Discriminators,
    FrameDiscriminator,
    PeriodDiscriminator,
    discriminator_loss,
    feature_matching,
    generator_loss,
    win_rates,
)

RATE = 16000


def make(seed=1, **settings):
    torch.manual_seed(seed)
    return Discriminators(**{"sizes": (256, 128), "periods": (2,), "width": 16, **settings})


def white(*shape, seed=2):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def judged(*values, features=()):
    """A judgement per value: logits, and feature maps, that say it everywhere."""
    maps = [torch.full((2, 3, 4), float(value)) for value in features]
    return [(torch.full((2, 4), float(value)), maps) for value in values]


def test_shapes():
    batch, samples = 3, 4096
    out = make(sizes=(1024, 512, 256), periods=(2, 3, 5))(white(batch, samples))
    assert len(out) == 6
    for size, (logits, features) in zip((1024, 512, 256), out):
        frames = 1 + (samples - size) // (size // 4)
        assert logits.shape == (batch, frames)
        assert [feature.shape for feature in features] == [(batch, 16, frames)] * 4
    for period, (logits, features) in zip((2, 3, 5), out[3:]):
        assert logits.shape[0] == batch and len(features) == 4
        assert all(feature.shape[0] == batch * period for feature in features)


def test_same_seed_same_judgement():
    audio = white(2, 1000)
    for (ours, mine), (theirs, others) in zip(make()(audio), make()(audio)):
        assert torch.equal(ours, theirs)
        assert all(torch.equal(a, b) for a, b in zip(mine, others))
    assert not torch.equal(make()(audio)[0][0], make(seed=2)(audio)[0][0])


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(ValueError, match="multiples of 8"):
        make(sizes=(100,))
    for audio in (white(1000), white(2, 255), white(1, 2, 1000)):
        with pytest.raises(ValueError, match="T from 256 on"):
            make()(audio)


@pytest.mark.parametrize("rate", [16000, 24000])
def test_silence_and_full_scale_have_finite_judgements_and_gradients(rate):
    judges = make(rate=rate)
    for audio in (torch.zeros(2, 2000), torch.ones(2, 2000), white(2, 2000) * 1e-7):
        audio = audio.clone().requires_grad_()
        logits = judges(audio)
        generator_loss(logits).backward()
        assert torch.isfinite(audio.grad).all()
        assert all(torch.isfinite(one).all() for one, _ in logits)


def test_spectra_tell_where_a_click_lies_in_their_frames():
    """A click delays all frequencies alike: from bin to bin the phase falls as it comes later."""
    judge = FrameDiscriminator(512, RATE, 16)
    bins, low = 512 // 2 + 1, judge.low
    for place in (-100, 0, 60):
        audio = torch.zeros(1, 512)
        audio[0, 256 + place] = 1.0
        across = judge.spectra(audio)[0, bins : bins + 2 * low, 0]
        angle = torch.atan2(across[low:], across[:low])
        expected = 2 * math.pi * place / 512
        assert (torch.remainder(angle - expected + math.pi, 2 * math.pi) - math.pi).abs().max() < 0.01


def test_steady_tones_do_not_turn_from_frame_to_frame():
    judge = FrameDiscriminator(512, RATE, 16)
    time = torch.arange(8000) / RATE
    tone = 0.1 * torch.cos(2 * math.pi * 1000 * time).unsqueeze(0)
    at = 1000 * 512 // RATE
    spectra = judge.spectra(tone)[0, :, 2:-2]
    bins, low = 512 // 2 + 1, judge.low
    real, imaginary = spectra[bins + 2 * low + at], spectra[bins + 3 * low + at]
    assert (real > 0).all() and (imaginary.abs() < 0.05 * real).all()


def test_the_waveform_is_judged_whatever_its_level():
    judge = PeriodDiscriminator(3)
    audio = white(2, 3001)
    one, other = judge(audio)[0], judge(4 * audio)[0]
    assert torch.allclose(one, other, atol=0.02 * float(one.abs().max()))


def test_they_learn_to_tell_pulses_from_noise():
    judges = make()
    optimizer = torch.optim.Adam(judges.parameters(), 2e-3)
    generator = torch.Generator().manual_seed(3)

    def real():
        audio = torch.zeros(4, 2000)
        for item in audio:
            first, period = torch.randint(0, 80, (2,), generator=generator).tolist()
            item[first :: 80 + period] = 1.0
        return audio

    def fake():
        return 0.1 * torch.randn(4, 2000, generator=generator)

    for _ in range(30):
        loss = discriminator_loss(judges(real()), judges(fake()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert win_rates(judges(real()), judges(fake())).min() > 0.9


def test_losses_are_what_they_say():
    assert discriminator_loss(judged(0, 0), judged(0, 0)) == 2
    assert discriminator_loss(judged(1, 2), judged(-1, -3)) == 0
    assert generator_loss(judged(1, -3)) == 1
    weight = torch.tensor([1.0, 0.0])
    uneven = [(torch.tensor([[1.0, 1.0], [5.0, 5.0]]), [])]
    assert generator_loss(uneven, weight) == -1
    assert win_rates(judged(1, -1), judged(-1, -1)).tolist() == [1.0, 0.5]


def test_feature_matching_is_relative():
    real, fake = judged(0, features=(2, 4)), judged(0, features=(1, 4))
    assert feature_matching(real, fake) == pytest.approx((0.5 + 0) / 2)
    assert feature_matching(real, real) == 0


def test_features_of_the_real_get_no_gradient():
    judges = make()
    real, fake = white(1, 600).requires_grad_(), white(1, 600, seed=4).requires_grad_()
    feature_matching(judges(real), judges(fake)).backward()
    assert real.grad is None and fake.grad.abs().max() > 0


def test_judgements_must_pair():
    for loss in (discriminator_loss, feature_matching):
        with pytest.raises(ValueError):
            loss(judged(0, 0), judged(0))
