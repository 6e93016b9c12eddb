"""Discriminators: shapes, gradients, what they learn, and their losses on made-up judgements."""

import math

import pytest

torch = pytest.importorskip("torch")

from parlo_training.discriminators import (
    Discriminators,
    SpectrogramDiscriminator,
    discriminator_loss,
    feature_matching,
    generator_loss,
)

RATE = 16000


def make(seed=1, **settings):
    torch.manual_seed(seed)
    return Discriminators(**{"fft_sizes": (256, 128), "channels": 8, **settings})


def white(*shape, seed=2):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def judged(*values, features=()):
    """A judgement per value: a logit map, and feature maps, that say it everywhere."""
    maps = [torch.full((2, 3, 4, 5), float(value)) for value in features]
    return [(torch.full((2, 1, 4, 5), float(value)), maps) for value in values]


def test_shapes():
    batch, samples = 3, 4096
    out = make(fft_sizes=(1024, 512, 256), channels=8)(white(batch, samples))
    assert len(out) == 3
    for size, (logits, features) in zip((1024, 512, 256), out):
        frames = 1 + (samples - size) // (size // 4)
        bands = size // 2 + 1
        assert len(features) == 5
        for feature in features[:4]:
            bands = (bands + 1) // 2
            assert feature.shape == (batch, 8, frames, bands)
        assert features[4].shape == features[3].shape
        assert logits.shape == (batch, 1, frames, bands)


def test_default_is_small():
    assert sum(weight.numel() for weight in Discriminators().parameters()) < 300_000


def test_same_seed_same_judgement():
    audio = white(2, 1000)
    for (ours, mine), (theirs, others) in zip(make()(audio), make()(audio)):
        assert torch.equal(ours, theirs)
        assert all(torch.equal(a, b) for a, b in zip(mine, others))
    assert not torch.equal(make()(audio)[0][0], make(seed=2)(audio)[0][0])


def test_spectrogram_is_compressed_and_keeps_phase():
    judge = SpectrogramDiscriminator(256, 8)
    time = torch.arange(2560) / RATE
    tone = torch.cos(2 * math.pi * 1000 * time + 0.7)[None]  # bin 16, the same in each frame
    loud, quiet = judge.spectrogram(0.5 * tone), judge.spectrogram(0.05 * tone)
    assert loud.shape == (1, 2, 37, 129)
    phase = torch.atan2(loud[:, 1, :, 16], loud[:, 0, :, 16])
    torch.testing.assert_close(phase, torch.full_like(phase, 0.7), rtol=0, atol=1e-3)
    size = loud.norm(dim=1)[..., 16]
    torch.testing.assert_close(size / quiet.norm(dim=1)[..., 16], torch.full_like(size, 10**0.5))
    # Half the tone's amplitude times the window's sum, over the root of its energy.
    window = torch.hann_window(256)
    expected = (0.25 * window.sum() / window.square().sum().sqrt()).sqrt()
    torch.testing.assert_close(size, expected.expand_as(size), rtol=1e-3, atol=0)


def test_noise_has_the_same_level_at_every_resolution():
    for size in (128, 1024):
        parts = SpectrogramDiscriminator(size, 8).spectrogram(white(4, 16000))
        power = parts.square().sum(1).square().mean()  # uncompressed again
        torch.testing.assert_close(power, torch.tensor(0.01), rtol=0.05, atol=0)


@pytest.mark.parametrize("level", [0.0, 1e-6, 1.0])
def test_gradients_reach_the_audio(level):
    discriminators = make()
    audio = (level * white(2, 1000)).requires_grad_()
    fake = discriminators(audio)
    loss = generator_loss(fake) + feature_matching(discriminators(white(2, 1000, seed=3)), fake)
    loss.backward()
    assert audio.grad.isfinite().all()
    if level:
        assert (audio.grad.abs() > 0).float().mean() > 0.95


def test_learns_to_tell_a_tone_from_noise():
    discriminators = make()
    optimizer = torch.optim.Adam(discriminators.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(5)
    time = torch.arange(2048) / RATE

    def tones():
        pitch = 200 + 2000 * torch.rand(4, 1, generator=generator)
        return 0.14 * torch.sin(2 * math.pi * pitch * time)

    def noise():
        return 0.1 * torch.randn(4, 2048, generator=generator)

    for _ in range(25):
        loss = discriminator_loss(discriminators(tones()), discriminators(noise()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        for (real, _), (fake, _) in zip(discriminators(tones()), discriminators(noise())):
            assert real.mean() > 0.5 and fake.mean() < -0.5


def test_hinge_losses():
    real, fake = judged(0.25, 3.0), judged(-0.5, -2.0)
    # (1 - 0.25) + (1 - 0.5), and nothing beyond the margins.
    torch.testing.assert_close(discriminator_loss(real, fake), torch.tensor(1.25 / 2))
    torch.testing.assert_close(discriminator_loss(judged(0), judged(0)), torch.tensor(2.0))
    torch.testing.assert_close(generator_loss(fake), torch.tensor((1.5 + 3.0) / 2))
    assert generator_loss(judged(1.5)) == 0


def test_feature_matching_is_relative():
    real, fake = judged(0, features=(2.0, -4.0)), judged(0, features=(1.0, -5.0))
    torch.testing.assert_close(feature_matching(real, fake), torch.tensor((0.5 + 0.25) / 2))
    assert feature_matching(real, real) == 0
    assert feature_matching(judged(0, features=(0.0,)), judged(0, features=(0.0,))) == 0


def test_feature_matching_leaves_the_real_alone():
    real, fake = torch.ones(1, 2, 3, 4, requires_grad=True), torch.zeros(1, 2, 3, 4)
    fake.requires_grad_()
    logits = torch.zeros(1, 1, 3, 4)
    feature_matching([(logits, [real])], [(logits, [fake])]).backward()
    assert real.grad is None and fake.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
        ),
    ],
)
def test_runs_under_autocast(device):
    discriminators = make().to(device)
    real, fake = white(2, 1000).to(device), white(2, 1000, seed=3).to(device).requires_grad_()
    exact = discriminators(real)
    with torch.autocast(device, torch.bfloat16):
        assert discriminators.resolutions[0].spectrogram(real).dtype == torch.float32
        ours, theirs = discriminators(real), discriminators(fake)
        assert ours[0][1][1].dtype == torch.bfloat16
        loss = discriminator_loss(ours, theirs) + feature_matching(ours, theirs)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert fake.grad.dtype == torch.float32 and fake.grad.isfinite().all()
    torch.testing.assert_close(ours[0][0].float(), exact[0][0], rtol=0, atol=0.05)


def test_refusals():
    with pytest.raises(ValueError, match="multiples of 4"):
        Discriminators(fft_sizes=(254,))
    with pytest.raises(ValueError, match="from 256 on"):
        make()(white(1, 255))
    with pytest.raises(ValueError):
        feature_matching(judged(0, 0), judged(0))
