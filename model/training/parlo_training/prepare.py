"""From folders of audio to a cache that training maps into memory.

A cache is a folder: `audio.i16` (all clips end to end, 16 bits, mono, at the model's rate),
`pitch.f16` (Hz every 5 ms; see `PITCH_STEP`), `pulse.u16` (the phase of the glottal pulses every
5 ms, in 65536ths of a cycle), `active.u8` (speech or pause every 10 ms), `noise.i16`, `rooms.npy`, and `index.json`, written last: a folder without it is unfinished.
"""

from __future__ import annotations

import argparse
import concurrent.futures.process
import errno
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from tqdm import tqdm

from .errors import UserError
from .pitch import track as find_pitch
from .pulses import track as track_pulses

SOUNDS = {".wav", ".flac", ".ogg", ".opus", ".oga", ".mp3", ".aiff", ".aif", ".au", ".w64", ".caf"}
OTHERS = {".m4a", ".aac", ".mp4", ".webm", ".mka", ".wma", ".amr", ".3gp"}  # by ffmpeg, if present
PITCH_STEP = 200  # pitch values a second
ACTIVE_STEP = 100  # activity flags a second
SHORTEST = 0.3  # seconds
SILENT = 10 ** (-60 / 20)  # a clip whose loudest 10 ms are below this has nothing to learn from
FORMAT = 2


@dataclass
class Clip:
    """One prepared file."""

    path: str
    speaker: str
    audio: np.ndarray  # int16 [samples], a whole number of 10 ms
    pitch: np.ndarray  # float16, Hz: > 0 voiced, < 0 the contour held where unvoiced, 0 unknown
    pulse: np.ndarray  # uint16: phase of the glottal pulses
    sharper: float  # how much sharper its pulses are than turned over; below 0: turned over
    active: np.ndarray  # uint8


def decode(path: Path, rate: int) -> np.ndarray:
    """Any audio file as float32 mono [samples] at `rate`.

    Raises RuntimeError, OSError or ValueError if it is unreadable.
    """
    if path.suffix.lower() in OTHERS:
        if shutil.which("ffmpeg") is None:
            raise RuntimeError(f"{path.suffix} files need the program ffmpeg")
        command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "f32le", "-ac", "1",
                   "-ar", str(rate), "-"]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise RuntimeError(lines[-1] if lines else f"ffmpeg ended with {done.returncode}")
        return np.frombuffer(done.stdout, np.float32)
    audio, source = soundfile.read(path, dtype="float32", always_2d=True)
    audio = audio.mean(axis=1)
    return audio if source == rate else soxr.resample(audio, source, rate)


