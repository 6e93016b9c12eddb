"""What several tests use: configurations, caches, options, signals."""

from __future__ import annotations

import argparse
import json
import shutil
import tomllib
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
CLIP = ROOT / "assets/speech.flac"
CONFIGS = ROOT / "model/training/configs"
BUNDLES = sorted(path.parent for path in ROOT.glob("model/bundles/*/manifest.toml"))


def first_format(bundle: Path, folder: Path) -> Path:
    """A bundle of format 1 with the graphs and tokens of one of either format."""
    shutil.copytree(bundle, folder)
    stated = tomllib.loads((folder / "manifest.toml").read_text())
    if stated["format"] == 1:
        return folder
    kept, section = [], ""
    for line in (folder / "manifest.toml").read_text().splitlines():
        section = line if line.startswith("[") else section
        own = section in ("[encoder]", "[decoder]") and line.startswith(("sha256", "delay_samples"))
        if section != "[tokens]" and not own and not line.startswith('"served-'):
            kept.append(line.replace("format = 2", "format = 1"))
        if line == "[audio]":
            delay = stated["encoder"]["delay_samples"] + stated["decoder"]["delay_samples"]
            kept.append(f"delay_samples = {delay}")
    (folder / "manifest.toml").write_text("\n".join(kept) + "\n")
    return folder


def setting(name: str, *changes: str):
    """The Config of configs/NAME.toml, with changes such as "training.batch=4"."""
    from parlo_training.config import Config
    from parlo_training.train import override

    return override(Config.load(CONFIGS / f"{name}.toml"), list(changes))


def options(module, *words: object) -> argparse.Namespace:
    """A command's options as its parser reads them."""
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def write_cache(folder: Path, clips: list[tuple[str, np.ndarray, float]], rate: int) -> Path:
    """A cache as `prepare` makes it, of (speaker, float32 audio [samples], constant pitch in Hz).

    Audio must be whole 10 ms. Every frame counts as speech.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole = [np.round(audio * 32767).astype(np.int16) for _, audio, _ in clips]
    steps = [len(audio) * 100 // rate for audio in whole]
    assert all(len(audio) == step * rate // 100 for audio, step in zip(whole, steps))
    pitch = [np.full(2 * step, hertz, np.float16) for step, (_, _, hertz) in zip(steps, clips)]
    np.concatenate(whole).tofile(folder / "audio.i16")
    np.concatenate(pitch).tofile(folder / "pitch.f16")
    # pulses where pulse_train has them: cycles from the clip's first sample on
    pulse = [np.arange(2 * step) * hertz / 200 % 1 for step, (_, _, hertz) in zip(steps, clips)]
    (np.concatenate(pulse) * 65536).astype(np.uint16).tofile(folder / "pulse.u16")
    np.ones(sum(steps), np.uint8).tofile(folder / "active.u8")
    starts = np.cumsum([0, *map(len, whole)])
    listed = [{"path": f"{number}.wav", "speaker": speaker, "start": int(start),
               "samples": len(audio), "sharper": 1.0}
              for number, ((speaker, _, _), audio, start) in enumerate(zip(clips, whole, starts))]
    index = {"format": 2, "rate": rate, "samples": int(starts[-1]), "clips": listed, "left_out": 0}
    (folder / "index.json").write_text(json.dumps(index))
    return folder


def pulse_train(hertz: float, seconds: float, rate: int) -> np.ndarray:
    """Vowel-like float32 [samples], 0.3 at its peak: all harmonics up to 5 kHz, which fall by 6 dB
    an octave from 500 Hz on."""
    turns = np.arange(round(seconds * rate)) * hertz / rate
    numbers = np.arange(1, int(5000 / hertz) + 1)
    sound = sum(np.cos(2 * np.pi * k * turns) / max(1, k * hertz / 500) for k in numbers)
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def scores(codec: str, kbps: str, **metrics: list) -> list[dict[str, str]]:
    """Rows of a codec as the bench writes them: one a clip, as many as each metric has values."""
    count = len(next(iter(metrics.values())))
    return [
        {"codec": codec, "stem": f"clip-{clip}", "speaker": "a", "kbps": kbps, "seconds": "2",
         "lag_ms": "0", **{name: str(found[clip]) for name, found in metrics.items()}}
        for clip in range(count)
    ]
