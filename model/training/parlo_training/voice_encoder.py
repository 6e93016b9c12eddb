"""The encoder of the second tokens: shape apart from level, pitch, and where the pulses are."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .config import Config
from .encoder import NEAR, PITCH_BINS
from .excitation import LOWEST_PITCH, OCTAVES, Pitch
from .latents import Layout
from .layers import CausalStack, spans
from .spectra import analysis_matrix, frames

HARMONICS = 16  # whose phases tell where the pulses are
PLACES = 32  # in a cycle, that are tried
LOWEST_DB = -75.0  # dBFS: what is quieter is as loud as this


class Features(nn.Module):
    """What the encoder sees of a frame and the one before it (40 ms in all), whatever its level.

    As the first encoder: magnitudes of two spectra over 20 ms, 10 ms apart, and of one over 40 ms
    up to 4 kHz; a half-whitened autocorrelation at the pitch candidates' lags. Spectra are divided
    by the frame's level, which is told apart; the long one's phases are kept.
    """

    def __init__(self, rate: int):
        super().__init__()
        self.frame, self.hop = rate // 50, rate // 100
        self.short_bins = self.frame // 2 + 1
        self.low_bins = 4000 // 25 + 1
        long = 2 * self.frame
        self.register_buffer("short_window", torch.hann_window(self.frame), persistent=False)
        self.register_buffer("long_window", torch.hann_window(long), persistent=False)
        hertz = LOWEST_PITCH * 2 ** (torch.arange(PITCH_BINS) * OCTAVES / (PITCH_BINS - 1)).double()
        k = torch.arange(self.low_bins, dtype=torch.float64)
        lags = torch.cos(2 * math.pi * k[:, None] * (rate / hertz)[None] / long) / self.low_bins
        self.register_buffer("lags", lags.float(), persistent=False)
        # of a signal of unit power, the sum over the bins of both halves of a short spectrum
        self.energy = float(self.short_window.square().sum()) * self.frame / 2
        self.size = 2 * self.short_bins + self.low_bins + PITCH_BINS + 3

    def assemble(self, short: Tensor, long: Tensor) -> tuple[Tensor, Tensor]:
        """Powers of a frame's two short spectra [..., 2, short_bins] and of its long one
        [..., low_bins] -> features [..., size], its level in dBFS [..., 1]."""
        power = short.sum(-1) * (1 / self.energy)
        least = 10 ** (LOWEST_DB / 10)
        mean = power.mean(-1, keepdim=True) + least
        level = torch.log(mean) * (10 / math.log(10))
        halves = torch.log(power + least) * (10 / math.log(10)) - level
        # magnitudes are compressed about as loudness grows (to the power of a quarter), from 60 dB
        # under a flat spectrum on; the autocorrelation is that of a half whitened spectrum (of root
        # magnitudes), which sharpens its peaks
        short = (short / (mean.unsqueeze(-1) * self.frame) + 1e-6).sqrt().sqrt().sqrt()
        long = long / (mean * (2 * self.frame)) + 1e-6
        white = long.sqrt().sqrt()
        low = white.sqrt()
        white = white - white.mean(-1, keepdim=True)
        scale = torch.sqrt((white * white).mean(-1, keepdim=True) + 1e-9)
        correlation = (white / scale) @ self.lags
        told = torch.cat([(level + 40) * 0.05, halves * 0.1], dim=-1)
        features = [short.flatten(-2), low, told, 4 * correlation]
        return torch.cat(features, dim=-1), level

    def whole(self, audio: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """audio [B, T x frame] -> features [B, T, size], level [B, T, 1], real and imaginary parts
        of the long spectra [B, T, low_bins]; with silence before the audio."""
        with torch.autocast(audio.device.type, enabled=False):
            audio = nn.functional.pad(audio.float(), (self.frame, 0))
            short = torch.fft.rfft(
                frames(audio[:, self.hop :], self.frame, self.hop) * self.short_window
            )
            long = torch.fft.rfft(frames(audio, 2 * self.frame, self.frame) * self.long_window)
            long = long[..., : self.low_bins]
            short, power = [x.real.square() + x.imag.square() for x in (short, long)]
            short = short.reshape(*power.shape[:2], 2, -1)
            return *self.assemble(short, power), long.real, long.imag

    def step(self, seen: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The same of T frames of a stream and the one before them [T + 1, frame]."""
        pairs = torch.cat([seen[:-1], seen[1:]], dim=1)
        short = torch.stack(
            [pairs[:, self.hop : self.hop + self.frame], pairs[:, self.frame :]], dim=1
        )
        short = short.reshape(-1, self.frame) @ analysis_matrix(
            self.frame, self.short_bins, self.short_window
        )
        long = pairs @ analysis_matrix(2 * self.frame, self.low_bins, self.long_window)

        def parts(spectrum: Tensor) -> tuple[Tensor, Tensor]:
            bins = spectrum.shape[-1] // 2
            return spectrum[..., :bins], spectrum[..., bins:]

        (real, imaginary), (low, low_imaginary) = parts(short), parts(long)
        power = (real * real + imaginary * imaginary).reshape(-1, 2, self.short_bins)
        return *self.assemble(power, low * low + low_imaginary * low_imaginary), low, low_imaginary


