"""A language model of speech in one file: learns to tell the next token, speaks what it learned.

A transformer of 3 million weights reads tokens in the delay pattern: at each step one code of every book, row k being k frames
behind. It trains for some minutes on the processor, is measured on recordings that it has not seen, and samples: once from
nothing, once going on from a second of such a recording.

    python language_model.py --speech FOLDER --minutes 5 --out FOLDER
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import recordings
import soundfile
import torch
from torch import Tensor, nn

import parlo
from parlo import patterns

DEPTH = 4  # Codes of a frame: 2 kbps.
CONTEXT = 128  # Steps that the model sees: 2.6 s.
WIDTH, LAYERS, HEADS = 192, 3, 4
BATCH = 4


class SpeechModel(nn.Module):
    """Next codes of each book, from those before. `size` is the entries of a book; its number `size` is padding."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(size + 1, WIDTH) for _ in range(DEPTH))
        self.places = nn.Parameter(torch.randn(CONTEXT, WIDTH) * 0.02)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.heads = nn.ModuleList(nn.Linear(WIDTH, size) for _ in range(DEPTH))
        for embedding in self.embeddings:
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, steps: Tensor) -> Tensor:
        """Steps int64 [B, K, S] to what may follow each: logits [B, K, S, size]."""
        length = steps.shape[2]
        hidden = sum(embedding(steps[:, book]) for book, embedding in enumerate(self.embeddings)) + self.places[:length]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        hidden = self.layers(hidden, mask=mask, is_causal=True)
        return torch.stack([head(hidden) for head in self.heads], dim=1)


