"""Reconstruction losses: spectra of several resolutions, with their gradients written by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from . import config
from .excitation import LOWEST_PITCH, OCTAVES
from .encoder import PITCH_BINS

REPULSION_HZ = 100  # either side of a bin, over which it is told how much of it is noise
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


def _spread(parts: Tensor, hop: int, pad: int, samples: int) -> Tensor:
    """The adjoint of cutting padded signals into frames: parts [N, T, size] -> [N, samples]."""
    rows, count, size = parts.shape
    steps = size // hop
    blocks = parts.reshape(rows, count, steps, hop)
    out = parts.new_zeros(rows, count + steps - 1, hop)
    for step in range(steps):
        out[:, step : step + count] += blocks[:, :, step]
    return out.reshape(rows, -1)[:, pad : pad + samples]


def aperiodic(target: Tensor, track: Tensor, voiced: Tensor) -> Tensor:
    """What of a signal does not come again with the voice's next and last cycle, as loud as it would
    be if nothing did [B, samples].

    target [B, samples]; track: unwrapped cycles of its pulses [B, steps], a quarter of a frame apart,
    from half a frame before its first sample on; voiced [B, frames]: without voice all is noise.
    """
    batch, samples = target.shape
    frame = 4 * samples // (track.shape[1] - 1)
    step = frame // 4
    # four times as many samples, between which lines are good enough up to the band's edge
    fine = torch.fft.irfft(torch.fft.rfft(target), n=4 * samples) * 4
    time = torch.arange(samples, device=target.device, dtype=target.dtype)
    place = (time + frame // 2) / step
    before = place.long().clamp(max=track.shape[1] - 2)
    low, high = track[:, before], track[:, before + 1]
    cycles = low + (place - before) * (high - low)

    def at_cycles(wanted: Tensor) -> Tensor:
        """The signal where the track passes these cycles [B, samples]; 0 beyond its ends."""
        index = torch.searchsorted(track, wanted.contiguous()).clamp(1, track.shape[1] - 1)
        low, high = track.gather(1, index - 1), track.gather(1, index)
        share = (wanted - low) / (high - low).clamp(min=1e-6)
        place = ((index - 1 + share) * step - frame // 2) * 4
        inside = (place >= 0) & (place < 4 * samples - 1)
        place = place.clamp(0, 4 * samples - 2)
        first = place.long()
        one, other = fine.gather(1, first), fine.gather(1, first + 1)
        return (one + (place - first) * (other - one)) * inside

    around = 0.5 * (at_cycles(cycles - 1) + at_cycles(cycles + 1))
    # of noise, three samples that have nothing to do with each other: 1 + 1/4 + 1/4
    rest = (target - around) * 1.5**-0.5
    voice = voiced.to(target.dtype).repeat_interleave(frame, 1)[:, :samples]
    return voice * rest + (1 - voice) * target


def _repulsion(power: Tensor, rest: Tensor, near: int) -> Tensor:
    """How much draws are to be apart in each cell [B, frames, bins], 0..1, by the power of the target
    and of what is aperiodic in it; near: bins either side that count.

    Draws whose distances count by beta come to have beta^2 / (2 - beta^2) of the target's spread; this
    is the beta for which that is the aperiodic share.
    """
    def smooth(x: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool1d(
            x, 2 * near + 1, 1, near, count_include_pad=False
        ) if near else x

    share = ((smooth(rest) + 1e-9) / (smooth(power) + 1e-9)).clamp(0, 1)
    return torch.sqrt(2 * share / (1 + share))


class _Terms:
    """Sums what two draws of a signal differ from the target and from each other by, and the signs
    that their gradients take: of features [1 + draws, B, T, bins], the target's first."""

    def __init__(self, draws: int):
        self.draws = draws
        # from the target: d(x, y); between the draws: d(y, y'), all of it and what counts of it
        self.apart = self.spread = self.counted = 0.0

    def add(self, features: Tensor, scale: Tensor, repulsion: Tensor | float = 1.0) -> Tensor:
        """Adds the L1 distance of real features; returns its gradient, without the target's."""
        to_target = features[1:] - features[:1]
        slope = torch.sign(to_target)
        self.apart = self.apart + (to_target.abs_().sum(0) * scale).sum() / self.draws
        if self.draws == 2:
            between = features[1] - features[2]
            sign = torch.sign(between) * repulsion
            between = between.abs_() * scale
            self.spread = self.spread + between.sum()
            self.counted = self.counted + (between * repulsion).sum()
            slope[0] -= sign
            slope[1] += sign
        return slope.mul_(scale / self.draws)

    def add_complex(
        self, features: Tensor, scale: Tensor, repulsion: Tensor | float = 1.0
    ) -> Tensor:
        """The same of complex features, whose distance is that of points in the plane."""

        def unit(step: Tensor) -> tuple[Tensor, Tensor]:
            length = step.abs()
            return step / (length + 1e-6), length

        slope, length = unit(features[1:] - features[:1])
        self.apart = self.apart + (length.sum(0) * scale).sum() / self.draws
        if self.draws == 2:
            direction, length = unit(features[1] - features[2])
            length = length * scale
            direction = direction * repulsion
            self.spread = self.spread + length.sum()
            self.counted = self.counted + (length * repulsion).sum()
            slope[0] -= direction
            slope[1] += direction
        return slope * (scale / self.draws)


