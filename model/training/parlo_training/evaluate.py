"""Scores a bundle beside the other codecs' recorded scores: a table, a plot, spectrogram sheets.

Needs the measuring bench (its `score.py`, held-out list and peers) and the held-out speech.
Packages that only an evaluation needs are imported where they are used, so that the other commands
run without them.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from .bundle import BundleCodec

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Metric:
    """How a metric of the bench is read and shown."""

    label: str
    decimals: int
    more_is_better: bool = True

    def no_worse(self, ours: float, theirs: float) -> bool:
        """Whether `ours` is at least as good."""
        return ours >= theirs if self.more_is_better else ours <= theirs

    def towards_worse(self, value: float, decimals: int) -> Decimal:
        """Rounded so that it never looks better than it is."""
        mode = ROUND_FLOOR if self.more_is_better else ROUND_CEILING
        return _rounded(value, decimals, mode)


METRICS = {
    "pesq": Metric("PESQ, wideband", 2),
    "stoi": Metric("STOI", 3),
    "estoi": Metric("ESTOI", 3),
    "visqol": Metric("ViSQOL, speech", 2),
    "dns_ovrl": Metric("DNSMOS overall", 2),
    "dns_sig": Metric("DNSMOS speech", 2),
    "dns_bak": Metric("DNSMOS background", 2),
    "plcmos": Metric("PLCMOS", 2),
    "spk": Metric("speaker similarity", 3),
    "per": Metric("phone error rate, %", 1, more_is_better=False),
    "wer": Metric("word error rate, %", 1, more_is_better=False),
    "mel_db": Metric("log-mel distance, dB", 2, more_is_better=False),
    "f0_cents": Metric("pitch error, cents", 1, more_is_better=False),
    "gpe_pct": Metric("gross pitch errors, %", 2, more_is_better=False),
    "vuv_pct": Metric("voicing errors, %", 2, more_is_better=False),
}
JUDGED = ("estoi", "visqol", "spk", "per", "mel_db")
# (bar, our depth, the peer, what reaching it means)
BARS = (
    ("V1", 12, "opusnolace-6", "floor"),
    ("V1", 12, "opusnolace-9", "aim"),
    ("V2", 6, "codec2-3.2", "floor"),
    ("V2", 6, "lyra2-6.0", "aim"),
    ("V3", 3, "codec2-1.3", "floor"),
    ("V3", 3, "lyra2-3.2", "aim"),
)
DEEPER = ("estoi", "mel_db")

PLOTTED = ("estoi", "visqol", "spk", "per", "mel_db", "pesq")
# Family: (name, colour, marker), in the legend's order. Colours that the colour-blind tell apart:
# Okabe and Ito, "Color Universal Design", 2008.
FAMILIES = {
    "parlo": ("Parlo", "#D55E00", "o"),
    "lyra2": ("Lyra V2", "#0072B2", "s"),
    "opusnolace": ("Opus 1.6, NoLACE", "#009E73", "^"),
    "opus": ("Opus 1.6", "#56B4E9", "v"),
    "opusauto": ("Opus 1.6, narrowband", "#56B4E9", "x"),
    "amrwb": ("AMR-WB", "#E69F00", "D"),
    "codec2": ("Codec 2", "#CC79A7", "P"),
    "speex": ("Speex", "#777777", "*"),
}
SHEETS, SHEET_SECONDS, SHEET_RATE = 6, 3.0, 16000
SHEET_DEPTHS = (3, 6, 12)
SHEET_PEERS = ("lyra2-3.2", "lyra2-6.0", "opusnolace-6", "codec2-3.2")
# Sixteen steps of 4 dB: as many as the eye tells apart, and a sheet stays small.
SHEET_STEPS, SHEET_STEP_DB = 16, 4

Rows = list[dict[str, str]]


# Options, and the course of an evaluation.


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `evaluate`."""
    add, absent = parser.add_argument, argparse.SUPPRESS
    add("--bundle", type=Path, required=True, default=absent, metavar="DIR",
        help="the bundle to score")
    add("--depths", type=depth_list, default="1,2,3,4,6,8,12", metavar="K,K,...",
        help="numbers of codebooks")
    add("--bench", type=Path, default=_beside("../shared/bench"), metavar="DIR",
        help="the measuring bench")
    add("--speech", type=Path, default=_beside("../shared/speech"), metavar="DIR",
        help="the folder that heldout/ is in")
    add("--out", type=Path, default=absent, metavar="DIR",
        help="for table, plot and sheets (default: docs/quality; with --clips, none)")
    add("--decoded", type=Path, default=_beside("out/quality"), metavar="DIR",
        help="for decoded audio and its scores; a later run goes on from what it finds there")
    add("--metrics", default="core", help="names with commas, or core, quick, all")
    add("--quick", dest="metrics", action="store_const", const="quick", default=absent,
        help="the same as --metrics quick")
    add("--jobs", type=count, default=2, metavar="N", help="files scored at once")
    add("--beam", type=count, default=4, metavar="N",
        help="candidates that the search for codes keeps")
    add("--clips", type=count, default=absent, metavar="N",
        help="only the first N clips, for a quick look: without --out, only the table is printed")


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


