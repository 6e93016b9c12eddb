"""The model card: what a bundle is, where it came from, how good it is, and what it cannot do."""

from __future__ import annotations

import csv
from pathlib import Path

from .checkpoint import Checkpoint
from .codec import Codec

METRICS = {
    "estoi": ("ESTOI", 3), "visqol": ("ViSQOL", 2), "spk": ("speaker similarity", 3),
    "per": ("phone error, %", 1), "mel_db": ("log-mel distance, dB", 2), "pesq": ("PESQ-WB", 2),
}


def model_card(
    checkpoint: Checkpoint, codec: Codec, folder: Path, description: str, licence: str,
    sources: str, scores: Path | None, name: str | None = None,
) -> str:
    """The card as Markdown. `folder` holds the bundle's files, whose sizes it states."""
    config, compute = checkpoint.config, codec.compute()
    weights = sum(parameter.numel() for parameter in codec.parameters())
    size = sum(path.stat().st_size for path in folder.iterdir() if path.name != "README.md")
    notes, frame = checkpoint.notes, config.audio.frame
    rows = [
        ("audio", f"{config.audio.rate // 1000} kHz mono, frames of {frame} samples (20 ms)"),
        ("algorithmic latency", "40 ms: a frame, 10 ms of overlap, 10 ms of look-ahead"),
        ("codes", f"{config.quantizer.stages} codebooks of {config.quantizer.entries} entries, "
                  "residual, Euclidean"),
        ("parameters", f"{weights / 1e6:.2f} million, and codebooks of "
                       f"{codec.quantizer.codebooks.numel() / 1e6:.2f} million; stored as float16, "
                       "computed as float32"),
        ("compute", f"{compute['encoder']:.0f} + {compute['decoder']:.0f} million multiply-"
                    "accumulates per second of audio (encoder + decoder), and "
                    f"{compute['search']:.0f} for the search of the codes per candidate"),
        ("size", f"{size / 2**20:.1f} MiB"),
        ("training", f"{checkpoint.step} steps of {config.training.batch} x "
                     f"{config.training.seconds:g} s, {checkpoint.seconds / 60:.0f} minutes on "
                     f"{notes.get('hardware', 'unknown hardware')}"),
        ("speech", f"{notes.get('hours', 0):.1f} hours, {notes.get('speakers', 0)} speakers"),
        ("licence", licence or "not stated"),
    ]
    text = [f"# Model card: {name or folder.name}", "", f"{description}.", "", "| | |", "| --- | --- |"]
    text += [f"| {left} | {right} |" for left, right in rows]
    text += ["", "## Scores", ""]
    text += _scores(scores) if scores else ["Not measured yet: see `evaluate`."]
    text += ["", "## Limits", "", LIMITS]
    text += ["", "## Data", "", sources.strip() or "Not stated."]
    text += ["", "`manifest.toml` describes the graphs: every tensor's name and shape, and every "
             "file's hash.", ""]
    return "\n".join(text)


LIMITS = """\
- Trained on read and spoken sentences of adults, mostly English. Children's voices, singing, music
  and several people at once were not measured.
- No listening test was held. The scores are of programs, which can contradict ears.
- At one to three codebooks words can be mistaken for others: do not rely on it where a word decides.
- The decoder draws pulses and noise of its own: the waveform is not the original's, only its sound."""


def _scores(path: Path) -> list[str]:
    """The mean of every metric at every depth, as table rows, from a scores.csv."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    codecs = list(dict.fromkeys(row["codec"] for row in rows))
    lines = [
        f"Means over {len({row['stem'] for row in rows})} clips of held-out voices, which the model "
        "never met.", "",
        "| codebooks | kbps raw | " + " | ".join(label for label, _ in METRICS.values()) + " |",
        "| --- | --- |" + " --- |" * len(METRICS),
    ]
    for codec in codecs:
        own = [row for row in rows if row["codec"] == codec]
        cells = []
        for metric, (_, digits) in METRICS.items():
            values = [float(row[metric]) for row in own if row.get(metric)]
            cells.append(f"{sum(values) / len(values):.{digits}f}" if values else "-")
        lines.append(f"| {codec.rpartition('-')[2]} | {float(own[0]['kbps']):g} | "
                     + " | ".join(cells) + " |")
    return lines
