"""Pictures of an evaluation: quality against bitrate, and sheets of spectrograms."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from PIL import Image

from .report import METRICS, Rows, family_of, mean, measured, values

PLOTTED = ("dmos", "estoi", "per", "spk", "pesq", "vuv_pct")
TICKS = (0.5, 1, 2, 3, 6, 12)  # kbps
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

SHEET_SECONDS, SHEET_RATE = 3.0, 16000
# Few colours and few frames, so that eight panels stay under 200 KiB even if all were noise.
SHEET_STEPS, SHEET_STEP_DB = 12, 5


def plot(rows: Rows, path: Path, compared: str | None = None) -> None:
    """Quality against bitrate, one panel a metric, one line a family of codecs, as PNG.

    compared: the family of another bundle of Parlo; it gets a thin line of the same colour.
    """
    names = measured(rows, PLOTTED)
    families: dict[str, dict[float, str]] = {family: {} for family in FAMILIES}
    for row in rows:
        if row["kbps"]:  # what has none is no codec
            families.setdefault(family_of(row["codec"]), {})[float(row["kbps"])] = row["codec"]
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(16 * columns / 3, 1.1 + 4.4 * lines), dpi=100, layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes, name in zip(grid.flat, names):
        metric = METRICS[name]
        for family, codecs in families.items():
            found = [(rate, values(rows, codecs[rate], name).values()) for rate in sorted(codecs)]
            points = [(rate, mean(figures)) for rate, figures in found if figures]
            if points:
                axes.plot(*zip(*points), **line_style(family, compared))
            coded = [(values(rows, codecs[rate], "coded_kbps").values(), rate) for rate in codecs]
            coded = {rate: mean(figures) for figures, rate in coded if figures}
            points = [(coded[rate], figure) for rate, figure in points if rate in coded]
            if points:
                axes.plot(*zip(*points), **coded_style(family, compared))
        axes.set_xscale("log")
        axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_title(metric.label + ("" if metric.more_is_better else " (less is better)"))
        if not metric.more_is_better:
            axes.invert_yaxis()
        axes.grid(color="#E5E5E5")
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid.flat[len(names):]:
        axes.set_visible(False)
    figure.supxlabel(
        "kbps of the codec's bits alone, logarithmic; ours before entropy coding, and, dashed, after it"
    )
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=3 * columns, frameon=False,
        title="Quality against bitrate: up is better in every panel", title_fontsize=15,
    )
    _save(figure, path, None)


def line_style(family: str, compared: str | None) -> dict:
    """How a family's line is drawn: Parlo's bold, that of the compared bundle thin."""
    label, colour, marker = FAMILIES.get(family, (family, "#777777", "."))
    style = {"linewidth": 1.6, "markeredgewidth": 1.6, "markersize": 7, "zorder": 3}
    if family == "parlo":
        style = {"linewidth": 3.5, "markersize": 9, "zorder": 5}
    elif family == compared:
        colour, marker = FAMILIES["parlo"][1:]
        style = {"linewidth": 1, "markersize": 5, "markerfacecolor": "white", "zorder": 4}
    return {"label": label, "color": colour, "marker": marker, **style}


def coded_style(family: str, compared: str | None) -> dict:
    """The same line against the bitrate after entropy coding."""
    style = line_style(family, compared)
    thin = {"linestyle": "--", "linewidth": 0.6 * style["linewidth"], "markerfacecolor": "white"}
    return style | thin | {"label": f"{style['label']}, coded", "zorder": style["zorder"] - 0.5}


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


def busiest(audio: np.ndarray) -> int:
    """Where the SHEET_SECONDS with the most speech begin: 20 ms within 35 dB of the loudest."""
    frame, window = SHEET_RATE // 50, int(SHEET_SECONDS * 50)
    power = np.square(audio[: len(audio) // frame * frame]).reshape(-1, frame).mean(axis=1)
    total = np.cumsum(np.concatenate([[0], power >= power.max() * 10**-3.5]))
    within = total[window:] - total[:-window] if len(total) > window else [0]
    return int(np.argmax(within)) * frame


def levels(audio: np.ndarray) -> np.ndarray:
    """Power in dB [201 bins of 40 Hz, frames of 12.5 ms] of audio at SHEET_RATE, 25 ms windows."""
    size, hop = SHEET_RATE // 40, SHEET_RATE // 80
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(audio, size // 2), size)[::hop]
    return 10 * np.log10(np.abs(np.fft.rfft(frames * np.hanning(size))).T ** 2 + 1e-9)


def sheet(panels: list[tuple[str, np.ndarray]], name: str, path: Path) -> None:
    """Spectrograms one above the other, 0 to 8 kHz, on the first one's scale, as PNG.

    panels: (title, whole clip at SHEET_RATE), none later than the first. All show that part of the
    clip in which the first has the most speech.
    """
    start, length = busiest(panels[0][1]), int(SHEET_SECONDS * SHEET_RATE)
    panels = [(title, audio[start:][:length]) for title, audio in panels]
    width, tall, left, top, gap, bottom = 960, 201, 70, 50, 30, 75  # pixels: 4 a frame, 1 a bin
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
    axes.set_xlabel(
        f"seconds; {SHEET_STEP_DB} dB a colour, {reach} dB in all\n"
        "raw: before entropy coding; real: what the encoder put out; both without headers"
    )
    greys = [[grey] * 3 for grey in range(0, 256, 17)]
    palette = np.round(colours(range(SHEET_STEPS))[:, :3] * 255).astype(int).tolist() + greys
    _save(figure, path, palette)


def _save(figure: Figure, path: Path, palette: list[list[int]] | None) -> None:
    """Writes the figure as a palette PNG, a quarter of the size of one in full colour."""
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
