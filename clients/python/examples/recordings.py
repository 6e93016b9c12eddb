"""A folder of speech, or of token files, as tokens: what both examples begin with."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import soundfile

import parlo

SOUND = (".wav", ".flac", ".ogg", ".opus", ".mp3")
TOKENS = ".ptk"


def find(speech: Path, hours: float, random: np.random.Generator) -> list[Path]:
    """Recordings of at most so many hours in all, in random order."""
    paths = sorted(path for path in speech.rglob("*") if path.suffix.lower() in (*SOUND, TOKENS))
    if not paths:
        sys.exit(f"{speech} holds no recordings ({', '.join((*SOUND, TOKENS))})")
    chosen, seconds = [], 0.0
    for place in random.permutation(len(paths)):
        path = paths[place]
        seconds += parlo.open(path).duration if path.suffix == TOKENS else soundfile.info(path).duration
        if chosen and seconds > 3600 * hours:
            break
        chosen.append(path)
    return chosen


def read(path: Path) -> tuple[np.ndarray, int]:
    """Sound, float32 [N], channels mixed, and its rate."""
    sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return sound.mean(axis=1), rate


def encode(paths: list[Path], codec: parlo.Codec, depth: int) -> list[np.ndarray]:
    """Codes, int64 [K, T], of each recording; token files must be of this codec, at least as deep and whole."""
    begun, codes = time.monotonic(), []
    for path in paths:
        if path.suffix == TOKENS:
            codes.append(parlo.open(path, codec)["audio"][:].codes[:depth])
        else:
            codes.append(codec.encode(*read(path), depth)[0])
    seconds, spent = sum(one.shape[1] for one in codes) / codec.frame_rate, time.monotonic() - begun
    print(f"{len(paths)} recordings, {seconds / 60:.1f} minutes, {seconds / spent:.0f} x real time", flush=True)
    return codes
