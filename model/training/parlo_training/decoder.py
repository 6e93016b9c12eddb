"""The decoder: quantized latents to audio, one frame of 20 ms per latent."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import Config
from .excitation import Excitation
from .layers import CausalStack, spans
from .spectra import analysis_matrix, frames, overlap_add, synthesis_matrix


class Decoder(nn.Module):
    """Causal blocks at 50 and 100 Hz, and a head that writes spectra 10 ms apart.

    A call adds two windows of 20 ms and completes the frame before the one just coded: with the
    encoder's frame itself, an algorithmic latency of 40 ms (frame 20, overlap 10, look-ahead 10).

    The "harmonic" head writes one envelope and shares of it: of a pulse train (with a phase), of
    noise, and of a spectrum of its own. Separate gains for each learned half as fast
    (docs/training.md). The "vocos" head writes magnitude and phase (Siuzdak 2023).
    """

    def __init__(self, config: Config):
        super().__init__()
        own, audio = config.decoder, config.audio
        self.own = own
        self.frame, self.hop, self.bins = audio.frame, audio.hop, audio.bins
        self.stages = config.quantizer.stages
        self.harmonic = own.head == "harmonic"
        self.pitch_scale = config.quantizer.pitch_scale
        latent = config.quantizer.latent
        self.enter = nn.Linear(latent, own.width)
        self.depth = nn.Parameter(torch.randn(self.stages + 1, own.width) * 0.02)
        self.stack = CausalStack(own.width, own.blocks, own.kernel, own.expansion)
        self.split = nn.Linear(own.width, 2 * own.fine_width)
        self.fine = CausalStack(own.fine_width, own.fine_blocks, own.kernel, own.expansion)
        self.norm = nn.LayerNorm(own.fine_width)
        # square root of Hann on both sides: unit gains give back what went in
        window = torch.hann_window(self.frame).sqrt()
        self.register_buffer("window", window, persistent=False)
        if self.harmonic:
            self.level = (audio.frame / 2) ** 0.5  # of a bin, for a signal of unit power
            self.excitation = Excitation(audio.rate, audio.frame, self.pitch_scale)
            self.listen = nn.Linear(2 * self.bins, own.fine_width, bias=False)
            self.head = nn.Linear(own.fine_width, 5 * self.bins)
            with torch.no_grad():
                self.listen.weight.zero_()
                for part, level in enumerate((-4.0, 0.0, -1.0, 0.0, 0.0)):
                    self.head.bias[part * self.bins : (part + 1) * self.bins] = level
        else:
            self.head = nn.Linear(own.fine_width, 2 * self.bins)
            with torch.no_grad():
                self.head.bias[: self.bins] = -1.0

    def _hidden(self, latent: Tensor, depth: Tensor) -> Tensor:
        pitch = latent[..., :1] * (1 / self.pitch_scale)
        return self.enter(torch.cat([pitch, latent[..., 1:]], dim=-1)) + depth

    def _spectrum(self, head: Tensor, sources: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The head's output [B, 2 T, 5 or 2 x bins], and real and imaginary parts of pulses and of
        noise, each [B, 2 T, bins] -> real and imaginary parts of the speech."""
        bins = self.bins  # slices: a split would become a sequence of tensors in the graph
        parts = [head[..., i * bins : (i + 1) * bins] for i in range(head.shape[-1] // bins)]
        # exp of at most 6: a burst at full scale; what is above would only overflow
        if not self.harmonic:
            magnitude = torch.exp(parts[0].clamp(max=6.0))
            return magnitude * torch.cos(parts[1]), magnitude * torch.sin(parts[1])
        pulse_real, pulse_imaginary, noise_real, noise_imaginary = sources
        envelope = torch.exp(parts[0].clamp(max=6.0))
        voiced, own = torch.sigmoid(parts[1]), torch.sigmoid(parts[2])
        pulse, noise = envelope * voiced, envelope * (1 - voiced)
        own = envelope * own * self.level
        real, imaginary = pulse * torch.cos(parts[3]), pulse * torch.sin(parts[3])
        return (
            real * pulse_real - imaginary * pulse_imaginary
            + noise * noise_real + own * torch.cos(parts[4]),
            real * pulse_imaginary + imaginary * pulse_real
            + noise * noise_imaginary + own * torch.sin(parts[4]),
        )

    def _sees(self, pulse_real: Tensor, pulse_imaginary: Tensor) -> Tensor:
        return self.listen(0.1 * torch.cat([pulse_real, pulse_imaginary], dim=-1))

    def forward(
        self, latent: Tensor, depth: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """latent [B, T, D], depth [B, T] (codebooks used, 0..stages) -> audio [B, T x frame].

        The audio is a frame late: its sample n renders the input's sample n - frame.
        """
        return self.draw(latent, depth, generator)[0]

    def draw(
        self, latent: Tensor, depth: Tensor, generator: torch.Generator | None, draws: int = 1
    ) -> Tensor:
        """The same several times, each with noise and a first phase of its own: audio
        [draws, B, T x frame]. What the codes alone decide is computed once."""
        hidden, _ = self.stack(self._hidden(latent, self.depth[depth]).float())
        batch, time, _ = hidden.shape
        hidden = self.split(hidden).reshape(batch, 2 * time, -1).float()
        hidden = hidden.repeat(draws, 1, 1)
        sources = ()
        if self.harmonic:
            with torch.no_grad(), torch.autocast(latent.device.type, enabled=False):
                element = latent[..., 0].float().repeat(draws, 1)
                made = self.excitation.whole(element, generator)
                spectra = [
                    torch.fft.rfft(
                        frames(nn.functional.pad(x, (self.hop, 0)), self.frame, self.hop)
                        * self.window
                    )
                    for x in made
                ]
                sources = tuple(part for x in spectra for part in (x.real, x.imag))
            hidden = hidden + self._sees(*sources[:2]).float()
        hidden, _ = self.fine(hidden)
        head = self.head(self.norm(hidden)).float()
        with torch.autocast(latent.device.type, enabled=False):
            real, imaginary = self._spectrum(head, sources)
            parts = torch.fft.irfft(torch.complex(real, imaginary), n=self.frame) * self.window
            return overlap_add(parts)[:, : time * self.frame].reshape(draws, batch, -1)

    def step(
        self, latent: Tensor, depth_one_hot: Tensor, tail: Tensor, *states: Tensor
    ) -> tuple[Tensor, ...]:
        """T frames of a stream, in matrix products only.

        latent [1, T, D], depth_one_hot [T, stages + 1], tail [1, hop]: the unfinished samples; then
        for the harmonic head the oscillator [1, 3] and its last samples [1, 2, hop]; then the
        blocks' states. -> audio [1, T x frame], and all states anew, in this order.
        """
        states = list(states)
        hidden = self._hidden(latent.squeeze(0), depth_one_hot @ self.depth)
        rows = spans(depth_one_hot, self.own.kernel)
        hidden, coarse = self.stack.step(hidden, states[-self._blocks :][: self.own.blocks], rows)
        hidden = self.split(hidden).reshape(-1, self.own.fine_width)
        sources, after = (), []
        if self.harmonic:
            pulses, noise, oscillator = self.excitation.step(latent[:, :, 0], states[0])
            made = torch.stack([pulses, noise]).reshape(2, -1, self.hop)
            seen = torch.cat([states[1].reshape(2, 1, self.hop), made], dim=1)
            after = [oscillator, seen[:, -1:].reshape(1, 2, self.hop)]
            windows = torch.cat([seen[:, :-1], seen[:, 1:]], dim=2).reshape(-1, self.frame)
            spectra = windows @ analysis_matrix(self.frame, self.bins, self.window)
            spectra = spectra.reshape(2, -1, 2 * self.bins)
            real, imaginary = spectra[..., : self.bins], spectra[..., self.bins :]
            sources = (real[0], imaginary[0], real[1], imaginary[1])
            hidden = hidden + self._sees(*sources[:2])
        rows = spans(hidden, self.own.kernel)
        hidden, fine = self.fine.step(hidden, states[len(states) - self.own.fine_blocks :], rows)
        real, imaginary = self._spectrum(self.head(self.norm(hidden)), sources)
        parts = torch.cat([real, imaginary], dim=-1) @ synthesis_matrix(self.frame, self.window)
        unfinished = torch.cat([tail, parts[:, self.hop :]], dim=0)
        audio = parts[:, : self.hop] + unfinished[:-1]
        return audio.reshape(1, -1), unfinished[-1:], *after, *coarse, *fine

    @property
    def _blocks(self) -> int:
        return self.own.blocks + self.own.fine_blocks