def run(args: argparse.Namespace) -> int:
    """Evaluates, and returns 0.

    Raises UserError if the bench or the speech is missing, or anything else that one can mend.
    """
    bench, speech = args.bench, args.speech
    need(bench, ("score.py", "heldout.txt", "peers/scores.csv"), "the measuring bench", "--bench")
    need(speech, ("heldout",), "the speech", "--speech")
    from .bundle import BundleCodec

    codec = BundleCodec(args.bundle, args.beam)
    for depth in args.depths:
        codec.checked(depth)
    first, out = getattr(args, "clips", None), getattr(args, "out", None)
    lines = (bench / "heldout.txt").read_text().split("\n")
    clips = [Path(line.strip()) for line in lines if line.strip()][:first]
    # Audio of another model, or of another search, must not be taken for this one's.
    work = args.decoded / f"{codec.identity[:12]}-beam{codec.beam}"
    decode_clips(codec, [speech / "heldout" / clip for clip in clips], args.depths, work)
    ours = score(codec, clips, args, work)
    stems = {clip.stem for clip in clips}
    peers = [row for row in read_rows(bench / "peers" / "scores.csv") if row["stem"] in stems]
    text = report(ours, peers, heading(codec, ours, args.metrics))
    if first and not out:
        print(text)
        return 0
    out = out or _beside("docs/quality")
    out.mkdir(parents=True, exist_ok=True)
    write_rows(out / "scores.csv", ours)
    (out / "scores.md").write_text(text, encoding="utf-8")
    plot(ours + peers, out / "quality.png")
    for number, clip in enumerate(spread(clips, SHEETS), 1):
        panels = sheet_panels(speech / "heldout" / clip, ours + peers, work, bench / "peers")
        sheet(panels, clip.stem, out / f"sheet-{number}.png")
    print(f"wrote the table, the plot and the sheets to {out}")
    return 0


def need(folder: Path, parts: Iterable[str], what: str, option: str) -> None:
    """Raises UserError if the folder is missing, or lacks one of these."""
    for part in parts:
        if not (folder / part).exists():
            found = f"{folder} has no {part}" if folder.exists() else f"there is no folder {folder}"
            raise UserError(f"{found}; name the folder of {what} with {option} DIR")


