"""What is said of scores: means, comparisons, tables, bars. Text out of rows, no files."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .bundle import BundleCodec

# Of scores, as the bench writes them: one a codec and clip.
Rows = list[dict[str, str]]


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
    "dmos": Metric("Distill-MOS, naturalness", 2),
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
LISTS = {  # of the bench: file, heading, where other codecs' scores are
    "clean": ("heldout.txt", "Clean speech", "scores.csv"),
    "noisy": ("noisy.txt", "Speech in noise, 5 to 15 dB", "scores-noisy.csv"),
    "talkers": ("talkers.txt", "Two talkers at once", "scores-talkers.csv"),
}
# What a voice has to reach: list, metric, {depth: (floor, aim)}
BARS = (
    ("clean", "dmos", {3: (3.30, 3.60), 6: (3.55, 3.80), 12: (3.70, 3.95)}),
    ("clean", "estoi", {3: (0.77, 0.80), 6: (0.84, 0.86), 12: (0.875, 0.90)}),
    ("clean", "per", {3: (52, 48), 6: (42, 37), 12: (37, 31)}),
    ("clean", "spk", {3: (0.94, 0.955), 6: (0.968, 0.975), 12: (0.978, 0.983)}),
    ("clean", "pesq", {6: (2.5, 2.75), 12: (2.7, 3.2)}),
    ("clean", "vuv_pct", {6: (6.5, 4.5)}),
    ("clean", "f0_cents", {6: (28, 22)}),
    ("noisy", "dmos", {6: (2.50, 2.67)}),
    ("noisy", "estoi", {6: (0.73, 0.75)}),
    ("noisy", "spk", {6: (0.965, 0.975)}),
    ("talkers", "dmos", {6: (2.75, 2.9)}),
    ("talkers", "estoi", {6: (0.85, 0.87)}),
)
# Beside which the bars are shown: our depth and the peer nearest in what it is meant to match.
BESIDE = {3: "lyra2-3.2", 6: "lyra2-6.0", 12: "opusnolace-12"}
DEEPER = ("estoi", "mel_db")


def values(rows: Rows, codec: str, metric: str) -> dict[str, float]:
    """{clip: value} of the codec's clips that have one."""
    mine = (row for row in rows if row["codec"] == codec and row.get(metric))
    found = {row["stem"]: float(row[metric]) for row in mine}
    return {stem: value for stem, value in found.items() if math.isfinite(value)}


def mean(numbers: Iterable[float]) -> float:
    """The mean of at least one number."""
    # In decimal, as the scores are written: equal means must not differ in a last binary digit.
    exact = [Decimal(repr(number)) for number in numbers]
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
    mine, other = values(rows, ours, metric), values(rows, theirs, metric)
    if not mine or not other:
        return None
    if other.keys() - mine.keys():
        return Verdict(metric, math.nan, mean(other.values()))
    return Verdict(metric, mean(mine[stem] for stem in other), mean(other.values()))


def heading(codec: BundleCodec, ours: Rows, metrics: str, old: BundleCodec | None = None) -> str:
    """What was measured, and how."""
    clips = {row["stem"]: float(row["seconds"]) for row in ours}
    text = (
        f"Bundle `{codec.name}`, identity `{codec.identity}` (SHA-256 of its `manifest.toml`), "
        f"beam {codec.beam}. {len(clips)} held-out clips, {sum(clips.values()):.0f} s; metrics: "
        f"`{metrics}`."
    )
    if old:
        text += (
            f"\n\nFor comparison `{old.name}-K`: the bundle `{old.name}`, identity "
            f"`{old.identity}`, at depth K, measured alike."
        )
    return text


def report(lists: dict[str, tuple[Rows, Rows]], about: str) -> str:
    """The Markdown page: what was measured, the bars, then each list's means.

    lists: of each list, by its name in LISTS, our rows and the other codecs'.
    """
    parts = [
        "# Quality",
        about,
        "`parlo-K` is Parlo at depth K. Rates count the codecs' bits alone, nobody's headers: `kbps` "
        "ours before the entropy coder, `coded` after it, as in a file. Other codecs' figures are "
        "those recorded with the bench, over the same clips. ↑ more is better, ↓ less is better. "
        "The figures of `parlo-K` are rounded towards the worse.",
        "## Bars",
        "Ours, what it has to reach, and the codec that it is measured against, at the rate beside "
        "it.",
        bars_table(lists),
    ]
    for name, (ours, others) in lists.items():
        rows = ours + others
        parts += [f"## {LISTS[name][1]}", means_table(rows)]
        if name != "clean":
            parts.append("Distill-MOS knows clean speech: compare with the original's own.")
            continue
        depths = sorted({depth_of(row["codec"]) for row in ours})
        parts += [
            "### Deeper is no worse",
            "Deeper / shallower: " + " and ".join(DEEPER) + ", and what gets worse.",
            deeper_table(rows, depths),
        ]
    return "\n\n".join(parts) + "\n"


