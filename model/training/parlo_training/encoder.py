"""The encoder: audio to one latent vector per 20 ms."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .config import Config
from .excitation import LOWEST_PITCH, OCTAVES, Pitch
from .layers import CausalStack, spans
from .spectra import analysis_matrix, frames

PITCH_BINS = 156  # candidates, 25 cents apart
NEAR = 5  # candidates either side of the best that share in the estimate


class Features(nn.Module):
    """What the encoder sees of a frame and the one before it (40 ms in all).

    Magnitudes of two spectra over 20 ms, 10 ms apart; of one over 40 ms up to 4 kHz, where it
    parts the harmonics of low voices; and a whitened autocorrelation at the lags of the pitch
    candidates, spaced evenly in log frequency.
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
        self.size = 2 * self.short_bins + self.low_bins + PITCH_BINS

    @staticmethod
    def _power(spectrum: Tensor) -> Tensor:
        bins = spectrum.shape[-1] // 2
        real, imaginary = spectrum[..., :bins], spectrum[..., bins:]
        return real * real + imaginary * imaginary

    def _assemble(self, short: Tensor, long: Tensor) -> Tensor:
        """Powers [..., 2 x short_bins] and [..., low_bins] of the spectra of each frame -> features
        [..., size]."""
        # 1e-7 is far under the noise of a 16-bit recording; it keeps silence finite. Magnitudes are
        # compressed about as loudness grows (to the power of a quarter), and the autocorrelation
        # is that of a half whitened spectrum (of root magnitudes), which sharpens its peaks
        short = (short + 1e-7).sqrt().sqrt().sqrt()
        white = (long + 1e-7).sqrt().sqrt()
        low = white.sqrt()
        white = white - white.mean(-1, keepdim=True)
        scale = torch.sqrt((white * white).mean(-1, keepdim=True) + 1e-9)
        correlation = (white / scale) @ self.lags
        return torch.cat([short, low, 4 * correlation], dim=-1)

    def whole(self, audio: Tensor) -> Tensor:
        """audio [B, T x frame] -> features [B, T, size], with silence before the audio."""
        with torch.autocast(audio.device.type, enabled=False):
            audio = nn.functional.pad(audio.float(), (self.frame, 0))
            short = torch.fft.rfft(
                frames(audio[:, self.hop :], self.frame, self.hop) * self.short_window
            )
            long = torch.fft.rfft(frames(audio, 2 * self.frame, self.frame) * self.long_window)
            long = long[..., : self.low_bins]
            short, long = [x.real.square() + x.imag.square() for x in (short, long)]
            return self._assemble(short.reshape(*long.shape[:2], -1), long)

    def step(self, seen: Tensor) -> Tensor:
        """The frame before and T frames [T + 1, frame] -> features [T, size]."""
        pairs = torch.cat([seen[:-1], seen[1:]], dim=1)
        short = torch.stack(
            [pairs[:, self.hop : self.hop + self.frame], pairs[:, self.frame :]], dim=1
        )
        matrix = analysis_matrix(self.frame, self.short_bins, self.short_window)
        long = analysis_matrix(2 * self.frame, self.low_bins, self.long_window)
        short = self._power(short.reshape(-1, self.frame) @ matrix)
        return self._assemble(
            short.reshape(-1, 2 * self.short_bins), self._power(pairs @ long)
        )


class Encoder(nn.Module):
    """Features, causal blocks, and two heads: pitch, and the rest of the latent."""

    def __init__(self, config: Config):
        super().__init__()
        own = config.encoder
        self.width = own.width
        self.features = Features(config.audio.rate)
        self.enter = nn.Linear(self.features.size, own.width)
        self.stack = CausalStack(own.width, own.blocks, own.kernel, own.expansion)
        self.norm = nn.LayerNorm(own.width)
        self.rest = nn.Linear(own.width, config.quantizer.latent - 1)
        self.candidates = nn.Linear(own.width + PITCH_BINS, PITCH_BINS)
        with torch.no_grad():  # start from the autocorrelation's own opinion
            self.candidates.weight[:, own.width :] += torch.eye(PITCH_BINS)
        pitch = Pitch(config.audio.rate, config.quantizer.pitch_scale)
        hertz = LOWEST_PITCH * 2 ** (torch.arange(PITCH_BINS) * OCTAVES / (PITCH_BINS - 1)).double()
        self.register_buffer("elements", pitch.element(hertz).float(), persistent=False)

    def pitch(self, scores: Tensor) -> Tensor:
        """Candidates' scores [..., PITCH_BINS] -> pitch elements [..., 1].

        The mean around the best candidate, so that a doubt between octaves does not end between
        them.
        """
        best = scores.argmax(-1, keepdim=True)
        index = torch.arange(PITCH_BINS, device=scores.device)
        near = (index - best).abs() <= NEAR
        weights = torch.softmax(scores.masked_fill(~near, -30000.0), dim=-1)
        return (weights * self.elements).sum(-1, keepdim=True)

    def heads(self, hidden: Tensor, features: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """-> latent [..., D] (its first element is pitch), and "pitch": candidates' scores
        [..., PITCH_BINS]."""
        hidden = self.norm(hidden)
        scores = self.candidates(torch.cat([hidden, features[..., -PITCH_BINS:]], dim=-1)).float()
        rest = self.rest(hidden).float()
        # unit variance across the elements: the pitch element's scale means something beside them
        rest = nn.functional.layer_norm(rest, rest.shape[-1:], rest.new_ones(rest.shape[-1]))
        return torch.cat([self.pitch(scores), rest], dim=-1), {"pitch": scores}

    def forward(self, audio: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """audio [B, T x frame] -> latent [B, T, D] float32, scores by name (`heads`)."""
        features = self.features.whole(audio)
        hidden, _ = self.stack(self.enter(features).float())
        return self.heads(hidden, features)

    def step(self, audio: Tensor, before: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """T frames of a stream: audio [1, T x frame], the frame before [1, frame] -> latent
        [1, T, D], the last frame, new states."""
        seen = torch.cat([before, audio.reshape(-1, self.features.frame)], dim=0)
        features = self.features.step(seen)
        rows = spans(seen[1:], self.stack.kernel)
        hidden, states = self.stack.step(self.enter(features), list(states), rows)
        return self.heads(hidden, features)[0].unsqueeze(0), seen[-1:], *states
