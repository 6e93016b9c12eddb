"""Runs of token frames, and which of them a coder knows when it codes another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .errors import UserError

# How often each context of the coder is practised, and each depth.
CONTEXTS = {"file": 0.4, "call": 0.4, "one-way": 0.2}
DEPTHS = {6: 0.45, 12: 0.4, 3: 0.15}
# Share of the deepest crops that are cut to any depth: a caller may ask for each.
CUT = 0.25
FRAMES_PER_PACKET = (1, 2, 3, 3, 3, 4, 6, 12)
# Frames between the newest that is acknowledged and a packet: a round trip, and what waits.
GAP = (2, 40)
LOSSES = (0.0, 0.0, 0.05, 0.2)


def known(context: str, time: int, random: np.random.Generator | None = None) -> np.ndarray:
    """Whether frame s is known when frame t is coded: bool [time, time] as [t, s].

    file: all before. one-way: those before in the same packet. call: those, and the packets that
    had been acknowledged. Without `random`: packets of three frames, acknowledged 100 ms after they
    went out, none lost.
    """
    at = np.arange(time)
    earlier = at[None] < at[:, None]
    if context == "file":
        return earlier
    size = 3 if random is None else int(random.choice(FRAMES_PER_PACKET))
    phase = 0 if random is None else int(random.integers(size))
    packet = (at + phase) // size
    same = (packet[None] == packet[:, None]) & earlier
    if context == "one-way":
        return same
    first = packet * size - phase
    last = first + size - 1
    if random is None:
        # a packet goes out when its last frame is there; 100 ms are five frames
        return same | (last[None] + 5 <= last[:, None])
    gap = int(random.integers(*GAP))
    arrived = random.random(packet[-1] + 1) >= random.choice(LOSSES)
    return same | ((last[None] + gap < first[:, None]) & arrived[packet][None])


@dataclass
class Run:
    """Frames in a row of one voice: codes [frames, depth] at each depth."""

    voice: str
    codes: dict[int, np.ndarray]


def load(folder: Path, copies: int | None = None) -> list[Run]:
    """All runs of a token cache. Raises UserError if there are none."""
    paths = sorted(folder.glob("tokens-*.npz"))[:copies]
    if not paths:
        raise UserError(f"{folder} holds no tokens: run `tokens` with `--out {folder}` first")
    runs = []
    for path in paths:
        with np.load(path) as arrays:
            depths = [int(name[5:]) for name in arrays.files if name.startswith("codes")]
            whole = {depth: arrays[f"codes{depth}"] for depth in depths}
            ends = np.cumsum(arrays["lengths"])
            for voice, start, end in zip(arrays["voices"], ends - arrays["lengths"], ends):
                codes = {depth: rows[start:end] for depth, rows in whole.items()}
                runs.append(Run(str(voice), codes))
    return runs


def split(runs: list[Run], share: float, seed: int) -> tuple[list[Run], list[Run]]:
    """(to learn from, to check by): some voices are kept apart, the same for the same seed."""
    voices = sorted({run.voice for run in runs})
    kept = np.random.default_rng(seed).random(len(voices)) < share
    apart = {voice for voice, keep in zip(voices, kept) if keep}
    return (
        [run for run in runs if run.voice not in apart],
        [run for run in runs if run.voice in apart],
    )


class Batches:
    """Crops of runs, by chance."""

    def __init__(self, runs: list[Run], batch: int, time: int, seed: int):
        self.runs, self.batch, self.time = runs, batch, time
        self.random = np.random.default_rng(seed)
        lengths = np.array([len(next(iter(run.codes.values()))) for run in runs], float)
        voices: dict[str, float] = {}
        for run, length in zip(runs, lengths):
            voices[run.voice] = voices.get(run.voice, 0) + length
        # a voice with an hour must not drown those with a minute
        share = np.array([n / voices[run.voice] ** 0.3 for run, n in zip(runs, lengths)])
        self.share = share / share.sum()

    def _crop(self, depth: int) -> np.ndarray:
        """Codes [time, depth]; of several runs in a row where one is too short."""
        parts, missing = [], self.time
        while missing > 0:
            run = self.runs[int(self.random.choice(len(self.runs), p=self.share))]
            codes = run.codes[depth]
            start = int(self.random.integers(0, max(1, len(codes) - missing + 1)))
            parts.append(codes[start : start + missing])
            missing -= len(parts[-1])
        return np.concatenate(parts)

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Codes [B, T, deepest], depths [B], who knows what [B, 1, T, T]."""
        depths = self.random.choice(list(DEPTHS), self.batch, p=list(DEPTHS.values()))
        codes = np.zeros((self.batch, self.time, max(DEPTHS)), np.int64)
        deepest = max(DEPTHS)
        for at, depth in enumerate(depths):
            crop = self._crop(int(depth))
            if depth == deepest and self.random.random() < CUT:
                depths[at] = depth = int(self.random.integers(1, deepest + 1))
            codes[at, :, :depth] = crop[:, :depth]
        names, shares = list(CONTEXTS), list(CONTEXTS.values())
        contexts = self.random.choice(names, self.batch, p=shares)
        may = np.stack([known(str(name), self.time, self.random) for name in contexts])
        return torch.from_numpy(codes), torch.from_numpy(depths), torch.from_numpy(may)[:, None]
