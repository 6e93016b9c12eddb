"""Training crops from a prepared cache, drawn on the device that trains."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .augment import Augment, pitch_shift
from .config import Config
from .errors import UserError
from .prepare import ACTIVE_STEP, FORMAT, PITCH_STEP


@dataclass
class Batch:
    """Crops ready for a step, all on the training device."""

    input: Tensor  # [B, samples]
    target: Tensor  # [B, samples]
    pitch: Tensor  # [B, T] Hz at the middle of each frame, signed as in the cache
    pitch_known: Tensor  # [B] bool
    tones: Tensor  # [B] bool: tones instead of speech
    # [B, 4 T + 1] unwrapped cycles of the glottal pulses, a quarter of a frame apart, from the
    # input's sample -hop on: what the decoder's pulses may follow
    track: Tensor


class Corpus:
    """The cache, whole, on one device."""

    def __init__(self, cache: Path, config: Config, device: torch.device):
        try:
            index = json.loads((cache / "index.json").read_text())
        except OSError as error:
            raise UserError(f"{cache} is not a finished cache: run `prepare` with "
                            f"`--cache {cache}` first") from error
        except ValueError as error:
            raise UserError(f"{cache}/index.json is damaged: prepare the cache again") from error
        if index.get("format") != FORMAT:
            raise UserError(f"{cache} was prepared by another version of this program (format "
                            f"{index.get('format')}, not {FORMAT}): prepare it again")
        if index.get("rate") != config.audio.rate:
            raise UserError(f"{cache} was prepared for {index.get('rate')} samples a second, and "
                            f"the configuration says {config.audio.rate}: prepare it again")
        self.config, self.device = config, device
        self.clips = index["clips"]
        self.rate = config.audio.rate

        def load(name: str, kind) -> Tensor:
            try:
                values = np.memmap(cache / name, dtype=kind, mode="c")
            except (OSError, ValueError) as error:
                raise UserError(f"cannot read {cache / name}: prepare the cache again") from error
            tensor = torch.from_numpy(values)
            return tensor if device.type == "cpu" else tensor.to(device)

        self.audio = load("audio.i16", np.int16)
        if len(self.audio) != index["samples"]:
            raise UserError(f"{cache}/audio.i16 is not as long as index.json says: prepare it "
                            "again")
        self.pitch = load("pitch.f16", np.float16)
        self.pulse = load("pulse.u16", np.uint16)
        try:
            active = np.fromfile(cache / "active.u8", np.uint8)
        except OSError as error:
            raise UserError(f"{cache}/active.u8 is missing: prepare it again") from error
        seconds = index["samples"] / self.rate
        steps = seconds * PITCH_STEP
        if len(self.pitch) != steps or len(self.pulse) != steps or len(active) != seconds * ACTIVE_STEP:
            raise UserError(f"{cache}: its labels are not as long as its audio: prepare it "
                            "again")
        self.active = np.concatenate([[0], np.cumsum(active, dtype=np.int64)])
        noise = rooms = None
        if (cache / "noise.i16").exists():
            noise = load("noise.i16", np.int16).float() / 32768
        if (cache / "rooms.npy").exists():
            try:
                rooms = torch.from_numpy(np.load(cache / "rooms.npy")).to(device)
            except (ValueError, EOFError, TypeError) as error:
                raise UserError(f"{cache}/rooms.npy is damaged: prepare it again") from error
        self.augment = Augment(config.augment, self.rate, noise, rooms)
        self.start = np.array([clip["start"] for clip in self.clips])
        self.length = np.array([clip["samples"] for clip in self.clips])
        self.signs = self._signs()
        self.shares = self._shares()

    @property
    def hours(self) -> float:
        """Hours of speech."""
        return float(self.length.sum()) / self.rate / 3600

    @property
    def speakers(self) -> int:
        """How many folders the speech came from."""
        return len({clip["speaker"] for clip in self.clips})

    def _signs(self) -> np.ndarray:
        """1 or -1 for each clip: what turns its speaker's glottal pulses all speakers' way. One
        voice may be recorded either way up; the decoder's pulses have one."""
        total: dict[str, float] = {}
        for clip in self.clips:
            total[clip["speaker"]] = total.get(clip["speaker"], 0.0) + clip["sharper"]
        return np.array([1.0 if total[c["speaker"]] >= 0 else -1.0 for c in self.clips], np.float32)

    def _shares(self) -> np.ndarray:
        """Where each clip ends in 0..1 when one is drawn: by length, with the square root of its
        speaker's total, so that a voice with an hour does not drown those with a minute."""
        total: dict[str, float] = {}
        for clip in self.clips:
            total[clip["speaker"]] = total.get(clip["speaker"], 0) + clip["samples"]
        share = np.array([c["samples"] / total[c["speaker"]] ** 0.5 for c in self.clips])
        return np.cumsum(share / share.sum())[:-1]  # the last one takes what is left

    def _place(self, samples: int, random: np.random.Generator) -> tuple[int, int]:
        """A clip and a start in it, of a crop that is speech for the most part."""
        for _ in range(6):
            clip = int(np.searchsorted(self.shares, random.random(), side="right"))
            spare = max(0, self.length[clip] - samples)
            start = self.start[clip] + int(random.integers(0, spare + 1))
            first = start * ACTIVE_STEP // self.rate
            last = min(start + samples, self.start[clip] + self.length[clip])
            count = self.active[last * ACTIVE_STEP // self.rate] - self.active[first]
            if count >= 0.6 * min(samples, self.length[clip]) * ACTIVE_STEP / self.rate:
                break
        return clip, start

    def draw(self, generator: torch.Generator) -> Batch:
        """A batch, decided by the (CPU) generator's state alone."""
        training, audio = self.config.training, self.config.audio
        seed = int(torch.randint(2**62, (), generator=generator))
        random = np.random.default_rng(seed)
        time = round(training.seconds * 50)
        out = time * audio.frame
        # another speed, and with it pitch and formants: the corpus holds few voices
        speed = float(random.choice(training.speeds))
        samples = round(out * speed / audio.frame) * audio.frame
        speed = samples / out
        places = [self._place(samples, random) for _ in range(training.batch)]
        # few small copies to the device, each of which waits for it; all else is made there
        start = torch.tensor([place[1] for place in places], device=self.device)
        end = [self.start[clip] + self.length[clip] for clip, _ in places]
        end = torch.tensor(np.array(end), device=self.device)
        index = start[:, None] + torch.arange(samples, device=self.device)
        inside = index < end[:, None]
        index = index.clamp(max=len(self.audio) - 1)
        signs = torch.from_numpy(self.signs[[place[0] for place in places]]).to(self.device)
        speech = self.audio[index].float() * (signs[:, None] / 32768) * inside
        if samples != out:
            speech = pitch_shift(speech, out)
        # doubles: floats tell samples apart for the first quarter of an hour only
        frames = torch.arange(time, dtype=torch.float64, device=self.device)
        middle = (frames * audio.frame + audio.hop) * speed
        at = start[:, None] + middle
        known = at < end[:, None]
        at = (at * PITCH_STEP / self.rate).round().long()
        at = at.minimum(end[:, None] * PITCH_STEP // self.rate - 1)  # not the next clip's first
        pitch = self.pitch[at].float() * speed * known
        made = self.augment(speech, generator)
        known = made.pitch_known.to(self.device)
        track = self._track(start, time, speed)
        return Batch(made.input, made.target, pitch, known, made.tones, track)

    def _track(self, start: Tensor, time: int, speed: float) -> Tensor:
        """The pulses' unwrapped cycles [B, 4 x time + 1] of crops from these samples on."""
        hop = self.config.audio.hop
        step = self.rate // PITCH_STEP
        last = len(self.pulse) - 1
        # the cache's steps around the crop, and its cycles along them
        first = (start - round(hop * speed)) // step
        count = math.ceil((4 * time + 2) * speed) + 3
        at = (first[:, None] + torch.arange(count, device=self.device)).clamp(0, last)
        pitch = self.pitch[at].float().abs().clamp(min=50.0)
        phase = self.pulse[at].to(torch.int64).float() / 65536
        rise = (pitch[:, 1:] + pitch[:, :-1]) / (2 * PITCH_STEP)
        off = phase[:, 1:] - phase[:, :-1] - rise
        rise = rise + off - torch.round(off)
        cycles = torch.cat([phase[:, :1], phase[:, :1] + rise.cumsum(1)], dim=1)
        # where a quarter of a frame of the crop lies on them
        quarter = torch.arange(4 * time + 1, dtype=torch.float64, device=self.device)
        place = start[:, None] + (quarter * (hop // 2) - hop) * speed - first[:, None] * step
        place = (place / step).clamp(0, count - 1.001)
        before = place.long()
        share = (place - before).float()
        low, high = cycles.gather(1, before), cycles.gather(1, before + 1)
        return low + share * (high - low)
