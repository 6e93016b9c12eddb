"""Reconstruction losses: spectra of several resolutions, with their gradients written by hand."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from . import config
from .excitation import LOWEST_PITCH, OCTAVES
from .encoder import PITCH_BINS

FLOOR = 1e-5  # of a band's power: about -85 dBFS of a sine, in a window's units


def mel_filters(rate: int, size: int, bands: int) -> Tensor:
    """Triangles over the power spectrum [size/2 + 1, bands], evenly spaced in mel (O'Shaughnessy),
    each of unit sum; a band too narrow for a bin takes the nearest."""
    bins = size // 2 + 1
    top = 2595 * math.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, bands + 2, dtype=torch.float64) / 2595) - 1)
    hertz = torch.arange(bins, dtype=torch.float64) * rate / size
    up = (hertz[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - hertz[:, None]) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(up, down).clamp(min=0)
    empty = (filters.sum(0) == 0).nonzero().flatten()
    filters[(edges[1:-1][empty] * size / rate).round().long(), empty] = 1
    return (filters / filters.sum(0)).float()


class _SpectralDistance(torch.autograd.Function):
    """Distance of two signals at one resolution, and its gradient.

    Plain autograd through framing, transform, power, root and logarithm keeps ten arrays of the
    spectrogram's size and takes four times as long.
    """

    @staticmethod
    def forward(ctx, made, target, weight, window, filters, hop, mel_weight, magnitude_weight):
        size = window.numel()
        with torch.no_grad():
            pad = size // 2
            both = torch.nn.functional.pad(torch.cat([made, target]), (pad, pad))
            spectrum = torch.fft.rfft(both.unfold(-1, size, hop) * window)
            power = spectrum.real.square() + spectrum.imag.square()
            batch, count, _ = power.shape[0] // 2, power.shape[1], power.shape[2]
            share = weight[:, None, None] / (weight.sum() * count)
            mel = power @ filters + FLOOR
            ratio = torch.log(mel[:batch] / mel[batch:])
            loss = mel_weight * (ratio.abs().mean(-1, keepdim=True) * share).sum()
            slope = torch.sign(ratio) / mel[:batch] * (mel_weight / ratio.shape[-1]) * share
            gradient = slope @ filters.t()
            # magnitudes to the power of a half: between the linear and the logarithmic
            root = (power + 1e-6).sqrt().sqrt()
            difference = root[:batch] - root[batch:]
            loss = loss + magnitude_weight * (difference.abs().mean(-1, keepdim=True) * share).sum()
            slope = torch.sign(difference) * (0.25 * magnitude_weight / power.shape[-1]) * share
            gradient += slope * root[:batch] / (power[:batch] + 1e-6)
            # adjoint of the real transform: the bins between the ends count once, not twice
            gradient[..., 0] *= 2
            gradient[..., -1] *= 2
            parts = torch.fft.irfft(gradient * spectrum[:batch], n=size) * (window * size)
            steps = size // hop
            blocks = parts.reshape(batch, count, steps, hop)
            out = made.new_zeros(batch, count + steps - 1, hop)
            for step in range(steps):
                out[:, step : step + count] += blocks[:, :, step]
            ctx.save_for_backward(out.reshape(batch, -1)[:, pad : pad + made.shape[1]])
        return loss

    @staticmethod
    def backward(ctx, upstream):
        (gradient,) = ctx.saved_tensors
        return gradient * upstream, None, None, None, None, None, None, None


class SpectralLoss(nn.Module):
    """Log-mel distance plus magnitude distance over several window sizes, hop a quarter each.

    Phase does not count: the pulses' phase is the decoder's own, and ears do not hear it.
    """

    def __init__(self, own: config.Losses, rate: int):
        super().__init__()
        self.own = own
        self.sizes = [size * rate // 16000 // 4 * 4 for size in own.sizes]
        for index, (size, bands) in enumerate(zip(self.sizes, own.mels, strict=True)):
            self.register_buffer(f"window{index}", torch.hann_window(size), persistent=False)
            self.register_buffer(f"mel{index}", mel_filters(rate, size, bands), persistent=False)

    def forward(self, made: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """made, target [B, samples], weight of each item [B] -> scalar, a mean over resolutions."""
        total = made.new_zeros(())
        for index, size in enumerate(self.sizes):
            total = total + _SpectralDistance.apply(
                made.float(), target.float(), weight,
                getattr(self, f"window{index}"), getattr(self, f"mel{index}"),
                size // 4, self.own.mel, self.own.magnitude,
            )
        return total / len(self.sizes)


def pitch_loss(scores: Tensor, hertz: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the candidates' scores [B, T, PITCH_BINS] against pitch in Hz [B, T].

    hertz: positive where voiced, negative where unvoiced (the pitch held or interpolated, which
    counts a little so that the contour stays smooth); 0: unknown. known [B]: False drops an item.
    Returns the loss and the share of voiced frames whose best candidate is within half a semitone.
    """
    place = (torch.log2(hertz.abs().clamp(min=1)) - math.log2(LOWEST_PITCH)) / OCTAVES
    place = place * (PITCH_BINS - 1)
    inside = (place > -0.5) & (place < PITCH_BINS - 0.5)
    weight = torch.where(hertz > 0, 1.0, torch.where(hertz < 0, 0.05, 0.0))
    weight = weight * inside * known[:, None]
    index = torch.arange(PITCH_BINS, device=scores.device)
    label = torch.softmax(-0.5 * (index - place.unsqueeze(-1)).square(), dim=-1)
    entropy = -(label * torch.log_softmax(scores, dim=-1)).sum(-1)
    loss = (entropy * weight).sum() / weight.sum().clamp(min=1)
    voiced = (hertz > 0) * inside * known[:, None]
    right = ((scores.argmax(-1) - place).abs() <= 2) & voiced
    return loss, right.sum() / voiced.sum().clamp(min=1)