def figures_of(lists: dict[str, tuple[Rows, Rows]]) -> dict[str, float]:
    """Our means, by "list_metric_depth", of the metrics that were measured."""
    found = {}
    for name, (ours, _) in lists.items():
        for codec in sorted({row["codec"] for row in ours}, key=depth_of):
            for metric in (*METRICS, "coded_kbps"):
                if mine := values(ours, codec, metric):
                    found[f"{name}_{metric}_{depth_of(codec)}"] = mean(mine.values())
    return found


def means_table(rows: Rows) -> str:
    """One line a codec, by rising bitrate; what is no codec (and has none) last."""
    names, clips = measured(rows, METRICS), len({row["stem"] for row in rows})
    rates = {row["codec"]: float(row["kbps"] or "inf") for row in rows}
    lines = []
    for codec in sorted(rates, key=lambda name: (rates[name], not is_ours(name), name)):
        coded = values(rows, codec, "coded_kbps").values()
        cells = [codec, f"{rates[codec]:.1f}" if math.isfinite(rates[codec]) else "-"]
        cells.append(f"{mean(coded):.2f}" if coded else "")
        for name in names:
            metric, found = METRICS[name], values(rows, codec, name).values()
            if not found:
                cells.append("-")
                continue
            shown = metric.towards_worse if is_ours(codec) else _rounded
            part = f" ({len(found)} of {clips} clips)" if len(found) < clips else ""
            cells.append(f"{shown(mean(found), metric.decimals)}{part}")
        bold = is_ours(codec)
        lines.append([f"**{cell}**" if bold and cell else cell for cell in cells])
    arrows = {name: "↑" if METRICS[name].more_is_better else "↓" for name in names}
    return _markdown(["codec", "kbps", "coded", *(f"{name} {arrows[name]}" for name in names)], lines)


def bars_table(lists: dict[str, tuple[Rows, Rows]]) -> str:
    """One line a bar and depth."""
    lines = []
    for name, metric, depths in BARS:
        ours, others = lists.get(name, ([], []))
        known = METRICS[metric]
        for depth, (floor, aim) in depths.items():
            mine = values(ours, f"parlo-{depth}", metric).values()
            peer = BESIDE[depth]
            theirs = values(others, peer, metric).values()
            rates = [float(row["kbps"]) for row in others if row["codec"] == peer]
            beside = "not measured"
            if theirs:
                beside = f"{_rounded(mean(theirs), known.decimals)} ({peer}, {rates[0]:.1f} kbps)"
            shown, held = "not measured", "-"
            if mine:
                figure = mean(mine)
                shown = f"**{known.towards_worse(figure, known.decimals)}**"
                held = "aim" if known.no_worse(figure, aim) else "**under the floor**"
                if held != "aim" and known.no_worse(figure, floor):
                    held = "floor"
            what = f"{name}: {known.label}"
            lines.append([what, f"{depth}", shown, f"{floor:g}", f"{aim:g}", held, beside])
    return _markdown(["what", "depth", "ours", "floor", "aim", "reached", "beside"], lines)


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
    """Whether this is the bundle under test, `parlo-K`."""
    return re.fullmatch(r"parlo-\d+", codec) is not None


def family_of(codec: str) -> str:
    """The codec's name without its bitrate or depth."""
    return codec.rpartition("-")[0]


def depth_of(codec: str) -> int:
    """The depth K of `parlo-K`."""
    return int(codec.removeprefix("parlo-"))


def _rounded(value: float, decimals: int, mode: str = ROUND_HALF_EVEN) -> Decimal:
    return Decimal(repr(value)).quantize(Decimal(1).scaleb(-decimals), mode)


def _markdown(head: list[str], lines: list[list[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *lines])
