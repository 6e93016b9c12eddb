"""Token frames of a prepared cache: what the entropy model learns from."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .augment import Augment, AugmentConfig, pitch_shift
from .bundle import BundleCodec
from .checkpoint import Checkpoint
from .codec import Codec
from .data import Corpus
from .errors import UserError

FORMAT = 1
# The depths whose codes are kept. A search that ends at a depth chooses other codes than the first
# ones of a deeper search.
DEPTHS = (3, 6, 12)
SPEEDS = (0.88, 0.94, 1.0, 1.0, 1.06, 1.12)
# Milder than for the codec: most of what is coded is one voice, near and clean.
AUGMENT = AugmentConfig(
    equalise=0.3, band_limit=0.05, room=0.08, noise=0.12, noise_snr_db=(10.0, 35.0), clip=0.01
)
SECONDS = 10.24


@torch.no_grad()
def search(latents: Tensor, books: Tensor, beam: int, depths: tuple[int, ...]) -> dict[int, Tensor]:
    """Codes {depth: [N, depth]} of latents [N, D] with books [K, entries, D].

    The beam search of the programs, batched; sums run in another order, so that near ties may
    fall otherwise.
    """
    count, entries = len(latents), books.shape[1]
    row = torch.arange(count)[:, None]
    left = latents.float()[:, None]
    error = 0.5 * left.square().sum(2)
    codes = torch.zeros(count, 1, 0, dtype=torch.long)
    found = {}
    for stage in range(max(depths)):
        book = books[stage]
        steps = 0.5 * book.square().sum(1) - left @ book.t() + error[:, :, None]
        least, place = steps.flatten(1).topk(beam, largest=False)
        parent, code = place // entries, place % entries
        left = left[row, parent] - book[code]
        error = 0.5 * left.square().sum(2)
        codes = torch.cat([codes[row, parent], code[:, :, None]], dim=2)
        if stage + 1 in depths:
            found[stage + 1] = codes[:, 0]
    return found


def streams(corpus: Corpus, random: np.random.Generator) -> list[tuple[str, list[int]]]:
    """Every voice's clips in random order, as lists of about `SECONDS` each: (voice, clips)."""
    voices: dict[str, list[int]] = {}
    for clip, about in enumerate(corpus.clips):
        voices.setdefault(about["speaker"], []).append(clip)
    made = []
    for voice, clips in voices.items():
        random.shuffle(clips)
        part: list[int] = []
        length = 0.0
        for clip in clips:
            part.append(clip)
            length += corpus.length[clip] / corpus.rate
            if length >= SECONDS:
                made.append((voice, part))
                part, length = [], 0.0
        if part:
            made.append((voice, part))
    return made


