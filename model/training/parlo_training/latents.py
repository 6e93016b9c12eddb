"""What the elements of a latent are: pitch, then level and phase where there are such, the rest."""

from __future__ import annotations

import torch
from torch import Tensor

from . import config

MIDDLE_DB = -35.0  # level whose element is 0


class Layout:
    """Places and scales of a latent's elements, as settings say.

    The first tokens have pitch and a rest of unit variance. The second ones tell level (dB) and the
    phase of the glottal pulses (cosine and sine, both 0 where there is no voice) apart from it.
    """

    def __init__(self, own: config.Quantizer):
        self.pitch_scale = own.pitch_scale
        self.level_scale = own.level_scale
        self.phase_scale = own.phase_scale
        self.level = 1 if own.level_scale else None
        first = 1 + bool(own.level_scale)
        self.phase = first if own.phase_scale else None
        self.told = first + (2 if own.phase_scale else 0)  # elements before the rest
        self.rest = own.latent - self.told

    def join(self, pitch: Tensor, level: Tensor, phase: Tensor, rest: Tensor) -> Tensor:
        """Pitch elements [..., 1], level in dBFS [..., 1], cosine and sine [..., 2], and the rest
        -> latent [..., D]."""
        parts = [pitch]
        if self.level is not None:
            parts.append((level - MIDDLE_DB) * self.level_scale)
        if self.phase is not None:
            parts.append(phase * self.phase_scale)
        return torch.cat([*parts, rest], dim=-1)

    def level_db(self, latent: Tensor) -> Tensor:
        """Level in dBFS [..., 1] of latents that have one."""
        return latent[..., self.level : self.level + 1] * (1 / self.level_scale) + MIDDLE_DB

    def circle(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine [...] of the phase, whose length says how sure it is, 0 to about 1."""
        scale = 1 / self.phase_scale
        return latent[..., self.phase] * scale, latent[..., self.phase + 1] * scale

    def inputs(self, latent: Tensor) -> Tensor:
        """The latent as a network likes it: elements of about unit variance, the same shape."""
        parts = [latent[..., :1] * (1 / self.pitch_scale)]
        if self.level is not None:
            parts.append((self.level_db(latent) - MIDDLE_DB) * 0.05)
        if self.phase is not None:
            parts.append(latent[..., self.phase : self.told] * (1 / self.phase_scale))
        return torch.cat([*parts, latent[..., self.told :]], dim=-1)

    def visible(self, own: config.Quantizer) -> Tensor:
        """1 where a codebook codes an element, else 0 [stages, D]: the first ones leave phase
        alone."""
        mask = torch.ones(own.stages, own.latent)
        if self.phase is not None:
            mask[: own.phase_from, self.phase : self.told] = 0
        return mask
