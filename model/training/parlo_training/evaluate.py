"""Scores a bundle beside the other codecs' recorded scores: tables, a plot, spectrogram sheets.

Needs the measuring bench (its `score.py`, lists and peers) and the held-out speech.
Packages that only an evaluation needs are imported where they are used, so that the other commands
run without them.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import re
import runpy
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UserError
from .report import LISTS, Rows, family_of, figures_of, heading, is_ours, report

if TYPE_CHECKING:
    import numpy as np

    from .bundle import BundleCodec

ROOT = Path(__file__).resolve().parents[3]
WHOLE = ("core", "all")  # what --metrics says in an evaluation that docs/quality may hold
SHEETS = 8
SHEET_OURS = ("parlo-3", "parlo-6", "parlo-12")
SHEET_OLD_DEPTH = 6  # of another bundle that is compared
SHEET_PEERS = ("lyra2-3.2", "lyra2-6.0", "opusnolace-12")
HARD_DEPTHS = (3, 6, 12)  # at which noise and two talkers are measured


# Options.


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `evaluate`."""
    add, absent = parser.add_argument, argparse.SUPPRESS
    add("--bundle", type=Path, required=True, default=absent, metavar="DIR",
        help="the bundle to score")
    add("--compare", type=Path, default=absent, metavar="DIR",
        help="another bundle, to be shown beside it in table and plot")
    add("--depths", type=depth_list, default="1,2,3,4,6,8,12", metavar="K,K,...",
        help="numbers of codebooks")
    add("--bench", type=Path, required=True, default=absent, metavar="DIR",
        help="the measuring bench: a folder with score.py, heldout.txt and peers/scores.csv")
    add("--speech", type=Path, required=True, default=absent, metavar="DIR",
        help="the folder that heldout/ is in")
    add("--out", type=Path, default=absent, metavar="DIR",
        help="for table, plot and sheets (default: docs/quality; with --clips, --quick or metrics "
        "other than core and all there is none, and the table is printed)")
    add("--decoded", type=Path, default=_beside("out/quality"), metavar="DIR",
        help="for decoded audio and its scores; a later run goes on from what it finds there")
    add("--metrics", default="core", help="names with commas, or core, quick, all")
    add("--quick", dest="metrics", action="store_const", const="quick", default=absent,
        help="the same as --metrics quick")
    add("--jobs", type=count, default=2, metavar="N", help="files scored at once")
    add("--beam", type=count, default=4, metavar="N",
        help="candidates that the search for codes keeps")
    add("--clips", type=count, default=absent, metavar="N",
        help="only the first N clips of each list, for a quick look")
    add("--lists", type=list_names, default=",".join(LISTS), metavar="NAME,NAME,...",
        help="which of the bench's lists; those that it lacks are left out")
    add("--report", type=Path, default=absent, metavar="FILE", help="write our means as JSON")


def _beside(path: str) -> Path:
    """A path from the repository's root, as seen from where the program runs."""
    return Path(os.path.relpath(ROOT / path))


