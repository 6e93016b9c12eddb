"""Short-time spectra: fast Fourier transforms in training, matrix products in the graph."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def _circle(size: int, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of 2 pi row column / size, [rows, columns] each.

    Looked up in tables of one turn: the runtime computes these matrices when it loads a graph, and
    what it holds meanwhile (whole matrices in double precision would be ten mebibytes) is the most
    memory that a decoder ever takes.
    """
    turn = 2 * math.pi * torch.arange(size, dtype=torch.float64) / size
    table = torch.stack([torch.cos(turn), torch.sin(turn)], dim=1).float()
    row = torch.arange(rows, dtype=torch.int32)[:, None]
    place = torch.remainder(row * torch.arange(columns, dtype=torch.int32)[None], size)
    return tuple(F.embedding(place, table[:, i : i + 1]).squeeze(-1) for i in range(2))


def analysis_matrix(size: int, bins: int, window: Tensor) -> Tensor:
    """Matrix [size, 2 x bins] that takes a frame to the real, then the imaginary parts of its
    spectrum."""
    cosine, sine = _circle(size, size, bins)
    window = window.float()[:, None]
    return torch.cat([window * cosine, -window * sine], dim=1)


def synthesis_matrix(size: int, window: Tensor) -> Tensor:
    """Matrix [2 x (size/2 + 1), size] that takes real, then imaginary parts to a windowed frame."""
    bins = size // 2 + 1
    cosine, sine = _circle(size, bins, size)
    k = torch.arange(bins)
    # the bins between the ends stand for their mirror images too
    inner = torch.logical_and(k > 0, k < bins - 1).float()
    weight = ((1 + inner) / size)[:, None] * window.float()[None]
    return torch.cat([weight * cosine, -weight * sine], dim=0)


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
