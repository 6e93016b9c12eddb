"""A lean decoder: quantized latents to audio as harmonics plus noise, one frame of 20 ms each."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .config import Config
from .excitation import TURN, Excitation
from .latents import Layout
from .layers import CausalStack, spans
from .spectra import analysis_matrix, frames, overlap_add, synthesis_matrix

LOW_HZ = 4000  # up to here the decoder may write spectra of its own
TURNS = 6  # harmonics of the oscillator's phase that the blocks see
NOISE = 2**15  # length of the table of noise when running, in values


class HarmonicNoiseDecoder(nn.Module):
    """Causal blocks at 50 and 100 Hz, and a head that shapes pulses and noise 10 ms apart.

    As the first decoder (`decoder.py`: the same delay, the same oscillator), at two fifths of its
    cost: noise is made as spectra; the blocks see the oscillator's phase, not the pulses' spectra;
    a spectrum of the network's own ends at 4 kHz.

    In training the pulses may follow a track of the target's own (`pulses.py`).
    """

    def __init__(self, config: Config):
        super().__init__()
        own, audio = config.decoder, config.audio
        self.own = own
        self.frame, self.hop, self.bins = audio.frame, audio.hop, audio.bins
        self.low = LOW_HZ // 50 + 1
        self.stages = config.quantizer.stages
        self.layout = Layout(config.quantizer)
        self.enter = nn.Linear(config.quantizer.latent, own.width)
        self.depth = nn.Parameter(torch.randn(self.stages + 1, own.width) * 0.02)
        self.stack = CausalStack(own.width, own.blocks, own.kernel, own.expansion)
        self.split = nn.Linear(own.width, 2 * own.fine_width)
        self.phase = nn.Linear(2 * TURNS + 1, own.fine_width, bias=False)
        self.fine = CausalStack(own.fine_width, own.fine_blocks, own.kernel, own.fine_expansion)
        self.norm = nn.LayerNorm(own.fine_width)
        self.level = (audio.frame / 2) ** 0.5  # of a bin, for a signal of unit power
        self.excitation = Excitation(audio.rate, audio.frame, config.quantizer.pitch_scale)
        self.sizes = [self.bins] * 3 + [self.low] * 2
        self.head = nn.Linear(own.fine_width, sum(self.sizes))
        # square root of Hann on both sides: unit gains give back what went in
        window = torch.hann_window(self.frame).sqrt()
        self.register_buffer("window", window, persistent=False)
        generator = torch.Generator().manual_seed(20)
        noise = torch.randn(NOISE + 2 * self.bins, generator=generator) * (self.level / 2**0.5)
        self.register_buffer("noise", noise.half().float(), persistent=False)
        self.register_buffer("number", torch.arange(1, TURNS + 1).float(), persistent=False)
        with torch.no_grad():
            # relative to the level that is told, or to about -35 dBFS
            levels = (0.0 if self.layout.level else -4.0, 0.0, 0.0, -1.0, 0.0)
            self.head.bias.copy_(torch.cat(
                [torch.full((size,), level) for size, level in zip(self.sizes, levels)]
            ))

    def _hidden(self, latent: Tensor, depth: Tensor) -> Tensor:
        return self.enter(self.layout.inputs(latent)) + depth

    def _gain(self, latent: Tensor) -> Tensor | None:
        """Natural logarithm of the level that is told, for each window [..., 2 T, 1]; None if none
        is."""
        if self.layout.level is None:
            return None
        gain = self.layout.level_db(latent) * (math.log(10) / 20)
        return torch.cat([gain, gain], dim=-1).reshape(*gain.shape[:-2], -1, 1)

    def _sees(self, cycles: Tensor, slope: Tensor) -> Tensor:
        """The oscillator's phase in cycles and its slope in phase units at the middle of each
        window, [...] each -> [..., fine_width]."""
        turned = (cycles - torch.round(cycles)).unsqueeze(-1) * (2 * math.pi * self.number)
        pitch = torch.log2(slope.unsqueeze(-1) * (1 / 2**14))
        return self.phase(torch.cat([torch.cos(turned), torch.sin(turned), pitch], dim=-1))

    def _spectrum(
        self, head: Tensor, pulses: tuple[Tensor, Tensor], noise: tuple[Tensor, Tensor],
        gain: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """The head's output [..., rows, sum(sizes)], real and imaginary parts of pulses and of
        noise, each [..., rows, bins], the level's logarithm [..., rows, 1] -> those of the speech."""
        parts, at = [], 0  # slices: a split would become a sequence of tensors in the graph
        for size in self.sizes:
            parts.append(head[..., at : at + size])
            at += size
        # exp of at most 6: a burst at full scale; what is above would only overflow
        envelope = parts[0] if gain is None else parts[0] + gain
        envelope = torch.exp(envelope.clamp(max=6.0))
        voiced = torch.sigmoid(parts[1])
        pulse, quiet = envelope * voiced, envelope * (1 - voiced)
        real, imaginary = pulse * torch.cos(parts[2]), pulse * torch.sin(parts[2])
        own = envelope[..., : self.low] * torch.sigmoid(parts[3]) * self.level
        above = self.bins - self.low
        return (
            real * pulses[0] - imaginary * pulses[1] + quiet * noise[0]
            + nn.functional.pad(own * torch.cos(parts[4]), (0, above)),
            real * pulses[1] + imaginary * pulses[0] + quiet * noise[1]
            + nn.functional.pad(own * torch.sin(parts[4]), (0, above)),
        )

    def forward(
        self, latent: Tensor, depth: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """latent [B, T, D], depth [B, T] (codebooks used, 0..stages) -> audio [B, T x frame].

        The audio is a frame late: its sample n renders the input's sample n - frame.
        """
        return self.draw(latent, depth, generator)[0]

    def draw(
        self, latent: Tensor, depth: Tensor, generator: torch.Generator | None, draws: int = 1,
        track: Tensor | None = None,
    ) -> Tensor:
        """The same several times, each with noise and a first phase of its own: audio
        [draws, B, T x frame]. What the codes alone decide is computed once.

        track: unwrapped cycles [B, 4 T + 1] that the pulses follow instead of the decoded pitch, a
        quarter of a frame apart, from the input's sample -hop on.
        """
        hidden, _ = self.stack(self._hidden(latent, self.depth[depth]).float())
        batch, time, _ = hidden.shape
        hidden = self.split(hidden).reshape(batch, 2 * time, -1).float()
        with torch.no_grad(), torch.autocast(latent.device.type, enabled=False):
            cycles, slope, middle, rate = self._phases(latent.float(), generator, draws, track)
            made = self.excitation.kernel(cycles, slope)
            made = frames(nn.functional.pad(made, (self.hop, 0)), self.frame, self.hop)
            spectrum = torch.fft.rfft(made * self.window)
            noise = self._noise(len(spectrum), 2 * time, generator, spectrum)
        hidden = hidden.repeat(draws, 1, 1) + self._sees(middle, rate).float()
        hidden, _ = self.fine(hidden)
        head = self.head(self.norm(hidden)).float()
        with torch.autocast(latent.device.type, enabled=False):
            gain = self._gain(latent.float())
            gain = None if gain is None else gain.repeat(draws, 1, 1)
            pulses = (spectrum.real, spectrum.imag)
            parts = torch.complex(*self._spectrum(head, pulses, noise, gain))
            parts = torch.fft.irfft(parts, n=self.frame) * self.window
            return overlap_add(parts)[:, : time * self.frame].reshape(draws, batch, -1)

    def _phases(
        self, latent: Tensor, generator: torch.Generator | None, draws: int, track: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Cycles and slopes [draws x B, T x frame], and cycles and increments in the middles of the
        windows [draws x B, 2 T]."""
        if track is not None:
            cycles, slope = self.excitation.follow(track)
            middle = torch.cat([track[:, :1], cycles], dim=1)[:, : -self.hop : self.hop]
            rate = torch.cat([slope[:, :1], slope], dim=1)[:, : -self.hop : self.hop]
            return tuple(x.repeat(draws, 1) for x in (cycles, slope, middle, rate))
        latent = latent.repeat(draws, 1, 1)
        first = None
        if generator is not None:
            first = self.excitation.first_phases(len(latent), generator, latent.device)
        before, now, phase = self.excitation.oscillate(latent[..., 0], first)
        offset, pull, _ = self._follow(latent, before, now, phase, latent.new_zeros(len(latent), 2))
        columns = [x.unsqueeze(-1) for x in (before, now, phase, offset, pull)]
        return tuple(x.reshape(len(latent), -1) for x in self._path(*columns))

    def _follow(
        self, latent: Tensor, before: Tensor, now: Tensor, phase: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """How the oscillator is turned towards the phase that is told: offsets at the frames' starts
        and what each frame adds, in phase units [B, T]; the state [B, 2]."""
        if self.layout.phase is None:
            nothing = torch.zeros_like(now)
            return nothing, nothing, state
        free = torch.remainder(phase + (before + now) * (self.frame / 2), TURN)
        cosine, sine = self.layout.circle(latent)
        ends, mean = self.excitation.lock(free, cosine, sine, state)
        first = torch.atan2(state[:, 1:2], state[:, 0:1]) * (0.5 / math.pi)
        starts = torch.cat([first, ends[:, :-1]], dim=1)
        pull = ends - starts
        pull = pull - torch.round(pull)
        return starts * TURN, pull * TURN, mean[:, -1]

    def _path(
        self, before: Tensor, now: Tensor, phase: Tensor, offset: Tensor, pull: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Cycles and slopes [..., frame] of frames, and cycles and increments [..., 2] in the middles
        of their windows: where a frame begins and half way. All in phase units [..., 1]: increments
        before and after, the free phase at the start, how far it is turned there and how much
        further."""
        made = self.excitation
        along = made.n * (1 / self.frame)
        cycles = torch.remainder(before * made.n, TURN) + (now - before) * made.bend + phase
        slope = before + (now - before) * along + pull * (1 / self.frame)
        cycles = (cycles + offset + pull * along) * (1 / TURN)
        half = self.frame // 2 - 1
        middle = torch.cat([(phase + offset) * (1 / TURN), cycles[..., half : half + 1]], dim=-1)
        return cycles, slope, middle, torch.cat([before, (before + now) / 2], dim=-1)

    def _noise(
        self, batch: int, rows: int, generator: torch.Generator | None, like: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Real and imaginary parts [batch, rows, bins]: drawn, or without a generator the table's
        as the exported graph reads it."""
        if generator is None:
            index = self._places(torch.arange(rows, device=like.device))
            noise = nn.functional.embedding(index, self.noise[:, None]).squeeze(-1)
            noise = noise.expand(batch, rows, -1)
        else:
            same = generator.device.type == like.device.type
            noise = torch.randn(
                batch, rows, 2 * self.bins, device=like.device,
                generator=generator if same else None,
            ) * (self.level / 2**0.5)
        return noise[..., : self.bins], noise[..., self.bins :]

    def _places(self, number: Tensor) -> Tensor:
        """Indices [rows, 2 x bins] into the table of noise for windows of these numbers: stretches
        whose beginnings do not come again for NOISE windows, 5 minutes."""
        start = torch.remainder(number * 19997, NOISE)
        return start[:, None] + torch.arange(2 * self.bins, device=number.device)

    def step(
        self, latent: Tensor, depth_one_hot: Tensor, tail: Tensor, *states: Tensor
    ) -> tuple[Tensor, ...]:
        """T frames of a stream, in matrix products only.

        latent [1, T, D], depth_one_hot [T, stages + 1], tail [1, hop]: the unfinished samples; the
        oscillator [1, 3] and its last pulses [1, hop]; then the blocks' states. -> audio
        [1, T x frame], and all states anew, in this order.
        """
        states = list(states)
        hidden = self._hidden(latent.squeeze(0), depth_one_hot @ self.depth)
        rows = spans(depth_one_hot, self.own.kernel)
        blocks = self.own.blocks + self.own.fine_blocks
        hidden, coarse = self.stack.step(hidden, states[-blocks:][: self.own.blocks], rows)
        hidden = self.split(hidden).reshape(-1, self.own.fine_width)

        made, middle, rate, number, oscillator = self._oscillate(latent, states[0])
        seen = torch.cat([states[1], made.reshape(-1, self.hop)], dim=0)
        windows = torch.cat([seen[:-1], seen[1:]], dim=1)
        spectrum = windows @ analysis_matrix(self.frame, self.bins, self.window)
        pulses = (spectrum[:, : self.bins], spectrum[:, self.bins :])
        noise = nn.functional.embedding(self._places(number), self.noise[:, None]).squeeze(-1)
        noise = (noise[:, : self.bins], noise[:, self.bins :])

        hidden = hidden + self._sees(middle, rate)
        rows = spans(hidden, self.own.kernel)
        hidden, fine = self.fine.step(hidden, states[len(states) - self.own.fine_blocks :], rows)
        head, gain = self.head(self.norm(hidden)), self._gain(latent.squeeze(0))
        real, imaginary = self._spectrum(head, pulses, noise, gain)
        parts = torch.cat([real, imaginary], dim=-1) @ synthesis_matrix(self.frame, self.window)
        unfinished = torch.cat([tail, parts[:, self.hop :]], dim=0)
        audio = parts[:, : self.hop] + unfinished[:-1]
        return audio.reshape(1, -1), unfinished[-1:], oscillator, seen[-1:], *coarse, *fine

    def _oscillate(self, latent: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        """latent [1, T, D], state [1, 5] (the last increment, 0 where the stream begins; the free
        phase; the window's number modulo NOISE; the mean direction of `Excitation.lock`) -> pulses
        [T, frame]; the phase in cycles, its slope, and the number of each window [2 T]; the state."""
        last, phase, count, mean = state[:, 0:1], state[:, 1:2], state[:, 2:3], state[:, 3:5]
        made = self.excitation
        now = made.pitch.increment(latent[:, :, 0])
        first = torch.where(last > 0, last, now[:, :1])
        before = torch.cat([first, now[:, :-1]], dim=1)
        # of integers: sums of more than sixteen frames are beyond what floats hold exactly
        advance = ((before + now) * (self.frame / 2)).to(torch.int64)
        ends = phase.to(torch.int64) + advance.cumsum(1)
        starts = torch.remainder(ends - advance, TURN).to(now.dtype)
        offset, pull, mean = self._follow(latent, before, now, starts, mean)
        columns = [x.reshape(-1, 1) for x in (before, now, starts, offset, pull)]
        cycles, slope, middle, rate = self._path(*columns)
        pulses = made.kernel(cycles, slope)
        number = count[0].long() + torch.arange(2 * now.shape[1], device=now.device)
        phase = torch.remainder(ends[:, -1:], TURN).to(now.dtype)
        count = torch.remainder(number[-1:] + 1, NOISE).to(now.dtype)
        state = torch.cat([now[:, -1:], phase, count.unsqueeze(0), mean], dim=1)
        return pulses, middle.reshape(-1), rate.reshape(-1), number, state
