"""Discriminators that look at the complex spectrogram at several resolutions, and their losses.

After the multi-scale STFT discriminator of Défossez, Copet, Synnaeve and Adi, "High Fidelity
Neural Audio Compression" (EnCodec, arXiv:2210.13438, 2022), section 3.4, which follows the STFT
discriminator of Zeghidour et al., "SoundStream" (arXiv:2107.03312, 2021), section III-E. Smaller:
fewer resolutions for lower rates, and the first layer strides over frequency too, which halves
the work of those after it. The spectrogram's magnitudes are compressed, so that weak bands count.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.2
# Of |X|^2: bins under -70 dBFS are scaled rather than compressed, so that gradients stay bounded.
FLOOR = 1e-7

# A logit map [B, 1, frames, bands] and the feature maps [B, C, frames, bands] before it.
Judgement = tuple[Tensor, list[Tensor]]


class SpectrogramDiscriminator(nn.Module):
    """Judges audio by its complex spectrogram at one resolution.

    fft_size: samples of the Hann window; its hop is a quarter. channels: of every layer.
    dilations: of the layers after the first, in frames.
    """

    def __init__(self, fft_size: int, channels: int, dilations: Sequence[int] = (1, 2, 4)):
        super().__init__()
        self.fft_size = fft_size
        self.register_buffer("window", torch.hann_window(fft_size), persistent=False)

        def layer(inputs: int, dilation: int) -> nn.Module:
            return weight_norm(
                nn.Conv2d(
                    inputs,
                    channels,
                    kernel_size=(3, 9),
                    stride=(1, 2),
                    dilation=(dilation, 1),
                    padding=(dilation, 4),
                )
            )

        self.layers = nn.ModuleList(
            [layer(2, 1)]
            + [layer(channels, dilation) for dilation in dilations]
            + [weight_norm(nn.Conv2d(channels, channels, kernel_size=3, padding=1))]
        )
        self.logits = weight_norm(nn.Conv2d(channels, 1, kernel_size=3, padding=1))

    def spectrogram(self, audio: Tensor) -> Tensor:
        """audio [B, T] to [B, 2, frames, fft_size / 2 + 1]: real and imaginary parts, float32.

        |X| becomes |X|^0.5 and keeps its phase. X is scaled by the window's energy: white noise
        of unit variance has bins of unit variance at every resolution. Frames lie wholly within
        the audio.
        """
        # Half precision has no FFT on most devices, and too little range for powers.
        with torch.autocast(audio.device.type, enabled=False):
            spectrum = torch.stft(
                audio.float(),
                self.fft_size,
                hop_length=self.fft_size // 4,
                window=self.window.float(),
                center=False,
                return_complex=True,
            )
            parts = torch.view_as_real(spectrum) * self.window.float().square().sum().rsqrt()
            power = parts.square().sum(dim=-1, keepdim=True)
            parts = parts * (power + FLOOR).pow(-0.25)
            # [B, bins, frames, 2] to [B, 2, frames, bins].
            return parts.permute(0, 3, 2, 1).contiguous()

    def forward(self, audio: Tensor) -> Judgement:
        """audio [B, T] to a logit map (greater for real speech) and a feature map per layer."""
        features = []
        hidden = self.spectrogram(audio)
        for layer in self.layers:
            hidden = leaky_relu(layer(hidden), SLOPE)
            features.append(hidden)
        return self.logits(hidden), features


class Discriminators(nn.Module):
    """One discriminator per resolution.

    fft_sizes: in samples; the defaults, 64, 32 and 16 ms at 16 kHz, resolve harmonics as well as
    onsets. channels: of every layer; multiples of 16 suit a CPU's vectors.
    """

    def __init__(
        self,
        fft_sizes: Sequence[int] = (1024, 512, 256),
        channels: int = 32,
        dilations: Sequence[int] = (1, 2, 4),
    ):
        super().__init__()
        if not fft_sizes or any(size < 4 or size % 4 for size in fft_sizes):
            raise ValueError(f"FFT sizes are multiples of 4, not {list(fft_sizes)}")
        self.resolutions = nn.ModuleList(
            SpectrogramDiscriminator(size, channels, dilations) for size in fft_sizes
        )
        self.least_samples = max(fft_sizes)

    def forward(self, audio: Tensor) -> list[Judgement]:
        """audio [B, T], full scale being 1, to each resolution's logit map and feature maps.

        Raises ValueError if audio is not [B, T] or T is under the greatest FFT size.
        """
        if audio.dim() != 2 or audio.shape[1] < self.least_samples:
            raise ValueError(
                f"audio is [B, T] with T from {self.least_samples} on, not {list(audio.shape)}"
            )
        return [judge(audio) for judge in self.resolutions]


def discriminator_loss(real: Sequence[Judgement], fake: Sequence[Judgement]) -> Tensor:
    """Hinge loss that the discriminators learn by (EnCodec, section 3.4): a scalar, 0 or more.

    Mean over resolutions of mean(max(0, 1 - D(real))) + mean(max(0, 1 + D(fake))); 2 for
    discriminators that say 0 of everything. `fake` is to come from detached audio.

    Raises ValueError if there are not as many judgements of each.
    """
    losses = [
        relu(1 - ours.float()).mean() + relu(1 + theirs.float()).mean()
        for (ours, _), (theirs, _) in zip(real, fake, strict=True)
    ]
    return torch.stack(losses).mean()


def generator_loss(fake: Sequence[Judgement]) -> Tensor:
    """What the codec loses by being found out (EnCodec, section 3.4): a scalar, 0 or more.

    Mean over resolutions of mean(max(0, 1 - D(fake))).
    """
    return torch.stack([relu(1 - logits.float()).mean() for logits, _ in fake]).mean()


def feature_matching(real: Sequence[Judgement], fake: Sequence[Judgement]) -> Tensor:
    """How far apart the feature maps are (EnCodec, section 3.4): a scalar, 0 or more.

    Mean over resolutions and layers of mean |F(real) - F(fake)| / mean |F(real)|. No gradient
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
