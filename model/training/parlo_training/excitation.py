"""What the decoder shapes into speech: a pulse train at the coded pitch, and noise.

A vocal tract filters the pulses of the vocal folds and the noise of narrow places. Giving the
decoder both ready-made (as neural source-filter vocoders do: Wang et al. 2019; DDSP: Engel et al.
2020) leaves it to find the filters, and voiced sounds have harmonics up to the band's edge from the
first step of training on.

Pitch comes from the first element of the decoder's latent by a rounding, and phase is kept as an
integer, so that a stream, a whole file, and any two machines agree on every pulse: a phase that is
integrated from floats drifts apart within seconds.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOWEST_PITCH = 55.0  # Hz
OCTAVES = 3.25  # up to 523 Hz
STEPS_PER_OCTAVE = 512  # 2.3 cents each
TURN = 2**20  # phase units of a full turn; 160 samples x 2 x the highest increment stay below 2^24
LOOSE, TIGHT = 0.25, 0.75  # how sure a phase must be to be followed at all, and as far as possible
PULL = 0.5  # how far the oscillator goes towards a sure phase in a frame
NOISE_FRAMES = 128  # length of the repeated noise when running, 2.56 s


class Pitch(nn.Module):
    """Between pitch in hertz, the latent's pitch element, and the oscillator's increment."""

    def __init__(self, rate: int, scale: int):
        super().__init__()
        self.scale = scale
        self.centre = math.log2(LOWEST_PITCH) + OCTAVES / 2
        steps = int(OCTAVES * STEPS_PER_OCTAVE)
        self.middle = steps // 2
        hertz = LOWEST_PITCH * 2.0 ** (torch.arange(steps, dtype=torch.float64) / STEPS_PER_OCTAVE)
        increments = torch.round(hertz / rate * TURN).float()
        self.register_buffer("increments", increments, persistent=False)

    def element(self, hertz: Tensor) -> Tensor:
        """The latent's pitch element for a pitch in Hz: `scale` units an octave, 0 at 170 Hz."""
        return (torch.log2(hertz.clamp(min=1.0)) - self.centre) * self.scale

    def increment(self, element: Tensor) -> Tensor:
        """Phase units a sample, whole numbers in float32, for pitch elements of any shape.

        The multiplication is by a power of two and so exact; the only rounding is to the table's
        index. Elements that are equal bit by bit give equal increments on every machine.
        """
        index = torch.round(element * (STEPS_PER_OCTAVE / self.scale)) + self.middle
        index = index.clamp(0, len(self.increments) - 1)
        # clamped once more as an integer: what is not a number must end in the loss, not in a
        # read beside the table
        index = index.long().clamp(0, len(self.increments) - 1)
        return F.embedding(index, self.increments[:, None]).squeeze(-1)