def decode_clips(
    codec: BundleCodec, clips: list[Path], depths: tuple[int, ...], folder: Path
) -> None:
    """Sends each clip through the codec; writes 16-bit FLAC files folder/parlo-K/STEM.flac.

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
        for depth, audio in codec.process(load(clip, codec.sample_rate), todo).items():
            target, buffer = targets[depth], io.BytesIO()
            samples = np.clip(np.round(audio * 32768), -32768, 32767).astype(np.int16)
            soundfile.write(buffer, samples, codec.sample_rate, format="FLAC")
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_suffix(".part")  # what a run leaves that is stopped here is no FLAC
            part.write_bytes(buffer.getvalue())
            os.replace(part, target)
        seconds = time.monotonic() - start
        print(f"\rdecoded {number} of {len(clips)} clips, {seconds:.0f} s", end="", file=sys.stderr)
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


def score(codec: BundleCodec, clips: list[Path], args: argparse.Namespace, folder: Path) -> Rows:
    """Runs the bench's scorer over the decoded files; one row per depth and clip.

    What an earlier run scored by the same metrics over as many clips is kept.
    Raises UserError if the scorer fails.
    """
    bench, speech = args.bench, args.speech
    names = [f"parlo-{depth}" for depth in args.depths]
    # score.py keeps rows whatever their metrics, and drops those of clips that are not in its list.
    table = folder / f"scores-{re.sub(r'[^a-z0-9]+', '_', args.metrics)}-{len(clips)}.csv"
    chosen, rates = folder / "clips.txt", folder / "rates.json"
    chosen.write_text("".join(f"{clip.as_posix()}\n" for clip in clips))
    rates.write_text(json.dumps({f"parlo-{depth}": codec.kbps(depth) for depth in args.depths}))
    command = [sys.executable, bench / "score.py", "--ref", speech / "heldout", "--list", chosen]
    command += ["--deg", *(folder / name for name in names), "--bitrate", rates, "--out", table]
    command += ["--metrics", args.metrics, "--jobs", str(args.jobs), "--resume"]
    status = subprocess.run([str(word) for word in command], check=False).returncode
    if status != 0:
        raise UserError(f"the bench's score.py failed with status {status}; it says why above")
    rows = {(row["codec"], row["stem"]): row for row in read_rows(table)}
    try:
        return [rows[name, clip.stem] for name in names for clip in clips]
    except KeyError as error:
        name, stem = error.args[0]
        raise UserError(f"score.py left no score of {name} for {stem}; run again") from error


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


# Figures out of scores.


def figures(rows: Rows, codec: str, metric: str) -> dict[str, float]:
    """{clip: value} of the codec's clips that have one."""
    mine = (row for row in rows if row["codec"] == codec and row.get(metric))
    values = {row["stem"]: float(row[metric]) for row in mine}
    return {stem: value for stem, value in values.items() if math.isfinite(value)}


def mean(values: Iterable[float]) -> float:
    """The mean of at least one value."""
    # In decimal, as the scores are written: equal means must not differ in a last binary digit.
    exact = [Decimal(repr(value)) for value in values]
    return float(sum(exact) / len(exact))


@dataclass(frozen=True)
class Verdict:
    """Our mean and another's over the clips that the other has, judged unrounded."""

    metric: str
    ours: float  # not a number if we lack a clip: then nothing can be held
    theirs: float

    @property
    def held(self) -> bool:
        """Whether ours is no worse."""
        return METRICS[self.metric].no_worse(self.ours, self.theirs)

    def shown(self) -> tuple[str, str]:
        """Both means, with as many decimals as it takes to see what was judged."""
        metric = METRICS[self.metric]
        if math.isnan(self.ours):
            return "incomplete", str(_rounded(self.theirs, metric.decimals))
        for decimals in range(metric.decimals, 18):
            ours = metric.towards_worse(self.ours, decimals)
            theirs = _rounded(self.theirs, decimals)
            if metric.no_worse(ours, theirs) == self.held:
                return str(ours), str(theirs)
        return repr(self.ours), repr(self.theirs)

    def __str__(self) -> str:
        ours, theirs = self.shown()
        return f"{ours} / {theirs} {'held' if self.held else '**not held**'}"


def compare(rows: Rows, ours: str, theirs: str, metric: str) -> Verdict | None:
    """Codec `ours` against codec `theirs`; None if either was not measured."""
    mine, other = figures(rows, ours, metric), figures(rows, theirs, metric)
    if not mine or not other:
        return None
    if other.keys() - mine.keys():
        return Verdict(metric, math.nan, mean(other.values()))
    return Verdict(metric, mean(mine[stem] for stem in other), mean(other.values()))


