"""Discriminators of real from decoded speech, over spectra and over the waveform, and their losses.

Made for a CPU's matrix products: all layers are one-dimensional convolutions of many channels. One
kind judges frames of spectra, bins as channels (as FARGAN's do: Valin et al. 2024), and sees, below
4 kHz, how phases move from bin to bin and from frame to frame: where pulses lie, and how steady
harmonics are. The other judges the waveform by every p-th sample (multi-period discriminators: Kong
et al., "HiFi-GAN", arXiv:2010.05646, 2020, section 2.3).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad, relu
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.2
FLOOR = 1e-7  # of |X|^2: bins under -70 dBFS are as good as silent
PHASES_BELOW = 4000  # Hz
SIZES = (1024, 512, 256)  # FFT sizes at 16 kHz: 64, 32 and 16 ms
PERIODS = (2, 3, 5)

# A logit map [B, places], and the feature maps [B, C, places] before it.
Judgement = tuple[Tensor, list[Tensor]]


class FrameDiscriminator(nn.Module):
    """Judges frames of `size` samples, a quarter of that apart, by their spectra."""

    def __init__(self, size: int, rate: int, width: int, dilations: Sequence[int] = (1, 2, 4)):
        super().__init__()
        self.size, self.hop = size, size // 4
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        self.low = min(size // 2, PHASES_BELOW * size // rate)
        inputs = size // 2 + 1 + 4 * self.low
        # a bin's phase goes on by this from frame to frame where it holds a steady tone
        angle = 2 * torch.pi * torch.arange(self.low) * self.hop / size
        self.register_buffer("ahead", torch.polar(torch.ones(self.low), angle), persistent=False)

        def layer(channels: int, dilation: int) -> nn.Module:
            return weight_norm(nn.Conv1d(channels, width, 3, dilation=dilation, padding=dilation))

        self.layers = nn.ModuleList([layer(inputs, 1)] + [layer(width, d) for d in dilations])
        self.logits = weight_norm(nn.Conv1d(width, 1, 3, padding=1))

    def spectra(self, audio: Tensor) -> Tensor:
        """audio [B, samples] -> [B, channels, frames], float32: logarithms of magnitudes, and of the
        low bins the products of each with the next and with itself a frame before, turned back by
        what a steady tone turns, their magnitudes to the power of a quarter."""
        # half precision has no transform on most devices, and too little range for powers
        with torch.autocast(audio.device.type, enabled=False):
            cut = audio.float().unfold(-1, self.size, self.hop) * self.window
            spectrum = torch.fft.rfft(cut) * float(self.window.square().sum().rsqrt())
            power = spectrum.real.square() + spectrum.imag.square() + FLOOR
            loudness = 0.2 * torch.log(power) + 1.2
            low = spectrum[..., : self.low + 1] * power[..., : self.low + 1].pow(-0.375)
            # the middle of the window is where phases are told: from bin to bin half a turn more
            across = -low[..., :-1] * low[..., 1:].conj()
            before = pad(low[:, :-1, :-1], (0, 0, 1, 0))
            along = low[..., :-1] * before.conj() * self.ahead.conj()
            parts = [loudness, across.real, across.imag, along.real, along.imag]
            return torch.cat(parts, dim=-1).transpose(1, 2)

    def forward(self, audio: Tensor) -> Judgement:
        """audio [B, samples] -> logits [B, frames], greater for real speech; features."""
        features, hidden = [], self.spectra(audio)
        for layer in self.layers:
            hidden = leaky_relu(layer(hidden), SLOPE)
            features.append(hidden)
        return self.logits(hidden).squeeze(1), features


class PeriodDiscriminator(nn.Module):
    """Judges the waveform by every `period`-th sample, as many times as that gives sequences."""

    def __init__(self, period: int, channels: Sequence[int] = (32, 64, 128, 128)):
        super().__init__()
        self.period = period
        layers, before = [], 1
        for number, count in enumerate(channels):
            stride = 3 if number + 1 < len(channels) else 1
            layers.append(weight_norm(nn.Conv1d(before, count, 5, stride=stride, padding=2)))
            before = count
        self.layers = nn.ModuleList(layers)
        self.logits = weight_norm(nn.Conv1d(before, 1, 3, padding=1))

    def forward(self, audio: Tensor) -> Judgement:
        """audio [B, samples] -> logits [B, places]; features [B x period, C, places]."""
        batch = len(audio)
        # loud and quiet speech are to look alike
        level = (audio.float().square().mean(1, keepdim=True) + 1e-8).sqrt()
        audio = audio / (4 * level)
        audio = pad(audio, (0, -audio.shape[1] % self.period))
        hidden = audio.reshape(batch, -1, self.period).transpose(1, 2).reshape(
            batch * self.period, 1, -1
        )
        features = []
        for layer in self.layers:
            hidden = leaky_relu(layer(hidden), SLOPE)
            features.append(hidden)
        return self.logits(hidden).reshape(batch, -1), features


class Discriminators(nn.Module):
    """Both kinds: sizes in samples at 16 kHz (scaled with the rate), periods in samples."""

    def __init__(
        self, rate: int = 16000, sizes: Sequence[int] = SIZES, periods: Sequence[int] = PERIODS,
        width: int = 192,
    ):
        super().__init__()
        if any(size < 8 or size % 8 for size in sizes):
            raise ValueError(f"sizes are multiples of 8, not {list(sizes)}")
        sizes = [size * rate // 16000 // 8 * 8 for size in sizes]
        self.judges = nn.ModuleList(
            [FrameDiscriminator(size, rate, width) for size in sizes]
            + [PeriodDiscriminator(period) for period in periods]
        )
        self.least_samples = max([*sizes, 1])

    def forward(self, audio: Tensor) -> list[Judgement]:
        """audio [B, samples], full scale being 1, to each one's logits and features.

        Raises ValueError if audio is not [B, samples], or shorter than the longest frame.
        """
        if audio.dim() != 2 or audio.shape[1] < self.least_samples:
            raise ValueError(
                f"audio is [B, T] with T from {self.least_samples} on, not {list(audio.shape)}"
            )
        return [judge(audio) for judge in self.judges]


def discriminator_loss(real: Sequence[Judgement], fake: Sequence[Judgement]) -> Tensor:
    """Hinge loss that the discriminators learn by (EnCodec, section 3.4): a scalar, 0 or more.

    Mean over discriminators of mean(max(0, 1 - D(real))) + mean(max(0, 1 + D(fake))); 2 for
    discriminators that say 0 of everything. `fake` is to come from detached audio.

    Raises ValueError if there are not as many judgements of each.
    """
    losses = [
        relu(1 - ours.float()).mean() + relu(1 + theirs.float()).mean()
        for (ours, _), (theirs, _) in zip(real, fake, strict=True)
    ]
    return torch.stack(losses).mean()


@torch.no_grad()
def win_rates(real: Sequence[Judgement], fake: Sequence[Judgement]) -> Tensor:
    """The share of each discriminator's judgements that are right [discriminators]; chance is
    0.5."""
    rates = [
        0.5 * ((ours > 0).float().mean() + (theirs < 0).float().mean())
        for (ours, _), (theirs, _) in zip(real, fake, strict=True)
    ]
    return torch.stack(rates)


def generator_loss(fake: Sequence[Judgement], weight: Tensor | None = None) -> Tensor:
    """What the codec loses by being found out (EnCodec, section 3.4): a scalar.

    Mean over discriminators of mean(-D(fake)), each item weighted by weight [B].
    """
    losses = []
    for logits, _ in fake:
        loss = -logits.float().mean(1)
        losses.append(loss.mean() if weight is None else (loss * weight).sum() / weight.sum())
    return torch.stack(losses).mean()


def feature_matching(real: Sequence[Judgement], fake: Sequence[Judgement]) -> Tensor:
    """How far apart the feature maps are (EnCodec, section 3.4): a scalar, 0 or more.

    Mean over discriminators and layers of mean |F(real) - F(fake)| / mean |F(real)|. No gradient
    goes to the real features.

    Raises ValueError if there are not as many judgements, or features, of each.
    """
    losses = []
    for (_, ours), (_, theirs) in zip(real, fake, strict=True):
        for expected, found in zip(ours, theirs, strict=True):
            expected, found = expected.detach().float(), found.float()
            distance = (expected - found).abs().mean()
            losses.append(distance / expected.abs().mean().clamp(min=1e-6))
    return torch.stack(losses).mean()