def count(text: str) -> int:
    """A number of 1 or more. Raises argparse.ArgumentTypeError."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number of 1 or more')
    return int(text)


def depth_list(text: str) -> tuple[int, ...]:
    """Depths out of "1,2,3", in order. Raises argparse.ArgumentTypeError."""
    try:
        depths = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        depths = (0,)
    if depths[0] < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a list of depths such as 3,6,12')
    return depths


def list_names(text: str) -> tuple[str, ...]:
    """Names out of "clean,noisy". Raises argparse.ArgumentTypeError."""
    names = tuple(text.split(","))
    if unknown := sorted(set(names) - set(LISTS)):
        known = ", ".join(LISTS)
        raise argparse.ArgumentTypeError(f'there is no list "{unknown[0]}"; there are {known}')
    return names


# The course of an evaluation.


def run(args: argparse.Namespace) -> int:
    """Evaluates, and returns 0.

    Raises UserError if the bench or the speech is missing, or anything else that one can mend.
    """
    bench, speech = args.bench, args.speech
    need(bench, ("score.py", "heldout.txt", "peers/scores.csv"), "the measuring bench", "--bench")
    need(speech, ("heldout",), "the speech", "--speech")
    from .bundle import BundleCodec

    codec, old = BundleCodec(args.bundle, args.beam), None
    for depth in args.depths:
        codec.checked(depth)
    if "compare" in args:
        old = BundleCodec(args.compare, args.beam)
        old.checked(args.depths[0])
    lists, folders = {}, {}
    for name, (file, _, recorded) in LISTS.items():
        if name not in args.lists or not (bench / file).exists():
            continue
        clips = clips_of(bench / file, getattr(args, "clips", None))
        stems = {clip.stem for clip in clips}
        peers = [row for row in read_rows(bench / "peers" / recorded) if row["stem"] in stems]
        if old and old.name in {"parlo", *(family_of(row["codec"]) for row in peers)}:
            raise UserError(
                f"the bundle {args.compare} cannot be told from another codec in the table: both "
                f"are named {old.name}; change the name in a copy's manifest.toml"
            )
        depths = args.depths if name == "clean" else [d for d in args.depths if d in HARD_DEPTHS]
        ours = measure(codec, name, clips, depths, args)
        others = renamed(measure(old, name, clips, depths, args), old.name) if old else []
        lists[name] = (ours, others + peers)
        folders[name] = clips
    if not lists:
        raise UserError(f"{bench} has none of the lists {', '.join(args.lists)}")
    first = next(iter(lists.values()))[0]
    text = report(lists, heading(codec, first, args.metrics, old))
    if "report" in args:
        args.report.write_text(json.dumps(figures_of(lists), indent=1) + "\n")
    out = destination(args)
    if out is None:
        print(text)
        return 0
    from . import figures

    out.mkdir(parents=True, exist_ok=True)
    (out / "scores.md").write_text(text, encoding="utf-8")
    for name, (ours, _) in lists.items():
        write_rows(out / LISTS[name][2], ours)
    if "clean" in lists:
        ours, others = lists["clean"]
        figures.plot(ours + others, out / "quality.png", old.name if old else None)
        for number, clip in enumerate(figures.spread(folders["clean"], SHEETS), 1):
            rows = [row for row in ours + others if row["stem"] == clip.stem]
            sources = [(work_folder(codec, args), name, name) for name in SHEET_OURS]
            if old:
                was = f"parlo-{SHEET_OLD_DEPTH}"
                sources.append((work_folder(old, args), was, f"{old.name}-{SHEET_OLD_DEPTH}"))
            sources += [(bench / "peers", peer, peer) for peer in SHEET_PEERS]
            panels = sheet_panels(speech / "heldout" / clip, rows, sources, figures.SHEET_RATE)
            figures.sheet(panels, clip.stem, out / f"sheet-{number}.png")
    print(f"wrote the tables, the plot and the sheets to {out}")
    return 0


def clips_of(path: Path, most: int | None) -> list[Path]:
    """The clips that a list names, a line each."""
    lines = path.read_text().split("\n")
    return [Path(line.strip()) for line in lines if line.strip()][:most]


def need(folder: Path, parts: Iterable[str], what: str, option: str) -> None:
    """Raises UserError if the folder is missing, or lacks one of these."""
    for part in parts:
        if not (folder / part).exists():
            found = f"{folder} has no {part}" if folder.exists() else f"there is no folder {folder}"
            raise UserError(f"{found}; name the folder of {what} with {option} DIR")


def destination(args: argparse.Namespace) -> Path | None:
    """Where the results go; None if they are only printed: docs/quality holds no quick look."""
    if "out" in args:
        return args.out
    whole = args.metrics in WHOLE and "clips" not in args
    return _beside("docs/quality") if whole else None


def work_folder(codec: BundleCodec, args: argparse.Namespace) -> Path:
    """For decoded audio and its scores: another model's, or another search's, lie elsewhere."""
    return args.decoded / f"{codec.identity[:12]}-beam{codec.beam}"


def measure(
    codec: BundleCodec, name: str, clips: list[Path], depths: Iterable[int],
    args: argparse.Namespace,
) -> Rows:
    """Decodes the clips of a list and scores them, at those of the depths that the bundle has."""
    depths = [depth for depth in depths if depth <= codec.max_depth]
    folder = work_folder(codec, args)
    decode_clips(codec, [args.speech / "heldout" / clip for clip in clips], depths, folder)
    rates = {f"parlo-{depth}": codec.kbps(depth) for depth in depths}
    rows = score(rates, name, clips, args, folder)
    for row in rows:
        coded = folder / row["codec"] / f"{row['stem']}.bits"
        row["coded_kbps"] = ""
        if coded.exists() and float(row["seconds"]) > 0:
            row["coded_kbps"] = f"{float(coded.read_text()) / float(row['seconds']) / 1000:.4f}"
    return rows


def renamed(rows: Rows, name: str) -> Rows:
    """The rows of codecs `parlo-K` as rows of `name-K`."""
    return [{**row, "codec": f"{name}-{row['codec'].removeprefix('parlo-')}"} for row in rows]


def decode_clips(
    codec: BundleCodec, clips: list[Path], depths: Iterable[int], folder: Path
) -> None:
    """Sends each clip through the codec; writes 16-bit FLAC files folder/parlo-K/STEM.flac, and beside
    them STEM.bits: how many bits their codes take after the entropy coder.

    Files that are there already are kept. Raises UserError if a clip cannot be read.
    """
    import numpy as np
    import soundfile

    start = time.monotonic()
    for number, clip in enumerate(clips, 1):
        targets = {depth: folder / f"parlo-{depth}" / f"{clip.stem}.flac" for depth in depths}
        todo = [depth for depth, target in targets.items() if not target.exists()]
        if not todo:
            continue
        audio = load(clip, codec.sample_rate)
        codes, length = codec.codes(codec.latents(audio), todo), len(audio)
        for depth in todo:
            target, buffer = targets[depth], io.BytesIO()
            audio, bits = codec.heard(codes[depth], length), codec.coded_bits(codes[depth])
            samples = np.clip(np.round(audio * 32768), -32768, 32767).astype(np.int16)
            soundfile.write(buffer, samples, codec.sample_rate, format="FLAC")
            target.parent.mkdir(parents=True, exist_ok=True)
            if bits is not None:
                target.with_suffix(".bits").write_text(f"{bits:.1f}\n")
            part = target.with_suffix(".part")  # what a run leaves that is stopped here is no FLAC
            part.write_bytes(buffer.getvalue())
            os.replace(part, target)
        seconds = time.monotonic() - start
        done = f"{codec.name}: decoded {number} of {len(clips)} clips, {seconds:.0f} s"
        print(f"\r{done}", end="", file=sys.stderr)
    print(file=sys.stderr)


def load(path: Path, rate: int) -> np.ndarray:
    """Mono float32 audio [samples] at the rate. Raises UserError if it cannot be read."""
    import soundfile
    import soxr

    try:
        audio, found = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    return soxr.resample(audio.mean(axis=1), found, rate)


def score(
    rates: dict[str, float], name: str, clips: list[Path], args: argparse.Namespace, folder: Path
) -> Rows:
    """Runs the bench's scorer over the decoded files; one row per codec of `rates` and clip.

    What an earlier run scored by the same metrics over as many clips is kept.
    Raises UserError if the scorer fails.
    """
    bench, speech = args.bench, args.speech
    wanted = metric_names(bench, args.metrics)
    # score.py drops the rows of clips that are not in its list: each number has its own table.
    label = f"{re.sub(r'[^a-z0-9]+', '_', args.metrics)}-{name}-{len(clips)}"
    table, record = folder / f"scores-{label}.csv", folder / f"metrics-{label}.json"
    keep_only(table, record, wanted, bench)
    chosen, bitrates = folder / "clips.txt", folder / "rates.json"
    chosen.write_text("".join(f"{clip.as_posix()}\n" for clip in clips))
    bitrates.write_text(json.dumps(rates))
    command = [sys.executable, bench / "score.py", "--ref", speech / "heldout", "--list", chosen]
    command += ["--deg", *(folder / name for name in rates), "--bitrate", bitrates, "--out", table]
    command += ["--metrics", args.metrics, "--jobs", str(args.jobs), "--resume"]
    status = subprocess.run([str(word) for word in command], check=False).returncode
    if status != 0:
        raise UserError(f"the bench's score.py failed with status {status}; it says why above")
    rows = {(row["codec"], row["stem"]): row for row in read_rows(table)}
    try:
        ours = [rows[name, clip.stem] for name in rates for clip in clips]
    except KeyError as error:
        name, stem = error.args[0]
        raise UserError(f"score.py left no score of {name} for {stem}; run again") from error
    if missing := [name for name in wanted if name not in ours[0]]:
        record.unlink()  # so that the next run, perhaps with the package that lacked, scores anew
        print(f"not measured: {', '.join(missing)}", file=sys.stderr)
    return ours


def metric_names(bench: Path, metrics: str) -> list[str]:
    """The metrics that the bench's scorer takes --metrics for.

    Raises UserError if a package that the scorer needs is missing.
    """
    try:
        with warnings.catch_warnings():
            sets = runpy.run_path(str(bench / "score.py"), run_name="bench").get("SETS", {})
    except ImportError as error:
        raise UserError(
            f"the bench's score.py cannot start: {error}; install what {bench}/requirements.txt "
            "lists"
        ) from error
    return list(sets.get(metrics) or metrics.split(","))


def keep_only(table: Path, record: Path, wanted: list[str], bench: Path) -> None:
    """Deletes the table unless this scorer wrote it by these metrics, as the record beside it says.

    score.py --resume by itself keeps rows whatever was measured in them.
    """
    scorer = hashlib.sha256((bench / "score.py").read_bytes()).hexdigest()
    now = json.dumps({"metrics": wanted, "score.py": scorer}, indent=1) + "\n"
    if not record.exists() or record.read_text() != now:
        table.unlink(missing_ok=True)
        record.write_text(now)


def read_rows(path: Path) -> Rows:
    """The rows of a CSV file of the bench."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: Rows) -> None:
    """Writes rows as the bench does."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def sheet_panels(
    clip: Path, rows: Rows, sources: list[tuple[Path, str, str]], rate: int
) -> list[tuple[str, np.ndarray]]:
    """(title, audio at the rate) of the clip, and of it by the codecs of `sources` that there are:
    (folder, the folder in it that holds the codec's audio, the codec's name in `rows`).

    rows: the clip's scores. They tell the codecs' delays, which are removed.
    """
    import numpy as np

    panels = [("original", load(clip, rate))]
    known = {row["codec"]: row for row in rows}
    for folder, inner, codec in sources:
        path = folder / inner / f"{clip.stem}.flac"
        if codec in known and path.exists():
            late = round(float(known[codec]["lag_ms"]) * rate / 1000)
            audio = np.pad(load(path, rate), (max(-late, 0), 0))[max(late, 0) :]
            kind = "raw" if is_ours(codec) else "real"
            panels.append((f"{codec}, {float(known[codec]['kbps']):.1f} kbps {kind}", audio))
    return panels
