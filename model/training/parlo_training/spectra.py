"""Short-time spectra: fast Fourier transforms in training, matrix products in the graph."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def analysis_matrix(size: int, bins: int, window: Tensor) -> Tensor:
    """Matrix [size, 2 x bins] that takes a frame to the real, then the imaginary parts of its
    spectrum."""
    n = torch.arange(size, dtype=torch.float64)
    k = torch.arange(bins, dtype=torch.float64)
    angle = 2 * math.pi * torch.remainder(n[:, None] * k[None], size) / size
    basis = torch.cat([torch.cos(angle), -torch.sin(angle)], dim=1)
    return (window.double()[:, None] * basis).float()


def synthesis_matrix(size: int, window: Tensor) -> Tensor:
    """Matrix [2 x (size/2 + 1), size] that takes real, then imaginary parts to a windowed frame."""
    bins = size // 2 + 1
    n = torch.arange(size, dtype=torch.float64)
    k = torch.arange(bins, dtype=torch.float64)
    angle = 2 * math.pi * torch.remainder(k[:, None] * n[None], size) / size
    # the bins between the ends stand for their mirror images too
    inner = torch.logical_and(k > 0, k < bins - 1).double()
    weight = ((1 + inner) / size)[:, None]
    basis = torch.cat([weight * torch.cos(angle), -weight * torch.sin(angle)], dim=0)
    return (basis * window.double()[None]).float()


def frames(audio: Tensor, size: int, hop: int) -> Tensor:
    """Overlapping frames [B, T, size] of audio [B, samples], a view."""
    return audio.unfold(-1, size, hop)


class _OverlapAdd(torch.autograd.Function):
    """Overlap-add of frames half a frame apart, whose gradient is a view instead of a scatter."""

    @staticmethod
    def forward(ctx, parts: Tensor) -> Tensor:
        batch, count, size = parts.shape
        ctx.hop = hop = size // 2
        out = parts.new_zeros(batch, (count + 1) * hop)
        out[:, : count * hop] += parts[:, :, :hop].reshape(batch, -1)
        out[:, hop:] += parts[:, :, hop:].reshape(batch, -1)
        return out

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient.unfold(-1, 2 * ctx.hop, ctx.hop)


def overlap_add(parts: Tensor) -> Tensor:
    """Audio [B, (T + 1) x size/2] from windowed frames [B, T, size] half a frame apart."""
    return _OverlapAdd.apply(parts)