class _SpectralEnergyDistance(torch.autograd.Function):
    """Energy distance of drawn signals to a target at one resolution, and its gradient.

    Plain autograd through framing, transform, power, root and logarithm keeps ten arrays of the
    spectrogram's size and takes four times as long.
    """

    @staticmethod
    def forward(ctx, made, target, rest, weight, window, filters, hop, weights, low, rate, most):
        """made [draws, B, samples], target [B, samples]; rest: what is aperiodic in it, or None;
        weight [2, B]: of each item, and of its phases; weights: of the log-mel, the root-magnitude and the complex term; low: bins of the
        complex one, from the first on; most: how much the distance between draws counts where it counts most.
        -> the loss, d(x, y) and d(y, y'), the last two without a gradient."""
        draws, batch, samples = made.shape
        size = window.numel()
        pad = size // 2
        mel_weight, magnitude_weight, complex_weight = weights
        terms = _Terms(draws)
        with torch.no_grad():
            signals = [target.unsqueeze(0), made]
            if rest is not None and draws == 2:
                signals.append(rest.unsqueeze(0))
            signals = torch.cat(signals).reshape(-1, samples)
            signals = torch.nn.functional.pad(signals, (pad, pad))
            spectrum = torch.fft.rfft(signals.unfold(-1, size, hop) * window)
            power = spectrum.real.square().add_(spectrum.imag.square())
            beta = beta_mel = most
            if len(power) > (1 + draws) * batch:
                near = round(REPULSION_HZ * size / rate)
                noise, power = power[(1 + draws) * batch :], power[: (1 + draws) * batch]
                spectrum = spectrum[: (1 + draws) * batch]
                beta = most * _repulsion(power[:batch], noise, near)
                beta_mel = most * _repulsion(power[:batch] @ filters, noise @ filters, 0)
            shape = (1 + draws, batch, *power.shape[1:])
            count, bins = shape[2:]
            share = weight[0, :, None, None] / (weight[0].sum() * count)
            mel = (power @ filters).add_(FLOOR).reshape(*shape[:3], -1)
            slope = terms.add(mel.log(), share * (mel_weight / mel.shape[-1]), beta_mel)
            gradient = (slope / mel[1:]) @ filters.t()
            # magnitudes to the power of a half: between the linear and the logarithmic
            power = power.add_(1e-6).reshape(shape)
            root = power.sqrt().sqrt_()
            slope = terms.add(root, share * (magnitude_weight / bins), beta)
            gradient.addcmul_(slope, root[1:] / power[1:], value=0.25)
            spectrum = spectrum.reshape(shape)
            gradient = gradient.mul_(2) * spectrum[1:]
            if complex_weight:
                # their phase kept, magnitudes to the power of a half
                root = root[..., :low]
                point = spectrum[..., :low] / root
                share = weight[1, :, None, None] / (weight[0].sum() * count)
                below = beta if isinstance(beta, float) else beta[..., :low]
                slope = terms.add_complex(point, share * (complex_weight / low), below)
                point = point[1:]
                radial = slope.real * point.real + slope.imag * point.imag
                radial = radial / power[1:, ..., :low].sqrt()
                gradient[..., :low] += (slope - 0.5 * radial * point) / root[1:]
            # adjoint of the real transform: the bins between the ends count once, not twice
            gradient[..., 0] *= 2
            gradient[..., -1] *= 2
            parts = torch.fft.irfft(gradient.reshape(-1, count, bins), n=size)
            parts.mul_(window * (size / 2))
            gradient = _spread(parts, hop, pad, samples).reshape(made.shape)
            ctx.save_for_backward(gradient)
            apart = torch.as_tensor(terms.apart)
            spread = apart.new_zeros(()) + terms.spread
            loss = apart - 0.5 * terms.counted
        ctx.mark_non_differentiable(apart, spread)
        return loss, apart, spread

    @staticmethod
    def backward(ctx, upstream, *_):
        (gradient,) = ctx.saved_tensors
        return gradient * upstream, *[None] * 10