# The report.


def heading(codec: BundleCodec, ours: Rows, metrics: str) -> str:
    """What was measured, and how."""
    clips = {row["stem"]: float(row["seconds"]) for row in ours}
    return (
        f"Bundle `{codec.name}`, identity `{codec.identity}` (SHA-256 of its `manifest.toml`), "
        f"beam {codec.beam}. {len(clips)} held-out clips, {sum(clips.values()):.0f} s; metrics: "
        f"`{metrics}`."
    )


def report(ours: Rows, peers: Rows, about: str) -> str:
    """The Markdown page: all codecs' means, then the bars."""
    rows = ours + peers
    depths = sorted({depth_of(row["codec"]) for row in ours})
    parts = [
        "# Quality",
        about,
        "`parlo-K` is Parlo at depth K. Rates count the codecs' bits alone: ours raw (before "
        "entropy coding), nobody's headers. Other codecs' figures are those recorded with the "
        "bench, over the same clips. ↑ more is better, ↓ less is better. Our figures are rounded "
        "towards the worse.",
        means_table(rows),
        "## Bars",
        "Ours / theirs. Held: our mean is no worse than theirs, before rounding.",
        bars_table(rows),
        "## V4: deeper is no worse",
        "Deeper / shallower. The bar is " + " and ".join(DEEPER) + "; the aim is every metric.",
        deeper_table(rows, depths),
    ]
    return "\n\n".join(parts) + "\n"


def means_table(rows: Rows) -> str:
    """One line a codec, by rising bitrate; what is no codec (and has none) last."""
    names, clips = measured(rows, METRICS), len({row["stem"] for row in rows})
    rates = {row["codec"]: float(row["kbps"] or "inf") for row in rows}
    lines = []
    for codec in sorted(rates, key=lambda name: (rates[name], name)):
        cells = [codec, f"{rates[codec]:.1f}" if math.isfinite(rates[codec]) else "-"]
        for name in names:
            metric, values = METRICS[name], figures(rows, codec, name).values()
            if not values:
                cells.append("-")
                continue
            shown = metric.towards_worse if is_ours(codec) else _rounded
            part = f" ({len(values)} of {clips} clips)" if len(values) < clips else ""
            cells.append(f"{shown(mean(values), metric.decimals)}{part}")
        lines.append([f"**{cell}**" for cell in cells] if is_ours(codec) else cells)
    arrows = {name: "↑" if METRICS[name].more_is_better else "↓" for name in names}
    return _markdown(["codec", "kbps", *(f"{name} {arrows[name]}" for name in names)], lines)


def bars_table(rows: Rows) -> str:
    """One line a bar, one column a metric."""
    lines = []
    for bar, depth, peer, role in BARS:
        verdicts = [compare(rows, f"parlo-{depth}", peer, metric) for metric in JUDGED]
        cells = [str(verdict or "not measured") for verdict in verdicts]
        held = sum(verdict is not None and verdict.held for verdict in verdicts)
        lines.append([bar, f"{depth}", f"{peer} ({role})", *cells, f"{held} of {len(JUDGED)}"])
    return _markdown(["bar", "depth", "against", *JUDGED, "held"], lines)


def deeper_table(rows: Rows, depths: list[int]) -> str:
    """One line a step from one depth to the next."""
    lines = []
    for below, depth in zip(depths, depths[1:]):
        pairs = {name: compare(rows, f"parlo-{depth}", f"parlo-{below}", name) for name in METRICS}
        known = {name: verdict for name, verdict in pairs.items() if verdict is not None}
        worse = [f"{name} {' / '.join(v.shown())}" for name, v in known.items() if not v.held]
        lines.append([
            f"{below} → {depth}",
            *(str(pairs[name] or "not measured") for name in DEEPER),
            "; ".join(worse) or "none",
            f"{len(known) - len(worse)} of {len(known)}",
        ])
    return _markdown(["depth", *DEEPER, "metrics that get worse", "held"], lines)