def track_pitch(audio: np.ndarray, rate: int) -> np.ndarray:
    """Pitch in Hz every 5 ms, float16: `pitch.track`, refined by StoneMask (Morise et al., WORLD).

    Unvoiced stretches hold the contour, interpolated in log frequency, with a minus sign; a clip
    without a voiced frame is all 0.
    """
    import pyworld

    double = audio.astype(np.float64)
    pitch = find_pitch(double, rate, PITCH_STEP)
    times = np.arange(len(pitch)) / PITCH_STEP
    pitch = np.where(pitch > 0, pyworld.stonemask(double, pitch, times, rate), 0.0)
    count = len(audio) * PITCH_STEP // rate
    pitch = np.pad(pitch, (0, max(0, count - len(pitch))))[:count]
    energy = np.square(audio[: count * (rate // PITCH_STEP)]).reshape(count, -1).mean(1)
    energy = np.convolve(energy, np.ones(5) / 5, mode="same")
    voiced = (pitch > 55) & (energy > energy.max() * 10**-4.5)
    if not voiced.any():
        return np.zeros(count, np.float16)
    places = np.flatnonzero(voiced)
    held = np.exp(np.interp(np.arange(count), places, np.log(pitch[places])))
    return np.where(voiced, pitch, -held).astype(np.float16)


def prepare_clip(task: tuple[Path, str, int]) -> Clip | str:
    """Decodes and labels one file; a string says why it was left out."""
    path, speaker, rate = task
    try:
        audio = decode(path, rate)
    except (RuntimeError, OSError, ValueError) as error:
        return f"unreadable: {error}"
    if not np.isfinite(audio).all():
        return "holds samples that are not numbers"
    step = rate // ACTIVE_STEP
    audio = audio[: len(audio) // step * step]
    if len(audio) < SHORTEST * rate:
        return f"shorter than {SHORTEST} s"
    peak = np.abs(audio).max()
    if peak > 1:
        audio = audio / peak
    level = np.sqrt(np.square(audio).reshape(-1, step).mean(1))
    if level.max() < SILENT:
        return "silent"
    active = (level > max(level.max() * 10 ** (-40 / 20), SILENT / 3)).astype(np.uint8)
    quantized = np.round(audio * 32767).astype(np.int16)
    pitch = track_pitch(audio, rate)
    phase, sharper = track_pulses(audio, pitch.astype(np.float64), rate)
    pulse = np.round(phase * 65536).astype(np.int64).astype(np.uint16)  # a whole cycle is none
    return Clip(str(path), speaker, quantized, pitch, pulse, sharper, active)


def find(folders: list[Path]) -> list[tuple[Path, str]]:
    """All audio files under `folders` with their speakers: the name of the folder they lie in.

    Raises UserError for a folder that is not there, and for anything held out for measuring.
    """
    found = []
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}")
        refuse_heldout(folder)
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in SOUNDS | OTHERS and path.is_file():
                if path.is_symlink() and "heldout" in path.resolve().parts:
                    raise UserError(f"{path} is a link to a recording that is held out for "
                                    "measuring: remove the link")
                found.append((path, path.parent.name))
    if not found:
        names = ", ".join(str(folder) for folder in folders)
        raise UserError(f"no audio in {names}: looked for files named "
                        f"*{', *'.join(sorted(SOUNDS))}")
    return found


def refuse_heldout(folder: Path) -> None:
    """Raises UserError if training on `folder` would train on voices that measure the model.

    That is a folder named `heldout`, one that contains such a folder, and one whose speakers
    (folder names) also have a folder in a `heldout` beside it.
    """
    whole = folder.resolve()
    if "heldout" in whole.parts:
        raise UserError(f"{folder} is held out for measuring: training on it would make every "
                        "score a lie. Name another folder")
    for inner in whole.rglob("heldout"):
        if inner.is_dir():
            raise UserError(f"{folder} contains {inner.relative_to(whole)}, which is held out for "
                            "measuring. Name the folder of training speech beside it")
    for parent in whole.parents[:3]:
        beside = parent / "heldout"
        if beside.is_dir():
            measured = {path.parent.name for path in beside.rglob("*") if path.is_file()}
            trained = {path.parent.name for path in whole.rglob("*") if path.is_file()}
            both = sorted(measured & trained)
            if both:
                raise UserError(f"the speaker {both[0]} in {folder} is also in {beside}, which is "
                                "held out for measuring. Take one of the two away")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `prepare`."""
    parser.add_argument("folders", nargs="+", type=Path,
                        help="folders of speech, searched in depth")
    parser.add_argument("--cache", type=Path, required=True, help="the folder to make")
    parser.add_argument("--rate", type=int, default=16000, help="samples a second")
    parser.add_argument("--noise", type=Path, help="a folder of noise recordings")
    parser.add_argument("--rooms", type=Path, help="a folder of room impulse responses")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")


def run(args: argparse.Namespace) -> int:
    """Makes the cache. Raises UserError; what was complete before stays."""
    # here and not after hours of work: a training refuses other rates, and labels would drift
    if args.rate % 400 or not 8000 <= args.rate <= 48000:
        raise UserError(f"--rate {args.rate}: must be a multiple of 400 from 8000 to 48000")
    tasks = [(path, speaker, args.rate) for path, speaker in find(args.folders)]
    if (args.cache / "index.json").exists():
        raise UserError(f"{args.cache} is a finished cache already: name another, or remove it")
    try:
        args.cache.mkdir(parents=True, exist_ok=True)
        _write_noise(args)  # first: what is wrong with these folders shows at once
        index = _write(tasks, args)
        partial = args.cache / "index.json.partial"
        partial.write_text(json.dumps(index))
        partial.replace(args.cache / "index.json")
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(f"the disk that holds {args.cache} is full: make room and start "
                            "again; nothing else was changed") from error
        raise UserError(f"cannot write the cache {args.cache}: {error}") from error
    except concurrent.futures.process.BrokenProcessPool as error:
        raise UserError("a process that decodes was killed, perhaps for want of memory: try fewer, "
                        "with --jobs") from error
    return 0


def _processes(count: int) -> concurrent.futures.ProcessPoolExecutor:
    """Processes that compute with one thread each.

    Of NumPy's products each process would start as many threads as there are cores: two processes
    on two cores then take three times as long as with one. What it reads when it is loaded must be
    set before, so the processes begin anew instead of as copies.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    return concurrent.futures.ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))


def _write(tasks: list[tuple[Path, str, int]], args: argparse.Namespace) -> dict:
    clips, left_out, start = [], [], 0
    with (
        _processes(max(1, args.jobs)) as pool,
        open(args.cache / "audio.i16", "wb") as audio,
        open(args.cache / "pitch.f16", "wb") as pitch,
        open(args.cache / "pulse.u16", "wb") as pulse,
        open(args.cache / "active.u8", "wb") as active,
    ):
        try:
            results = pool.map(prepare_clip, tasks, chunksize=8)
            for (path, speaker, _), clip in zip(
                tasks, tqdm(results, total=len(tasks), unit="file", disable=None), strict=True
            ):
                if isinstance(clip, str):
                    left_out.append((path, clip))
                    continue
                audio.write(clip.audio.tobytes())
                pitch.write(clip.pitch.tobytes())
                pulse.write(clip.pulse.tobytes())
                active.write(clip.active.tobytes())
                clips.append({"path": path.name, "speaker": speaker, "start": start,
                              "samples": len(clip.audio), "sharper": round(clip.sharper, 3)})
                start += len(clip.audio)
        except BaseException:
            # else the pool would first decode all that is left
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for path, why in left_out[:20]:
        print(f"left out {path}: {why}", file=sys.stderr)
    if len(left_out) > 20:
        print(f"left out {len(left_out) - 20} more files", file=sys.stderr)
    if not clips:
        raise UserError(f"none of the {len(tasks)} audio files could be used (first reason: "
                        f"{left_out[0][0]}: {left_out[0][1]})")
    speakers = {clip["speaker"] for clip in clips}
    hours = start / args.rate / 3600
    print(f"{len(clips)} clips, {hours:.2f} hours, {len(speakers)} speakers (folders)")
    if len(speakers) == 1:
        print("only one speaker: the model will code this voice well and others badly",
              file=sys.stderr)
    return {"format": FORMAT, "rate": args.rate, "samples": start, "clips": clips,
            "left_out": len(left_out)}


def _write_noise(args: argparse.Namespace) -> None:
    def paths(folder: Path) -> list[Path]:
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}")
        return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SOUNDS and p.is_file())

    for name in ("noise.i16", "rooms.npy"):  # of an earlier try, which had other options
        (args.cache / name).unlink(missing_ok=True)
    if args.noise:
        from .augment import load_noise

        noise = np.asarray(load_noise(paths(args.noise), args.rate))
        scaled = np.round(np.clip(noise, -1, 1) * 32767).astype(np.int16)
        (args.cache / "noise.i16").write_bytes(scaled.tobytes())
    if args.rooms:
        from .augment import load_rooms

        np.save(args.cache / "rooms.npy", np.asarray(load_rooms(paths(args.rooms), args.rate)))