class VoiceEncoder(nn.Module):
    """Features, causal blocks, and heads: pitch, the pulses' phase, and the rest of the latent.

    The level is the frame's own. The phase is found as the pitch is, among candidates: harmonics of
    the long spectrum at the pitch found, each turned by what the network expects of the vocal tract
    there, add up where a candidate is right; a voice that begins a little later has a phase that is
    as much later, whatever the network does.
    """

    def __init__(self, config: Config):
        super().__init__()
        own = config.encoder
        self.width = own.width
        self.layout = Layout(config.quantizer)
        self.features = Features(config.audio.rate)
        self.enter = nn.Linear(self.features.size, own.width)
        self.stack = CausalStack(own.width, own.blocks, own.kernel, own.expansion)
        self.norm = nn.LayerNorm(own.width)
        self.rest = nn.Linear(own.width, self.layout.rest)
        self.candidates = nn.Linear(own.width + PITCH_BINS, PITCH_BINS)
        self.voiced = nn.Linear(own.width, 1)
        self.turns = nn.Linear(own.width, 2 * HARMONICS)
        with torch.no_grad():  # start from the autocorrelation's own opinion, and from pulses
            self.candidates.weight[:, own.width :] += torch.eye(PITCH_BINS)
            self.turns.bias[:HARMONICS] = 1.0
            self.turns.bias[HARMONICS:] = 0.0
        pitch = Pitch(config.audio.rate, config.quantizer.pitch_scale)
        hertz = LOWEST_PITCH * 2 ** (torch.arange(PITCH_BINS) * OCTAVES / (PITCH_BINS - 1)).double()
        self.register_buffer("elements", pitch.element(hertz).float(), persistent=False)
        self.register_buffer("hertz", hertz.float(), persistent=False)
        number = torch.arange(1, HARMONICS + 1, dtype=torch.float32)
        self.register_buffer("number", number, persistent=False)
        angle = 2 * math.pi * number[:, None] * torch.arange(PLACES) / PLACES
        basis = torch.cat([torch.cos(angle), torch.sin(angle)])
        self.register_buffer("basis", basis, persistent=False)
        around = 2 * math.pi * torch.arange(PLACES, dtype=torch.float32) / PLACES
        circle = torch.stack([torch.cos(around), torch.sin(around)], dim=1)
        self.register_buffer("circle", circle, persistent=False)

    def pitch(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Candidates' scores [..., PITCH_BINS] -> pitch elements and pitch in Hz [..., 1].

        The mean around the best candidate, so that a doubt between octaves does not end between
        them.
        """
        best = scores.argmax(-1, keepdim=True)
        index = torch.arange(PITCH_BINS, device=scores.device)
        near = (index - best).abs() <= NEAR
        weights = torch.softmax(scores.masked_fill(~near, -30000.0), dim=-1)
        element = (weights * self.elements).sum(-1, keepdim=True)
        place = (weights * index).sum(-1, keepdim=True)
        return element, LOWEST_PITCH * torch.exp2(place * (OCTAVES / (PITCH_BINS - 1)))

    def phase(self, hidden: Tensor, hertz: Tensor, real: Tensor, imaginary: Tensor) -> Tensor:
        """Scores [..., PLACES] of the pulses' phase at the middle of the frame.

        hidden [..., width], pitch [..., 1], the long spectrum [..., low_bins] of 40 ms around the
        frame's beginning.
        """
        bins = self.features.low_bins
        at = hertz * self.number * (1 / 25)
        index = torch.round(at).long().clamp(0, bins - 1)
        inside = (at < bins - 1).to(real.dtype)
        # phases are those at the window's middle: its bins, half a turn apart, alternate there
        sign = (1 - 2 * torch.remainder(index, 2)).to(real.dtype) * inside
        real, imaginary = (x.gather(-1, index) * sign for x in (real, imaginary))
        size = torch.sqrt(real * real + imaginary * imaginary + 1e-12)
        mean = size.mean(-1, keepdim=True)
        weight = 1 / torch.sqrt(size * mean)  # magnitudes to the power of a half
        real, imaginary = real * weight, imaginary * weight
        # from the window's middle to the frame's: 10 ms on
        ahead = 2 * math.pi * torch.remainder(hertz * self.number * 0.01, 1.0)
        turns = self.turns(hidden)
        turn, across = turns[..., :HARMONICS], turns[..., HARMONICS:]
        cosine, sine = torch.cos(ahead), torch.sin(ahead)
        turn, across = turn * cosine - across * sine, turn * sine + across * cosine
        turned = [real * turn - imaginary * across, real * across + imaginary * turn]
        return torch.cat(turned, dim=-1) @ self.basis

    def heads(self, hidden: Tensor, found: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, Tensor]]:
        """-> latent [..., D] (pitch, level and phase first: `Layout`), and what training asks for:
        candidates' scores [..., PITCH_BINS], the phase's [..., PLACES], voicing [..., 1]."""
        features, level, real, imaginary = found
        hidden = self.norm(hidden)
        scores = self.candidates(torch.cat([hidden, features[..., -PITCH_BINS:]], dim=-1)).float()
        element, hertz = self.pitch(scores)
        places = self.phase(hidden, hertz.detach(), real, imaginary).float()
        voiced = self.voiced(hidden).float()
        phase = torch.softmax(places, dim=-1) @ self.circle * torch.sigmoid(voiced)
        rest = self.rest(hidden).float()
        # unit variance across the elements: the others' scales mean something beside them
        rest = nn.functional.layer_norm(rest, rest.shape[-1:], rest.new_ones(rest.shape[-1]))
        latent = self.layout.join(element, level, phase, rest)
        return latent, {"pitch": scores, "phase": places, "voiced": voiced}

    def forward(self, audio: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """audio [B, T x frame] -> latent [B, T, D] float32, scores by name (`heads`)."""
        found = self.features.whole(audio)
        hidden, _ = self.stack(self.enter(found[0]).float())
        return self.heads(hidden, found)

    def step(self, audio: Tensor, before: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """T frames of a stream: audio [1, T x frame], the frame before [1, frame] -> latent
        [1, T, D], the last frame, new states."""
        seen = torch.cat([before, audio.reshape(-1, self.features.frame)], dim=0)
        found = self.features.step(seen)
        rows = spans(seen[1:], self.stack.kernel)
        hidden, states = self.stack.step(self.enter(found[0]), list(states), rows)
        return self.heads(hidden, found)[0].unsqueeze(0), seen[-1:], *states