def measured(rows: Rows, names: Iterable[str]) -> list[str]:
    """Those of the metrics that any of our rows has."""
    return [name for name in names if any(is_ours(row["codec"]) and row.get(name) for row in rows)]


def is_ours(codec: str) -> bool:
    """Whether this names one of our depths."""
    return codec.startswith("parlo-")


def depth_of(codec: str) -> int:
    """The depth K of `parlo-K`."""
    return int(codec.removeprefix("parlo-"))


def _rounded(value: float, decimals: int, mode: str = ROUND_HALF_EVEN) -> Decimal:
    return Decimal(repr(value)).quantize(Decimal(1).scaleb(-decimals), mode)


def _markdown(head: list[str], lines: list[list[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *lines])


# Pictures.


def plot(rows: Rows, path: Path) -> None:
    """Quality against bitrate, one panel a metric, one line a family of codecs, as PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    names = measured(rows, PLOTTED)
    families: dict[str, dict[float, str]] = {family: {} for family in FAMILIES}
    for row in rows:
        family = row["codec"].rpartition("-")[0]
        if row["kbps"]:  # what has none is no codec
            families.setdefault(family, {})[float(row["kbps"])] = row["codec"]
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(16 * columns / 3, 1.1 + 4.4 * lines), dpi=100, layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes, name in zip(grid.flat, names):
        metric, ticks = METRICS[name], (0.5, 1, 2, 3, 6, 12)
        for family, codecs in families.items():
            label, colour, marker = FAMILIES.get(family, (family, "#777777", "."))
            points = [(rate, figures(rows, codecs[rate], name).values()) for rate in sorted(codecs)]
            points = [(rate, mean(values)) for rate, values in points if values]
            weight = {"linewidth": 1.6, "markeredgewidth": 1.6, "markersize": 7, "zorder": 3}
            if family == "parlo":
                weight = {"linewidth": 3.5, "markersize": 9, "zorder": 5}
            if points:
                axes.plot(*zip(*points), label=label, color=colour, marker=marker, **weight)
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_title(metric.label + ("" if metric.more_is_better else " (less is better)"))
        if not metric.more_is_better:
            axes.invert_yaxis()
        axes.grid(color="#E5E5E5")
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid.flat[len(names):]:
        axes.set_visible(False)
    figure.supxlabel("kbps of the codec's bits alone, logarithmic; ours before entropy coding")
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=len(labels), frameon=False,
        title="Quality against bitrate: up is better in every panel", title_fontsize=15,
    )
    _save(figure, path, None)


def spread(clips: list[Path], most: int) -> list[Path]:
    """Up to `most` of the clips SOURCE/VOICE/FILE: sources in turn, other voices first."""
    sources: dict[Path, list[tuple[int, int, Path]]] = {}
    heard: dict[Path, int] = {}
    for place, clip in enumerate(clips):
        turn = heard.get(clip.parent, 0)
        heard[clip.parent] = turn + 1
        sources.setdefault(clip.parent.parent, []).append((turn, place, clip))
    queues = [sorted(queue) for queue in sources.values()]
    ranked = sorted((rank, *entry) for queue in queues for rank, entry in enumerate(queue))
    return [clip for _, _, _, clip in ranked[:most]]


def sheet_panels(
    clip: Path, rows: Rows, decoded: Path, peers: Path
) -> list[tuple[str, np.ndarray]]:
    """(title, audio at SHEET_RATE) of the clip's original, our depths and the peers that there are.

    All show the part of the clip with the most speech; the codecs' delays are removed.
    """
    import numpy as np

    original = load(clip, SHEET_RATE)
    start, length = busiest(original), int(SHEET_SECONDS * SHEET_RATE)
    panels = [("original", original[start:][:length])]
    known = {row["codec"]: row for row in rows if row["stem"] == clip.stem}
    sources = [(decoded, f"parlo-{depth}") for depth in SHEET_DEPTHS]
    for folder, codec in sources + [(peers, peer) for peer in SHEET_PEERS]:
        path = folder / codec / f"{clip.stem}.flac"
        if codec in known and path.exists():
            late = round(float(known[codec]["lag_ms"]) * SHEET_RATE / 1000)
            audio = np.pad(load(path, SHEET_RATE), (max(-late, 0), 0))[max(late, 0) :]
            title = f"{codec}, {float(known[codec]['kbps']):.1f} kbps"
            panels.append((title, audio[start:][:length]))
    return panels


def busiest(audio: np.ndarray) -> int:
    """Where the SHEET_SECONDS with the most speech begin: 20 ms within 35 dB of the loudest."""
    import numpy as np

    frame, window = SHEET_RATE // 50, int(SHEET_SECONDS * 50)
    power = np.square(audio[: len(audio) // frame * frame]).reshape(-1, frame).mean(axis=1)
    total = np.cumsum(np.concatenate([[0], power >= power.max() * 10**-3.5]))
    within = total[window:] - total[:-window] if len(total) > window else [0]
    return int(np.argmax(within)) * frame


def levels(audio: np.ndarray) -> np.ndarray:
    """Power in dB [201 bins of 40 Hz, frames of 10 ms] of audio at SHEET_RATE, 25 ms windows."""
    import numpy as np

    size, hop = SHEET_RATE // 40, SHEET_RATE // 100
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(audio, size // 2), size)[::hop]
    return 10 * np.log10(np.abs(np.fft.rfft(frames * np.hanning(size))).T ** 2 + 1e-9)


def sheet(panels: list[tuple[str, np.ndarray]], name: str, path: Path) -> None:
    """Spectrograms one above the other, 0 to 8 kHz, on the first one's scale, as PNG."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    width, tall, left, top, gap, bottom = 900, 201, 70, 50, 30, 55  # pixels
    size = (left + width + 20, top + len(panels) * (tall + gap) + bottom)
    colours = colormaps["magma"].resampled(SHEET_STEPS)
    figure = Figure(figsize=(size[0] / 100, size[1] / 100), dpi=100)
    figure.text(0.5, 1 - 0.45 * top / size[1], name, ha="center", va="center", fontsize=14)
    loudest, reach = levels(panels[0][1]).max(), SHEET_STEPS * SHEET_STEP_DB
    for place, (title, audio) in enumerate(panels):
        lower = size[1] - top - (place + 1) * (tall + gap)
        box = (left / size[0], lower / size[1], width / size[0], tall / size[1])
        axes = figure.add_axes(box)
        axes.imshow(
            levels(audio), cmap=colours, origin="lower", aspect="auto", interpolation="nearest",
            vmin=loudest - reach, vmax=loudest,
            extent=(0, len(audio) / SHEET_RATE, 0, SHEET_RATE / 2000),
        )
        axes.set_xlim(0, SHEET_SECONDS)
        axes.set_title(title, loc="left", fontsize=11, pad=4)
        axes.set_yticks((0, 4, 8))
        axes.tick_params(labelbottom=place == len(panels) - 1)
        axes.set_ylabel("kHz")
    axes.set_xlabel(f"seconds; {SHEET_STEP_DB} dB a colour, {reach} dB in all")
    greys = [[grey] * 3 for grey in range(0, 256, 17)]
    palette = np.round(colours(range(SHEET_STEPS))[:, :3] * 255).astype(int).tolist() + greys
    _save(figure, path, palette)


def _save(figure, path: Path, palette: list[list[int]] | None) -> None:
    """Writes the figure as a palette PNG, a quarter of the size of one in full colour."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    image = Image.open(buffer).convert("RGB")
    if palette is None:
        image = image.quantize(128, dither=Image.Dither.NONE)
    else:
        colours = Image.new("P", (1, 1))
        colours.putpalette([value for colour in palette for value in colour])
        image = image.quantize(palette=colours, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
