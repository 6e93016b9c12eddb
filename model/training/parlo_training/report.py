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


def report(ours: Rows, others: Rows, about: str) -> str:
    """The Markdown page: what was measured, all codecs' means, then the bars."""
    rows = ours + others
    depths = sorted({depth_of(row["codec"]) for row in ours})
    parts = [
        "# Quality",
        about,
        "`parlo-K` is Parlo at depth K. Rates count the codecs' bits alone: ours raw (before "
        "entropy coding), nobody's headers. Other codecs' figures are those recorded with the "
        "bench, over the same clips. ↑ more is better, ↓ less is better. The figures of `parlo-K` "
        "are rounded towards the worse.",
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
    for codec in sorted(rates, key=lambda name: (rates[name], not is_ours(name), name)):
        cells = [codec, f"{rates[codec]:.1f}" if math.isfinite(rates[codec]) else "-"]
        for name in names:
            metric, found = METRICS[name], values(rows, codec, name).values()
            if not found:
                cells.append("-")
                continue
            shown = metric.towards_worse if is_ours(codec) else _rounded
            part = f" ({len(found)} of {clips} clips)" if len(found) < clips else ""
            cells.append(f"{shown(mean(found), metric.decimals)}{part}")
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
