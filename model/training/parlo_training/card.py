"""The model card: what a bundle is, where it came from, how good it is, and what it cannot do."""

from __future__ import annotations

import csv
import tomllib
from pathlib import Path

from .checkpoint import Checkpoint
from .codec import Codec
from .errors import UserError
from .report import METRICS, depth_of, is_ours, mean, values

SHOWN = ("estoi", "visqol", "spk", "per", "mel_db", "pesq")


def model_card(
    checkpoint: Checkpoint, codec: Codec, folder: Path, sources: str, scores: str
) -> str:
    """The card as Markdown.

    folder: the bundle's files, whose sizes the card states; its manifest tells name, description
    and licence. sources: on the data and its licences. scores: of `score_table`; either may be
    empty, which is said.
    """
    stated = tomllib.loads((folder / "manifest.toml").read_text(encoding="utf-8"))
    config, compute = checkpoint.config, codec.compute()
    weights = sum(parameter.numel() for parameter in codec.parameters())
    size = sum(path.stat().st_size for path in folder.iterdir() if path.name != "README.md")
    notes, frame = checkpoint.notes, config.audio.frame
    rows = [
        ("audio", f"{config.audio.rate / 1000:g} kHz mono, frames of {frame} samples (20 ms)"),
        ("algorithmic latency", "40 ms: a frame, 10 ms of overlap, 10 ms of look-ahead"),
        ("codes", f"{config.quantizer.stages} codebooks of {config.quantizer.entries} entries, "
                  "residual, Euclidean"),
        ("parameters", f"{weights / 1e6:.2f} million, and codebooks of "
                       f"{codec.quantizer.codebooks.numel() / 1e6:.2f} million; stored as int8 and float16, "
                       "computed as float32"),
        ("compute", f"{compute['encoder']:.0f} + {compute['decoder']:.0f} million multiply-"
                    "accumulates per second of audio (encoder + decoder), and "
                    f"{compute['search']:.0f} for the search of the codes per candidate"),
        ("size", f"{size / 2**20:.1f} MiB"),
        ("training", f"{checkpoint.step} steps of {config.training.batch} x "
                     f"{config.training.seconds:g} s, {checkpoint.seconds / 60:.0f} minutes on "
                     f"{notes.get('hardware', 'unknown hardware')}"),
        ("speech", f"{notes.get('hours', 0):.1f} hours, {notes.get('speakers', 0)} speakers"),
        ("licence", stated["licence"] or "not stated"),
    ]
    if "entropy" in stated:
        shortens = folder / stated["entropy"]["file"]
        rows.insert(5, ("entropy model", f"a transformer in integers, "
                        f"{shortens.stat().st_size / 2**20:.2f} MiB of the size below"))
    text = [f"# Model card: {stated['name']}", "", f"{stated['description'].rstrip('.')}.", ""]
    text += ["| | |", "| --- | --- |"]
    text += [f"| {left} | {right} |" for left, right in rows]
    text += ["", "## Scores", "", scores or "Not measured yet: see `evaluate`."]
    text += ["", "## Limits", "", LIMITS]
    text += ["", "## Data", "", sources.strip() or "Not stated."]
    text += ["", "`manifest.toml` describes the graphs: every tensor's name and shape, and every "
             "file's hash.", ""]
    return "\n".join(text)


LIMITS = """\
- Trained on read and spoken sentences of adults, mostly English. Children's voices, singing, music
  and several people at once were not measured.
- No listening test was held. The scores are of programs, which can contradict ears.
- At one to three codebooks words can be mistaken for others: do not rely on it where a word
  decides.
- The decoder draws pulses and noise of its own: the waveform is not the original's, only its
  sound."""


def score_table(path: Path) -> str:
    """The mean of every metric at every depth out of a scores.csv of `evaluate`, as Markdown.

    Rounded towards the worse, as in the evaluation's own table. Raises UserError if the file
    cannot be read or holds no scores of a bundle.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if is_ours(row["codec"])]
        codecs = sorted({row["codec"] for row in rows}, key=depth_of)
        rates = {row["codec"]: float(row["kbps"]) for row in rows}
        clips = len({row["stem"] for row in rows})
        found = {codec: [values(rows, codec, name).values() for name in SHOWN] for codec in codecs}
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{path} is not a scores.csv of `evaluate`") from error
    if not codecs:
        raise UserError(f"{path} holds no scores of a bundle: name the scores.csv of `evaluate`")
    lines = [
        f"Means over {clips} clips of held-out voices, which the model never met.", "",
        "| codebooks | kbps raw | " + " | ".join(METRICS[name].label for name in SHOWN) + " |",
        "| --- | --- |" + " --- |" * len(SHOWN),
    ]
    for codec in codecs:
        cells = [
            str(metric.towards_worse(mean(numbers), metric.decimals)) if numbers else "-"
            for metric, numbers in zip((METRICS[name] for name in SHOWN), found[codec])
        ]
        lines.append(f"| {depth_of(codec)} | {rates[codec]:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
