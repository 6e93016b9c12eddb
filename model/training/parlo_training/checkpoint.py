"""One file that holds a training run, written so that a kill leaves the old or the new whole."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from .config import Config
from .errors import UserError

FORMAT = 1


@dataclass
class Checkpoint:
    """What a run needs to go on."""

    config: Config
    step: int
    seconds: float  # spent training, over all runs
    model: dict[str, Tensor]  # weights and codebooks
    average: dict[str, Tensor]  # the weights' moving average; what is exported
    optimizer: dict | None = None  # of the codec; None in a slim checkpoint
    adversary: dict | None = None  # discriminators and their optimizer
    random: dict = field(default_factory=dict)  # states of the generators
    plan: dict = field(default_factory=dict)  # the run's budget and how much of it is spent
    notes: dict = field(default_factory=dict)  # hours of speech, hardware: for the model card
    seen: list[Tensor] = field(default_factory=list)  # latents, until the codebooks have begun
    started: bool = True  # whether they have

    def save(self, path: Path) -> None:
        """Writes the file under another name, then renames it.

        Raises UserError if the disk is full or the folder cannot be written; the file that was
        there stays.
        """
        content = {name: value for name, value in vars(self).items() if name != "config"}
        content |= {"format": FORMAT, "config": self.config.to_dict()}
        partial = path.with_name(path.name + ".partial")
        try:
            with open(partial, "wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except (OSError, RuntimeError) as error:
            partial.unlink(missing_ok=True)
            # torch reports a failed write as a RuntimeError that names no cause
            full = isinstance(error, RuntimeError) or error.errno == errno.ENOSPC
            why = "the disk is full or cannot be written" if full else str(error)
            kept = "; the checkpoint of before is whole" if path.exists() else ""
            raise UserError(f"cannot write the checkpoint {path}: {why}{kept}") from error

    def slim(self) -> Checkpoint:
        """Without optimizer state, averaged weights only, in half precision: to be kept or sent. Of
        a run for another checkpoint's tokens, what it trained: a decoder, or an encoder too."""
        only = self.config.training.only
        kept = {"": ("",), "decoder": ("decoder.",), "networks": ("encoder.", "decoder.")}[only]
        half = {
            name: value.half() if value.is_floating_point() and value.numel() > 4096 else value
            for name, value in self.average.items()
            if name != "quantizer.sums" and name.startswith(kept)
        }
        return Checkpoint(self.config, self.step, self.seconds, {}, half, notes=self.notes)

    @classmethod
    def load(cls, path: Path, tokens: Checkpoint | None = None) -> Checkpoint:
        """Reads a file that `save` wrote; runs no code from it. What networks for the tokens of
        another checkpoint lack is taken from that.

        Raises UserError if it is missing, cut short or something else, or has no codebooks and
        `tokens` is not given.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError as error:
            raise UserError(f"there is no checkpoint {path}") from error
        except (IsADirectoryError, PermissionError) as error:
            raise UserError(f"cannot read the checkpoint {path}: {error.strerror}") from error
        except Exception as error:  # what is cut short or damaged raises about anything
            raise UserError(f"{path} is not a whole checkpoint: it was cut short or damaged, or is "
                            "another kind of file") from error
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise UserError(f"{path} is not a checkpoint of this program (format {FORMAT})")
        try:
            config = Config.from_dict(content.pop("config"), f"{path}: configuration")
            checkpoint = cls(config, **content)
        except (KeyError, TypeError) as error:
            raise UserError(f"{path} is a checkpoint of another version of this program") from error
        checkpoint.average = {
            name: value.float() if value.dtype == torch.float16 else value
            for name, value in checkpoint.average.items()
        }
        average = checkpoint.average
        if "quantizer.codebooks" not in average:
            if tokens is None:
                raise UserError(f"{path} holds no codebooks: name the checkpoint of the tokens "
                                "that it was trained for, with --tokens of train or export")
            lacks = {name: value for name, value in tokens.average.items()
                     if not name.startswith("decoder.")}
            checkpoint.average = average = {**lacks, **average}
        if "quantizer.sums" not in average:
            usage = average["quantizer.usage"].unsqueeze(-1)
            average["quantizer.sums"] = average["quantizer.codebooks"] * usage
        if not checkpoint.model:
            checkpoint.model = {name: value.clone() for name, value in checkpoint.average.items()}
        return checkpoint

    def require(self, config: Config, path: Path) -> None:
        """Raises UserError if the weights are of another network than `config` describes."""
        mine, theirs = self.config.model(), config.model()
        for table, values in mine.items():
            for name, value in values.items():
                if theirs[table][name] != value:
                    raise UserError(
                        f"{path} holds a model with {table}.{name} = {value}, and the "
                        f"configuration says {theirs[table][name]}: take the checkpoint's "
                        "configuration, or start a new run in another folder"
                    )
