"""Residual quantization: what is coded, what each stage adds, how codebooks learn."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("soxr")

from parlo_training.config import Quantizer
from parlo_training.quantizer import ResidualQuantizer

OWN = Quantizer(stages=4, entries=32, latent=8)


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def make(own=OWN, seed=1):
    """Codebooks that get finer from stage to stage, as trained ones do."""
    torch.manual_seed(seed)
    quantizer = ResidualQuantizer(own)
    scale = 0.4 ** torch.arange(own.stages)
    quantizer.codebooks.copy_(torch.randn(quantizer.codebooks.shape) * scale[:, None, None])
    quantizer.sums.copy_(quantizer.codebooks * quantizer.usage[..., None])
    return quantizer


def clusters(count, frames, size=8, seed=2):
    """Latents [frames, size] around `count` places, and which."""
    places = 3 * torch.randn(count, size, generator=seeded(seed))
    which = torch.arange(frames) % count
    return places[which] + 0.05 * torch.randn(frames, size, generator=seeded(seed + 1)), which


def test_entries_are_coded_as_themselves():
    quantizer = make()
    book = quantizer.codebooks[0]
    codes = quantizer.encode(book)
    assert torch.equal(codes[:, 0], torch.arange(OWN.entries))
    assert torch.equal(quantizer.decode(codes[:, :1]), book)
    for stage in range(OWN.stages):
        assert torch.equal(quantizer.nearest(quantizer.codebooks[stage], stage),
                           torch.arange(OWN.entries))


def test_the_nearest_entry_is_taken():
    quantizer = make()
    latent = torch.randn(500, 8, generator=seeded())
    distance = torch.cdist(latent.double(), quantizer.codebooks[0].double())
    taken = distance.gather(1, quantizer.nearest(latent, 0).unsqueeze(1)).squeeze(1)
    assert torch.allclose(taken, distance.min(1).values, atol=1e-6)


def test_codes_are_the_greedy_walk_and_decode_to_prefix_sums():
    quantizer = make()
    latent = torch.randn(3, 20, 8, generator=seeded())
    codes = quantizer.encode(latent)
    assert codes.shape == (3, 20, OWN.stages)
    left, total = latent.clone(), torch.zeros_like(latent)
    for stage in range(OWN.stages):
        entry = quantizer.codebooks[stage][codes[..., stage]]
        assert torch.equal(codes[..., stage].flatten(),
                           quantizer.nearest(left.reshape(-1, 8), stage))
        left, total = left - entry, total + entry
        assert torch.allclose(quantizer.decode(codes[..., : stage + 1]), total, atol=1e-6)


def test_depth_lowers_the_error():
    quantizer = make()
    latent = torch.randn(2000, 8, generator=seeded())
    quantizer.start(latent)
    codes = quantizer.encode(latent)
    errors = [(quantizer.decode(codes[:, :depth]) - latent).square().mean()
              for depth in range(1, OWN.stages + 1)]
    assert errors[0] < latent.square().mean()
    assert all(deeper < 0.95 * before for before, deeper in zip(errors, errors[1:]))


def test_each_frame_is_quantized_to_its_depth():
    quantizer = make()
    latent = torch.randn(2, 10, 8, generator=seeded())
    depth = torch.randint(0, OWN.stages + 1, (2, 10), generator=seeded())
    before = quantizer.codebooks.clone()
    quantized, codes = quantizer.quantize(latent, depth, learn=False)
    assert torch.equal(codes, quantizer.encode(latent))
    assert torch.equal(quantizer.codebooks, before)
    for item in range(2):
        for frame in range(10):
            used = int(depth[item, frame])
            expected = (quantizer.decode(codes[item, frame, :used]) if used else torch.zeros(8))
            assert torch.allclose(quantized[item, frame], expected, atol=1e-6)


def test_k_means_finds_clusters():
    quantizer = make()
    latent, which = clusters(16, 640)
    quantizer.start(latent)
    codes = quantizer.encode(latent)
    first = (quantizer.decode(codes[:, :1]) - latent).square().mean()
    assert first < 0.1 * latent.var()
    assert (quantizer.decode(codes) - latent).square().mean() < 0.01
    # the state of the moving averages is that of these codebooks
    means = quantizer.sums / quantizer.usage[..., None]
    assert torch.allclose(means, quantizer.codebooks, atol=1e-5)


def test_k_means_takes_fewer_vectors_than_entries():
    quantizer = make()
    latent = torch.randn(5, 8, generator=seeded())
    quantizer.start(latent)
    assert torch.isfinite(quantizer.codebooks).all()
    assert (quantizer.decode(quantizer.encode(latent)) - latent).abs().max() < 0.05


def test_codebooks_follow_the_mean_of_what_they_are_used_for():
    quantizer = make()
    target = quantizer.codebooks[0] + 0.1
    depth = torch.full((1, OWN.entries), OWN.stages)
    for _ in range(600):
        quantizer.quantize(target.unsqueeze(0), depth, learn=True)
    assert torch.allclose(quantizer.codebooks[0], target, atol=0.02)


def test_one_batch_moves_an_entry_by_the_decay():
    quantizer = make(Quantizer(stages=1, entries=2, latent=2, decay=0.9, dead=0.0))
    quantizer.codebooks.copy_(torch.tensor([[[0.0, 0.0], [10.0, 0.0]]]))
    quantizer.sums.copy_(quantizer.codebooks)
    latent = torch.tensor([[[1.0, 0.0], [1.0, 2.0], [9.0, 0.0]]])
    quantizer.quantize(latent, torch.ones(1, 3), learn=True)
    assert torch.allclose(quantizer.usage, torch.tensor([[0.9 + 0.2, 0.9 + 0.1]]))
    sums = torch.tensor([[[0.2, 0.2], [9.0 + 0.9, 0.0]]])
    assert torch.allclose(quantizer.sums, sums)
    assert torch.allclose(quantizer.codebooks, sums / quantizer.usage[..., None])


def test_entries_that_nothing_uses_are_replaced():
    quantizer = make()
    quantizer.codebooks[0, 3] = quantizer.sums[0, 3] = 1000.0
    latent = torch.randn(8, 50, 8, generator=seeded())
    depth = torch.full((8, 50), OWN.stages)
    for _ in range(400):
        quantizer.quantize(latent, depth, learn=True)
    assert quantizer.codebooks.abs().max() < 10
    share = quantizer.usage / quantizer.usage.sum(1, keepdim=True)
    assert share.min() > 0.5 * OWN.dead / OWN.entries
    assert (quantizer.perplexity() > 0.5 * OWN.entries).all()


def test_perplexity_counts_entries_in_use():
    quantizer = make()
    assert torch.allclose(quantizer.perplexity(), torch.full((OWN.stages,), 32.0))
    quantizer.usage.zero_()
    quantizer.usage[:, :4] = 5
    assert torch.allclose(quantizer.perplexity(), torch.full((OWN.stages,), 4.0))


def test_no_gradient_goes_through_the_codes():
    latent = torch.randn(1, 4, 8, generator=seeded()).requires_grad_()
    quantized, codes = make().quantize(latent, torch.full((1, 4), 2), learn=True)
    assert not quantized.requires_grad and not codes.requires_grad
    assert quantized.dtype == torch.float32