class Excitation(nn.Module):
    """Makes pulses and noise, a frame of samples per latent."""

    def __init__(self, rate: int, frame: int, scale: int):
        super().__init__()
        self.frame = frame
        self.pitch = Pitch(rate, scale)
        self.edge = 0.97 * rate / 2 / rate * TURN  # highest harmonic, in phase units a sample
        n = torch.arange(1, frame + 1, dtype=torch.float32)
        self.register_buffer("n", n, persistent=False)
        self.register_buffer("bend", n * n / (2 * frame), persistent=False)
        noise = torch.randn(NOISE_FRAMES, frame, generator=torch.Generator().manual_seed(20))
        self.register_buffer("noise", noise.half().float(), persistent=False)

    def pulses(self, before: Tensor, now: Tensor, phase: Tensor) -> Tensor:
        """Unit-power pulses [..., frame] between two pitches.

        before, now: increments [..., 1] at the segment's ends, between which pitch moves in a line;
        phase: at the segment's start, in units [..., 1].
        """
        turned = torch.remainder(before * self.n, TURN) + (now - before) * self.bend + phase
        slope = before + (now - before) * (self.n * (1 / self.frame))
        return self.kernel(turned * (1 / TURN), slope)

    def kernel(self, cycles: Tensor, slope: Tensor) -> Tensor:
        """Unit-power pulses of the oscillator's phase, in cycles, and its slope, in phase units a
        sample: any shape. A pulse is where the phase passes a whole number.

        Every harmonic up to 0.97 of the Nyquist frequency has the same amplitude: the closed form
        of their sum is the Dirichlet kernel; the highest one fades in and out, so that nothing
        clicks when pitch moves.
        """
        cycles = cycles - torch.round(cycles)
        harmonics = self.edge / slope
        whole = torch.floor(harmonics)
        half = math.pi * cycles
        below = torch.sin(half)
        flat = below.abs() < 1e-4
        ratio = torch.sin((2 * whole + 1) * half) / torch.where(flat, 1.0, below)
        total = 0.5 * torch.where(flat, 2 * whole + 1, ratio) - 0.5
        top = torch.remainder((whole + 1) * cycles, 1.0)
        total = total + (harmonics - whole) * torch.cos(2 * math.pi * top)
        return total * torch.sqrt(2 / harmonics)

    def follow(self, track: Tensor) -> tuple[Tensor, Tensor]:
        """The phase [B, T x frame] in cycles, and its slope, along a track [B, 4 T + 1] of
        unwrapped cycles, a quarter of a frame apart: straight between them."""
        step = self.frame // 4
        slope = (track[:, 1:] - track[:, :-1]).unsqueeze(-1) / step
        along = track[:, :-1].unsqueeze(-1) + slope * self.n[:step]
        slope = slope.expand_as(along) * TURN
        low, high = self.pitch.increments[0], self.pitch.increments[-1]
        return along.reshape(len(track), -1), slope.reshape(len(track), -1).clamp(low, high)

    def oscillate(
        self, element: Tensor, first: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Increments before and after each frame and the phase at its start, [B, T] each, in phase
        units, for pitch elements [B, T] of streams from their start; first: their phases at the
        start [B, 1] (None: 0)."""
        now = self.pitch.increment(element)
        before = torch.cat([now[:, :1], now[:, :-1]], dim=1)
        advance = ((before + now) * (self.frame / 2)).to(torch.int64)
        start = advance.cumsum(1) - advance
        if first is not None:
            start = start + first
        return before, now, torch.remainder(start, TURN).to(now.dtype)

    def lock(
        self, free: Tensor, cosine: Tensor, sine: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """How far, in cycles, the oscillator is turned from running freely at each frame's end, so
        that it follows phases that were told.

        free: its phase at the frames' ends, in phase units [B, T]; cosine and sine of the phase told
        [B, T], whose length says how sure it is; state [B, 2]: the mean direction of the offsets so
        far -> offsets [B, T] in -0.5..0.5, the mean directions [B, T, 2].

        The mean moves towards each frame's offset by a share that grows with how sure it is, and
        stays where it is while nothing is told. Written as a sum over the frames of the run, so
        that a graph needs no loop.
        """
        length = torch.sqrt(cosine * cosine + sine * sine + 1e-12)
        share = ((length - LOOSE) * (1 / (TIGHT - LOOSE))).clamp(0, 1) * PULL
        back = free * (2 * math.pi / TURN)
        turn, across = torch.cos(back), torch.sin(back)
        offset = torch.stack([cosine * turn + sine * across, sine * turn - cosine * across], dim=-1)
        offset = offset / length.unsqueeze(-1)
        # what is left of each offset at the end of each frame: products of (1 - share) after it
        kept = torch.log(1 - share).cumsum(1)
        left = torch.exp((kept[:, :, None] - kept[:, None, :]).clamp(max=0))
        frames = torch.arange(share.shape[1], device=share.device)
        left = left * (frames[:, None] >= frames).to(left.dtype)
        mean = (left * share[:, None, :]) @ offset
        mean = mean + torch.exp(kept).unsqueeze(-1) * state[:, None, :]
        return torch.atan2(mean[..., 1], mean[..., 0]) * (0.5 / math.pi), mean

    def first_phases(self, batch: int, generator: torch.Generator, device) -> Tensor:
        """Phases [B, 1] that a stream may begin with, drawn: where a pulse falls is chance too."""
        first = torch.randint(TURN, (batch, 1), generator=generator, device=generator.device)
        return first.to(device)

    def whole(self, element: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Pulses and noise [B, T x frame] for pitch elements [B, T] of streams from their start.

        With a generator, noise and the pulses' first phase are drawn; without, noise is the table
        that the exported graph uses, and the phase begins at 0.
        """
        first = None
        if generator is not None:
            first = self.first_phases(len(element), generator, element.device)
        before, now, phase = self.oscillate(element, first)
        pulses = self.pulses(before.unsqueeze(-1), now.unsqueeze(-1), phase.unsqueeze(-1))
        batch, frames = element.shape
        if generator is None:
            rows = torch.arange(frames, device=element.device) % NOISE_FRAMES
            noise = self.noise[rows].expand(batch, frames, self.frame)
        elif generator.device.type == element.device.type:
            noise = torch.randn(
                batch, frames, self.frame, device=element.device, generator=generator
            )
        else:
            noise = torch.randn(batch, frames, self.frame, device=element.device)
        return pulses.reshape(batch, -1), noise.reshape(batch, -1)

    def step(self, element: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """T frames of a stream: element [1, T], state [1, 3] -> pulses, noise [T, frame], state.

        The state holds the last increment (0: the stream begins), the phase, and the frame's number
        modulo the noise table's length.
        """
        last, phase, count = state[:, 0:1], state[:, 1:2], state[:, 2:3]
        now = self.pitch.increment(element)
        first = torch.where(last > 0, last, now[:, :1])
        before = torch.cat([first, now[:, :-1]], dim=1)
        # of integers: sums of more than sixteen frames are beyond what floats hold exactly
        advance = ((before + now) * (self.frame / 2)).to(torch.int64)
        ends = phase.to(torch.int64) + advance.cumsum(1)
        starts = torch.remainder(ends - advance, TURN).to(now.dtype)
        pulses = self.pulses(before.reshape(-1, 1), now.reshape(-1, 1), starts.reshape(-1, 1))
        number = count[0].long() + torch.arange(element.shape[1], device=element.device)
        noise = F.embedding(torch.remainder(number, NOISE_FRAMES), self.noise)
        phase = torch.remainder(ends[:, -1:], TURN).to(now.dtype)
        count = torch.remainder(number[-1:] + 1, NOISE_FRAMES).to(now.dtype)
        return pulses, noise, torch.cat([now[:, -1:], phase, count.unsqueeze(0)], dim=1)