@dataclass
class SpectralTerms:
    """What a spectral loss came to: scalars."""

    loss: Tensor
    apart: Tensor  # mean distance of a draw to the target, d(x, y)
    spread: Tensor  # distance between two draws, d(y, y'); 0 of one


class SpectralLoss(nn.Module):
    """Energy distance of spectra at several window sizes: log-mel, root magnitudes, and, where
    pulses follow the target's own, compressed complex spectra below a frequency.

    Of two draws y, y' of the decoder's noise: (d(x, y) + d(x, y') - d(y, y')) / 2 (Gritsenko et al.
    2020, "A spectral energy distance for parallel speech synthesis", section 3). It is least for
    the right distribution; a distance to one draw is least for the median, which has no noise in
    it. Of one draw it is that distance.

    Without the complex term phase does not count: the pulses' phase is the decoder's own.
    """

    def __init__(self, own: config.Losses, rate: int):
        super().__init__()
        self.own = own
        self.rate = rate
        self.sizes = [size * rate // 16000 // 4 * 4 for size in own.sizes]
        for index, (size, bands) in enumerate(zip(self.sizes, own.mels, strict=True)):
            self.register_buffer(f"window{index}", torch.hann_window(size), persistent=False)
            self.register_buffer(f"mel{index}", mel_filters(rate, size, bands), persistent=False)

    def forward(
        self, made: Tensor, target: Tensor, weight: Tensor, phases: Tensor | None = None,
        rest: Tensor | None = None,
    ) -> SpectralTerms:
        """made [draws, B, samples] (one draw or two), target [B, samples], weight of each item
        [B]; phases: by how much the complex term counts in each [B] (None: not at all); rest: what is
        aperiodic in the target [B, samples], where alone draws are to be apart (None: everywhere)
        -> means over resolutions."""
        found = []
        both = torch.stack([weight, torch.zeros_like(weight) if phases is None else phases * weight])
        for index, size in enumerate(self.sizes):
            sees_phase = phases is not None and self.own.sizes[index] in self.own.complex_sizes
            complex_weight = self.own.complex if sees_phase else 0.0
            low = round(self.own.complex_below / self.rate * size) + 1
            found.append(_SpectralEnergyDistance.apply(
                made.float(), target.float(), rest, both,
                getattr(self, f"window{index}"), getattr(self, f"mel{index}"),
                size // self.own.overlap, (self.own.mel, self.own.magnitude, complex_weight), low,
                self.rate, self.own.repulsion,
            ))
        return SpectralTerms(*(sum(parts) / len(found) for parts in zip(*found, strict=True)))


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


def phase_loss(scores: Tensor, cycles: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of the candidates' scores [B, T, places] of the pulses' phase, candidate k being
    k / places of a cycle, against phases in cycles [B, T], with weights [B, T]: a scalar."""
    places = scores.shape[-1]
    index = torch.arange(places, device=scores.device)
    off = torch.remainder(cycles, 1.0).unsqueeze(-1) * places - index
    off = off - places * torch.round(off / places)
    label = torch.softmax(-0.5 * off.square(), dim=-1)
    entropy = -(label * torch.log_softmax(scores, dim=-1)).sum(-1)
    return (entropy * weight).sum() / weight.sum().clamp(min=1)
