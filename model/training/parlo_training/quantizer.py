"""Residual vector quantization with moving-average codebooks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from . import config
from .latents import Layout


class ResidualQuantizer(nn.Module):
    """Stages of Euclidean codebooks; each codes what the ones before it left.

    Codebooks follow the mean of what they are used for (van den Oord et al. 2017, appendix A);
    entries that hardly anything uses are replaced by vectors of the batch (Zeghidour et al. 2021,
    section III.C). In float32 whatever the surrounding precision (on CUDA its products may be TF32,
    which moves a few codes in a thousand).
    """

    def __init__(self, own: config.Quantizer):
        super().__init__()
        self.own = own
        shape = (own.stages, own.entries)
        # what a book does not code is 0 in its entries: it then makes no difference to the search
        self.register_buffer("visible", Layout(own).visible(own), persistent=False)
        books = torch.randn(*shape, own.latent) * 0.1 * self.visible[:, None]
        self.register_buffer("codebooks", books)
        self.register_buffer("usage", torch.ones(*shape))
        self.register_buffer("sums", self.codebooks.clone())

    def nearest(self, residual: Tensor, stage: int) -> Tensor:
        """Indices [N] of the entries nearest to residual [N, D]."""
        book = self.codebooks[stage]
        return torch.addmm(0.5 * book.square().sum(1), residual, book.t(), alpha=-1).argmin(1)

    @torch.no_grad()
    def encode(self, latent: Tensor) -> Tensor:
        """latent [..., D] -> codes [..., stages], by the greedy walk."""
        residual = latent.reshape(-1, latent.shape[-1]).float()
        codes = []
        for stage in range(self.own.stages):
            index = self.nearest(residual, stage)
            residual = residual - self.codebooks[stage][index]
            codes.append(index)
        return torch.stack(codes, dim=-1).reshape(*latent.shape[:-1], -1)

    def decode(self, codes: Tensor) -> Tensor:
        """codes [..., K] -> the sum of the K entries [..., D], added in the stages' order."""
        total = self.codebooks[0][codes[..., 0]]
        for stage in range(1, codes.shape[-1]):
            total = total + self.codebooks[stage][codes[..., stage]]
        return total

    @torch.no_grad()
    def quantize(self, latent: Tensor, depth: Tensor, learn: bool) -> tuple[Tensor, Tensor]:
        """latent [B, T, D], depth [B, T] (0: none) -> quantized [B, T, D], codes [B, T, stages].

        A vector is quantized with the first `depth` stages; all stages learn from it when `learn`.
        """
        batch, time, size = latent.shape
        residual = latent.reshape(-1, size).float()
        depth = depth.reshape(-1, 1)
        quantized = torch.zeros_like(residual)
        codes = []
        for stage in range(self.own.stages):
            index = self.nearest(residual, stage)
            entry = self.codebooks[stage][index]
            if learn:
                self._learn(stage, index, residual * self.visible[stage])
            quantized += torch.where(depth > stage, entry, torch.zeros_like(entry))
            residual = residual - entry
            codes.append(index)
        return quantized.reshape(batch, time, size), torch.stack(codes, -1).reshape(batch, time, -1)

    def _learn(self, stage: int, index: Tensor, residual: Tensor) -> None:
        decay = self.own.decay
        count = torch.zeros_like(self.usage[stage]).index_add_(
            0, index, torch.ones_like(index, dtype=residual.dtype)
        )
        total = torch.zeros_like(self.sums[stage]).index_add_(0, index, residual)
        self.usage[stage].mul_(decay).add_(count, alpha=1 - decay)
        self.sums[stage].mul_(decay).add_(total, alpha=1 - decay)
        usage = self.usage[stage]
        fair = usage.sum() / self.own.entries
        dead = usage < self.own.dead * fair
        # a fixed number of candidates and no question to the device: nothing waits for a GPU
        pick = torch.randint(len(residual), (self.own.entries,), device=residual.device)
        fresh = residual[pick]
        self.sums[stage] = torch.where(dead[:, None], fresh * fair, self.sums[stage])
        self.usage[stage] = torch.where(dead, fair, usage)
        self.codebooks[stage] = self.sums[stage] / self.usage[stage][:, None].clamp(min=1e-8)

    @torch.no_grad()
    def start(self, latent: Tensor, rounds: int = 8) -> None:
        """k-means (Lloyd) of every stage in turn on latents [N, D], as the codebooks' first
        state."""
        residual = latent.float()
        entries = self.own.entries
        for stage in range(self.own.stages):
            whole, residual = residual, residual * self.visible[stage]
            pick = torch.randperm(len(residual), device=residual.device)
            pick = pick.repeat(-(-entries // len(pick)))[:entries]
            book = residual[pick] + 1e-3 * torch.randn_like(residual[pick]) * self.visible[stage]
            for _ in range(rounds):
                self.codebooks[stage] = book
                index = self.nearest(residual, stage)
                count = torch.zeros(entries, device=book.device).index_add_(
                    0, index, torch.ones_like(index, dtype=torch.float32)
                )
                total = torch.zeros_like(book).index_add_(0, index, residual)
                fresh = residual[torch.randint(len(residual), (entries,), device=book.device)]
                book = torch.where(
                    count[:, None] > 0, total / count.clamp(min=1)[:, None], fresh
                )
            self.codebooks[stage] = book
            index = self.nearest(residual, stage)
            count = torch.bincount(index, minlength=entries).float()
            fair = len(residual) / entries
            self.usage[stage] = count.clamp(min=0.5 * fair) * (400 / len(residual))
            self.sums[stage] = book * self.usage[stage][:, None]
            residual = whole - book[index]

    def perplexity(self) -> Tensor:
        """How many entries of each stage are in use [stages], as two to the entropy of recent
        use."""
        share = self.usage / self.usage.sum(1, keepdim=True)
        return torch.exp2(-(share * torch.log2(share.clamp(min=1e-12))).sum(1))