def windows(rows: list[Tensor], pad: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A batch of pieces of patterns: what is seen and what follows, int64 [BATCH, K, CONTEXT]; -100 where nothing does."""
    lengths = np.array([row.shape[1] for row in rows])
    seen = torch.full((BATCH, DEPTH, CONTEXT), pad)
    following = torch.full((BATCH, DEPTH, CONTEXT), -100)
    for place, choice in enumerate(random.choice(len(rows), BATCH, p=lengths / lengths.sum())):
        row = rows[choice]
        # A step of padding before the first: there the model begins when it samples.
        row = torch.cat([torch.full((DEPTH, 1), pad), row], dim=1)
        begin = int(random.integers(0, max(1, row.shape[1] - CONTEXT)))
        piece = row[:, begin : begin + CONTEXT + 1]
        length = piece.shape[1] - 1
        seen[place, :, :length] = piece[:, :-1]
        following[place, :, :length] = piece[:, 1:].masked_fill(piece[:, 1:] == pad, -100)
    return seen, following


def bits(logits: Tensor, following: Tensor) -> Tensor:
    """Bits a code takes by the model's guess, on average, for each book: [K]."""
    rows = [nn.functional.cross_entropy(logits[:, book].flatten(0, 1), following[:, book].flatten()) for book in range(DEPTH)]
    return torch.stack(rows) / math.log(2)


def train(model: SpeechModel, rows: list[Tensor], pad: int, minutes: float, random: np.random.Generator) -> int:
    """Trains for so long; the rate of learning falls to nothing by then. Returns the steps made."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05, betas=(0.9, 0.95))
    begun, made = time.monotonic(), 0
    model.train()
    while (spent := (time.monotonic() - begun) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, (made + 1) / 50) * 0.5 * (1 + math.cos(math.pi * spent))
        seen, following = windows(rows, pad, random)
        loss = bits(model(seen), following)
        optimizer.zero_grad()
        loss.mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        made += 1
        if made % 50 == 0:
            told = ", ".join(f"{book:.2f}" for book in loss.tolist())
            print(f"{60 * minutes * spent:5.0f} s, step {made}: {told} bits a code", flush=True)
    return made


@torch.no_grad()
def measure(model: SpeechModel, rows: list[Tensor], pad: int) -> list[float]:
    """Bits a code of each book in recordings that were not learned from."""
    random = np.random.default_rng(0)
    model.eval()
    found = []
    for _ in range(12):
        seen, following = windows(rows, pad, random)
        found.append(bits(model(seen), following))
    return torch.stack(found).mean(dim=0).tolist()


def without_context(learned: list[Tensor], unseen: list[Tensor], size: int) -> list[float]:
    """Bits a code takes by how common it is alone, for each book: what a model must be better than."""
    found = []
    for book in range(DEPTH):
        counts = torch.bincount(torch.cat([row[book] for row in learned]), minlength=size) + 1.0
        chance = counts / counts.sum()
        found.append(float(-chance[torch.cat([row[book] for row in unseen])].log2().mean()))
    return found


@torch.no_grad()
def sample(
    model: SpeechModel, frames: int, pad: int, generator: torch.Generator, prompt: Tensor | None = None
) -> np.ndarray:
    """Codes int64 [K, frames], that go on from a prompt's, [K, T], or begin anew."""
    model.eval()
    told = 0 if prompt is None else prompt.shape[1]
    known = torch.full((DEPTH, 0), pad) if prompt is None else patterns.delay(prompt, pad)
    steps = torch.cat([torch.full((DEPTH, 1), pad), known[:, :told]], dim=1)
    for step in range(told, frames + DEPTH - 1):
        logits = model(steps[None, :, -CONTEXT:])[0, :, -1] / 0.9
        best = logits.topk(100).values[:, -1:]
        column = torch.multinomial(logits.masked_fill(logits < best, -math.inf).softmax(-1), 1, generator=generator)
        for book in range(DEPTH):
            if not book <= step < frames + book:
                column[book] = pad
            elif step < told + book:  # The finer codes of the prompt's last frames.
                column[book] = known[book, step]
        steps = torch.cat([steps, column], dim=1)
    return patterns.undelay(steps[:, 1:], pad).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True, help="folder of recordings or token files")
    parser.add_argument("--minutes", type=float, default=5, help="how long to train")
    parser.add_argument("--hours", type=float, default=1, help="how much of the speech to learn from, at most")
    parser.add_argument("--seconds", type=float, default=6, help="how much to sample")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("spoken"), help="where WAV files and report.json go")
    options = parser.parse_args()

    random = np.random.default_rng(options.seed)
    torch.manual_seed(options.seed)
    codec = parlo.Codec()
    pad = size = codec.codebook_size
    paths = recordings.find(options.speech, options.hours, random)
    codes = [torch.from_numpy(one) for one in recordings.encode(paths, codec, DEPTH)]
    # One recording in twenty is kept back; of a single one, its end.
    kept = max(1, len(codes) // 20)
    if len(codes) == 1:
        cut = codes[0].shape[1] * 3 // 4
        codes = [codes[0][:, cut:], codes[0][:, :cut]]
    unseen, learned = codes[:kept], codes[kept:]

    model = SpeechModel(size)
    weights = sum(weight.numel() for weight in model.parameters())
    print(f"{weights / 1e6:.1f} million weights, {sum(row.shape[1] for row in learned) * DEPTH} codes to learn from")
    begun = time.process_time()
    steps = train(model, [patterns.delay(row, pad) for row in learned], pad, options.minutes, random)
    spent = time.process_time() - begun
    report = {
        "recordings": len(learned),
        "minutes_of_speech": sum(row.shape[1] for row in learned) / codec.frame_rate / 60,
        "weights": weights,
        "steps": steps,
        "processor_minutes": spent / 60,
        "bits_without_context": without_context(learned, unseen, size),
        "bits": measure(model, [patterns.delay(row, pad) for row in unseen], pad),
    }
    print(json.dumps(report, indent=2))

    options.out.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(options.seed)
    frames = round(options.seconds * codec.frame_rate)
    prompt = max(unseen, key=lambda row: row.shape[1])[:, : min(frames // 2, round(codec.frame_rate))]
    for name, start in (("anew", None), ("continued", prompt)):
        spoken = sample(model, frames, pad, generator, start)
        parlo.write(options.out / f"{name}.ptk", spoken, codec)
        soundfile.write(options.out / f"{name}.wav", codec.decode(spoken)[0, 0], codec.sampling_rate)
    (options.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