def segments(
    corpus: Corpus, copy: int, seed: int
) -> list[tuple[str, float, np.ndarray]]:
    """(voice, speed, places of samples) of up to `SECONDS` each, all of the cache once."""
    random = np.random.default_rng([seed, copy])
    made = []
    for voice, clips in streams(corpus, random):
        speed = float(random.choice(SPEEDS))
        places = np.concatenate(
            [np.arange(corpus.start[c], corpus.start[c] + corpus.length[c]) for c in clips]
        )
        step = round(SECONDS * speed * corpus.rate)
        # the last one reaches back rather than being short
        for at in range(0, max(1, len(places) - step // 4), step):
            part = places[at : at + step]
            if len(part) < step and len(places) >= step:
                part = places[-step:]
            made.append((voice, speed, part))
    return made


def books_hash(bundle: BundleCodec) -> str:
    """Which codebooks a bundle has: the SHA-256 of their file."""
    manifest = bundle.manifest
    return manifest["files"][manifest["quantizer"]["file"]]["sha256"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tokens`."""
    parser.add_argument("--cache", type=Path, required=True, help="the prepared cache of speech")
    parser.add_argument("--checkpoint", type=Path, required=True, help="whose encoder hears it")
    parser.add_argument("--bundle", type=Path, required=True, help="whose codebooks code it")
    parser.add_argument("--out", type=Path, required=True, help="folder of the token cache")
    parser.add_argument("--copies", type=int, default=4, help="passes over the cache, each augmented anew")
    parser.add_argument("--beam", type=int, default=4, help="candidates of the search for codes")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as PyTorch chooses")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn")


@torch.no_grad()
def run(args: argparse.Namespace) -> int:
    """Writes `DIR/tokens-<copy>.npz`, one for each pass."""
    if args.threads:
        torch.set_num_threads(args.threads)
    checkpoint = Checkpoint.load(args.checkpoint)
    codec = Codec(checkpoint.config)
    codec.load_state_dict(checkpoint.average)
    codec.eval()
    bundle = BundleCodec(args.bundle)
    if len(set(bundle.sizes)) != 1 or max(DEPTHS) > bundle.max_depth:
        raise UserError(f"{args.bundle}: this needs {max(DEPTHS)} codebooks of one size")
    books = torch.from_numpy(np.stack(bundle.books))
    corpus = Corpus(args.cache, checkpoint.config, torch.device("cpu"))
    augment = Augment(AUGMENT, corpus.rate, corpus.augment.noise, corpus.augment.rooms)
    frame = checkpoint.config.audio.frame
    args.out.mkdir(parents=True, exist_ok=True)
    for copy in range(args.copies):
        path = args.out / f"tokens-{copy}.npz"
        if path.exists():
            continue
        begun = time.monotonic()
        # the first copy is as recorded but for its speed
        made = segments(corpus, copy, args.seed)
        made.sort(key=lambda part: (part[1], len(part[2])))
        generator = torch.Generator().manual_seed(args.seed * 1000 + copy)
        codes: dict[int, list[np.ndarray]] = {depth: [] for depth in DEPTHS}
        voices, lengths = [], []
        at = 0
        while at < len(made):
            group = [p for p in made[at : at + 16] if p[1] == made[at][1]]
            at += len(group)
            speed = group[0][1]
            longest = max(len(places) for _, _, places in group)
            speech = torch.zeros(len(group), longest)
            for row, (_, _, places) in zip(speech, group):
                row[: len(places)] = corpus.audio[torch.from_numpy(places)].float() / 32768
            out = -(-round(longest / speed) // frame) * frame
            if speed != 1.0 or out != longest:
                resampled = pitch_shift(speech, round(longest / speed)) if speed != 1.0 else speech
                speech = torch.nn.functional.pad(resampled, (0, out - resampled.shape[1]))
            heard = augment(speech, generator).input
            latents, *_ = codec.encoder(heard)
            flat = latents.float().reshape(-1, latents.shape[-1])
            found = [search(part, books, args.beam, DEPTHS) for part in flat.split(1024)]
            for depth in DEPTHS:
                whole = torch.cat([f[depth] for f in found]).reshape(len(group), -1, depth)
                for row, (_, _, places) in zip(whole, group):
                    frames = min(len(row), round(len(places) / speed) // frame)
                    codes[depth].append(row[:frames].numpy().astype(np.uint16))
            for voice, _, places in group:
                voices.append(voice)
                lengths.append(min(whole.shape[1], round(len(places) / speed) // frame))
        order = np.random.default_rng(copy).permutation(len(lengths))
        arrays = {f"codes{depth}": np.concatenate([codes[depth][i] for i in order]) for depth in DEPTHS}
        np.savez(path, lengths=np.array(lengths)[order], voices=np.array(voices)[order], **arrays)
        seconds = time.monotonic() - begun
        print(f"{path}: {len(lengths)} parts, {sum(lengths)} frames, {seconds:.0f} s", flush=True)
    (args.out / "index.json").write_text(
        json.dumps({"format": FORMAT, "codebooks": books_hash(bundle), "depths": DEPTHS})
    )
    return 0
