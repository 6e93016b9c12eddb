"""Who speaks, told from tokens alone, and from log-mel features: the same network, recordings, split and number of steps.

A speaker is a folder that recordings lie in. The network sums the embeddings of a frame's codes (or maps its log-mel
features), looks at them with two convolutions, and takes the mean and deviation over time.

    python classifier.py --speech FOLDER --minutes 2
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from pathlib import Path

import numpy as np
import recordings
import torch
from torch import Tensor, nn

import parlo

DEPTH = 4
MELS = 64
WIDTH = 96
BATCH = 16
SECONDS = 2.0  # A piece to learn from.


class Speakers(nn.Module):
    """Frames to a guess of the speaker. `front` makes vectors [B, T, WIDTH] of whatever a frame is."""

    def __init__(self, front: nn.Module, speakers: int) -> None:
        super().__init__()
        self.front = front
        self.convolutions = nn.Sequential(
            nn.Conv1d(WIDTH, WIDTH, 5, padding=2), nn.GELU(), nn.BatchNorm1d(WIDTH),
            nn.Conv1d(WIDTH, WIDTH, 5, padding=4, dilation=2), nn.GELU(), nn.BatchNorm1d(WIDTH),
        )  # fmt: skip
        self.last = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * WIDTH, speakers))

    def forward(self, frames: Tensor) -> Tensor:
        hidden = self.convolutions(self.front(frames).transpose(1, 2))
        return self.last(torch.cat([hidden.mean(dim=2), hidden.std(dim=2)], dim=1))


class SumOfEmbeddings(nn.Module):
    """Codes int64 [B, T, K] to vectors [B, T, WIDTH]."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.books = nn.ModuleList(nn.Embedding(size, WIDTH) for _ in range(DEPTH))

    def forward(self, codes: Tensor) -> Tensor:
        return sum(book(codes[:, :, place]) for place, book in enumerate(self.books)) / math.sqrt(DEPTH)


def log_mel(sound: np.ndarray, rate: int, hop: int) -> np.ndarray:
    """Log-mel features float32 [T, MELS], windows of two hops (40 ms), as far as 8 kHz."""
    sound = np.pad(sound, (hop, 2 * hop))
    frames = np.lib.stride_tricks.sliding_window_view(sound, 2 * hop)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(2 * hop), axis=1)) ** 2
    top = 2595 * math.log10(1 + min(8000, rate / 2) / 700)
    edges = 700 * (10 ** (np.linspace(0, top, MELS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(2 * hop, 1 / rate)[:, None]
    rise, fall = (bins - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - bins) / np.diff(edges)[1:]
    return np.log(power @ np.clip(np.minimum(rise, fall), 0, None) + 1e-6).astype(np.float32)


def pieces(rows: list[Tensor], choice: np.ndarray, length: int, random: np.random.Generator) -> Tensor:
    """A random piece of each chosen row, as a batch; shorter rows are repeated."""
    batch = []
    for place in choice:
        row = rows[place]
        if len(row) < length:
            row = row.repeat(-(-length // len(row)), 1)
        begin = int(random.integers(0, len(row) - length + 1))
        batch.append(row[begin : begin + length])
    return torch.stack(batch)


def learn(model: Speakers, rows: list[Tensor], speakers: list[int], length: int, steps: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    # Each speaker as often as any other.
    often = Counter(speakers)
    chance = np.array([1 / often[speaker] for speaker in speakers])
    model.train()
    for _ in range(steps):
        choice = random.choice(len(rows), BATCH, p=chance / chance.sum())
        guess = model(pieces(rows, choice, length, random))
        loss = nn.functional.cross_entropy(guess, torch.tensor([speakers[place] for place in choice]), label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def accuracy(model: Speakers, rows: list[Tensor], speakers: list[int]) -> float:
    """The part of recordings whose speaker is told, each heard whole."""
    model.eval()
    return float(np.mean([int(model(row[None]).argmax()) == speaker for row, speaker in zip(rows, speakers, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True, help="folder of folders of recordings, one a speaker")
    parser.add_argument("--minutes", type=float, default=2, help="how long to train on tokens; on features as many steps")
    parser.add_argument("--hours", type=float, default=2, help="how much of the speech to use, at most")
    parser.add_argument("--least", type=int, default=8, help="recordings that a speaker must have")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path, help="where the figures go, as JSON")
    options = parser.parse_args()

    random = np.random.default_rng(options.seed)
    paths = recordings.find(options.speech, options.hours, random)
    often = Counter(path.parent for path in paths)
    names = sorted(str(folder) for folder, count in often.items() if count >= options.least)
    paths = [path for path in paths if str(path.parent) in names]
    if len(names) < 2:
        parser.error(f"there are {len(names)} speakers with {options.least} recordings: two at least are needed")
    speakers = [names.index(str(path.parent)) for path in paths]

    codec = parlo.Codec()
    codes = [torch.from_numpy(one.T.copy()) for one in recordings.encode(paths, codec, DEPTH)]
    features = []
    for path in paths:
        sound, rate = recordings.read(path)
        features.append(torch.from_numpy(log_mel(sound, rate, round(rate / codec.frame_rate))))

    # Every fourth recording of each speaker is for the test.
    seen: Counter[int] = Counter()
    test = []
    for place, speaker in enumerate(speakers):
        if seen[speaker] % 4 == 3:
            test.append(place)
        seen[speaker] += 1
    train = [place for place in range(len(paths)) if place not in set(test)]
    every = torch.cat([features[place] for place in train])
    mean, deviation = every.mean(dim=0), every.std(dim=0) + 1e-3
    features = [(row - mean) / deviation for row in features]

    report: dict[str, float] = {"speakers": len(names), "train": len(train), "test": len(test), "by_chance": 1 / len(names)}
    length, steps = round(SECONDS * codec.frame_rate), 0
    fronts = {
        "tokens": (lambda: SumOfEmbeddings(codec.codebook_size), codes),
        "log_mel": (lambda: nn.Linear(MELS, WIDTH), features),
    }
    for name, (front, rows) in fronts.items():
        torch.manual_seed(options.seed)
        model = Speakers(front(), len(names))
        if not steps:
            # How many steps the time is for; then all over again, so that both begin alike.
            begun = time.monotonic()
            learn(model, [rows[place] for place in train], [speakers[place] for place in train], length, 20, options.seed)
            steps = max(20, round(20 * 60 * options.minutes / (time.monotonic() - begun)))
            torch.manual_seed(options.seed)
            model = Speakers(front(), len(names))
        learn(model, [rows[place] for place in train], [speakers[place] for place in train], length, steps, options.seed)
        report[f"{name}_accuracy"] = accuracy(model, [rows[place] for place in test], [speakers[place] for place in test])
        report[f"{name}_weights"] = sum(weight.numel() for weight in model.parameters())
    report["steps"] = steps
    text = json.dumps(report, indent=2)
    print(text)
    if options.report:
        options.report.write_text(text + "\n")


if __name__ == "__main__":
    main()
