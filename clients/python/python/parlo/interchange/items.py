"""Tokens with what a reader must know of them, checked."""

from __future__ import annotations

import json
import math
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import parlo
from parlo.codec import NO_CODE, Codec
from parlo.files import Tokens

# Told in every file, so that a later layout can be told from this one.
FORMAT = 1


class InterchangeError(ValueError):
    """Data that is not what it should be: damaged, of a wrong type or shape, or of another model."""


class Codecs(Protocol):
    """What tells a model: a `parlo.Codec` or a `Model`."""

    @property
    def tokens_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def sampling_rate(self) -> int: ...
    @property
    def frame_rate(self) -> float: ...
    @property
    def codebook_sizes(self) -> Sequence[int]: ...


@dataclass(frozen=True)
class Model:
    """The model that tokens are of. The same codes of another model are other sounds.

    Attributes
    ----------
    tokens_id
        64 hexadecimal digits, the tokens' identity (`Codec.tokens_id`). Files call it `bundle`, as when both were one.
    name
        Name of the bundle that made them, for people.
    sampling_rate
        Hz of the audio that the codes stand for.
    frame_rate
        Frames a second.
    codebook_sizes
        Entries of each codebook, coarsest first; at most 65536 each.
    """

    tokens_id: str
    # Bundles of several names can make the same tokens.
    name: str = field(compare=False)
    sampling_rate: int
    frame_rate: float
    codebook_sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.tokens_id, str) or not re.fullmatch("[0-9a-f]{64}", self.tokens_id):
            raise InterchangeError(f"the tokens' identity is 64 hexadecimal digits, not {self.tokens_id!r}")
        if not self.sampling_rate > 0 or not (math.isfinite(self.frame_rate) and self.frame_rate > 0):
            raise InterchangeError(f"rates are above 0, not {self.sampling_rate} Hz and {self.frame_rate} frames a second")
        if not self.codebook_sizes or not all(1 <= size <= 65536 for size in self.codebook_sizes):
            raise InterchangeError(f"codebooks have 1 to 65536 entries, not {list(self.codebook_sizes)}")

    @classmethod
    def of(cls, source: Codecs) -> Model:
        """The model of a codec."""
        return cls(
            source.tokens_id,
            source.name,
            int(source.sampling_rate),
            float(source.frame_rate),
            tuple(int(size) for size in source.codebook_sizes),
        )

    @property
    def bundle_id(self) -> str:
        """What `tokens_id` was called when a bundle and its tokens were one."""
        return self.tokens_id

    def __str__(self) -> str:
        return f"{self.name} ({self.tokens_id[:12]})"


@dataclass(frozen=True, eq=False)
class Item:
    """The tokens of one recording, or of a part of one.

    Attributes
    ----------
    id
        The recording's name in a set; not empty.
    tokens
        Codes int64 [K, T], -1 where a frame has no code; times float64 [T], seconds; marks uint8 [T].
    model
        What made the codes.
    text
        What is said, where that is known.
    metadata
        Anything else, as text.

    Raises
    ------
    InterchangeError
        If the arrays have other types, shapes or ranges.
    """

    id: str
    tokens: Tokens
    model: Model
    text: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id:
            raise InterchangeError(f"an item's id is a text that is not empty, not {self.id!r}")
        _check(self.id, self.tokens, self.model.codebook_sizes)

    @classmethod
    def of(
        cls,
        id: str,
        codes: np.ndarray,
        codec: Codecs,
        *,
        text: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Item:
        """An item of what a codec made: frames without gaps from 0 s on, all of them real.

        Parameters
        ----------
        codes
            Integers [K, T]; one recording, so `codes[0]` of what `Codec.encode` gives.
        codec
            What made them, or its `Model`.
        """
        model = Model.of(codec)
        codes = np.asarray(codes)
        if codes.dtype.kind not in "iu":
            raise InterchangeError(f"{id}: codes are whole numbers, not {codes.dtype}")
        if codes.ndim != 2:
            raise InterchangeError(f"{id}: codes are [K, T], not {list(codes.shape)}: pass one recording of a batch")
        frames = codes.shape[1]
        times = np.arange(frames, dtype=np.float64) / model.frame_rate
        tokens = Tokens(codes=codes.astype(np.int64), times=times, marks=np.zeros(frames, np.uint8))
        return cls(id, tokens, model, text, dict(metadata or {}))

    @property
    def duration(self) -> float:
        """Seconds from the first frame's begin to the last one's end."""
        times = self.tokens.times
        return float(times[-1] - times[0] + 1 / self.model.frame_rate) if len(times) else 0.0

    def about(self) -> dict[str, Any]:
        """All but the arrays, as JSON has it."""
        return {
            "format": FORMAT,
            "id": self.id,
            "bundle": self.model.tokens_id,
            "bundle_name": self.model.name,
            "sampling_rate": self.model.sampling_rate,
            "frame_rate": self.model.frame_rate,
            "codebook_sizes": list(self.model.codebook_sizes),
            "duration": self.duration,
            "text": self.text,
            "metadata": dict(self.metadata),
        }


def about_text(item: Item) -> str:
    """`Item.about` as JSON whose bytes depend on the item alone, with a checksum of itself and of the arrays."""
    about = item.about()
    return json.dumps({**about, "crc32": checksum(about, item.tokens)}, sort_keys=True, ensure_ascii=False)


def checksum(about: Mapping[str, Any], tokens: Tokens) -> int:
    """CRC-32 of all that an item says; neither safetensors nor tar nor Parquet notices every flipped bit."""
    told = json.dumps(about, sort_keys=True, ensure_ascii=False).encode(errors="replace")
    for array, kind in ((tokens.codes, "<i8"), (tokens.times, "<f8"), (tokens.marks, "u1")):
        told += np.ascontiguousarray(array, kind).tobytes()
    return zlib.crc32(told)


def item_of(about: str | Mapping[str, Any], codes: Any, times: Any, marks: Any, where: object) -> Item:
    """The inverse of `Item.about` or `about_text`, with the arrays; `where` is named in errors."""
    try:
        told = dict(json.loads(about) if isinstance(about, str) else about)
        sealed = told.pop("crc32", None)
        if told["format"] != FORMAT:
            raise InterchangeError(f"{where}: layout {told['format']} is not known here, only {FORMAT}: a newer parlo reads it")
        model = Model(
            told["bundle"],
            str(told["bundle_name"]),
            int(told["sampling_rate"]),
            float(told["frame_rate"]),
            tuple(int(size) for size in told["codebook_sizes"]),
        )
        arrays = [np.asarray(array) for array in (codes, times, marks)]
        if arrays[0].dtype.kind not in "iu":
            raise InterchangeError(f"codes are whole numbers, not {arrays[0].dtype}")
        tokens = Tokens(codes=arrays[0].astype(np.int64), times=arrays[1], marks=arrays[2])
        if sealed not in (None, checksum(told, tokens)):
            raise InterchangeError(f"{where}: {told['id']!r} is damaged or was changed: its checksum (crc32) does not fit")
        return Item(told["id"], tokens, model, told.get("text"), dict(told.get("metadata") or {}))
    except InterchangeError as error:
        raise InterchangeError(str(error) if str(where) in str(error) else f"{where}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InterchangeError(f"{where} does not hold tokens as Parlo writes them: {error!r}") from error


def check_model(item: Item, expect: Codecs | str | None, where: object) -> Item:
    """The item, if it is of the model that is expected: a codec, a `Model` or an identity."""
    if expect is None:
        return item
    wanted = expect if isinstance(expect, str) else expect.tokens_id
    # Token files hold half of it, which tells as much. A codec may know its tokens by several names.
    speaks = getattr(expect, "speaks", None)
    if not (speaks(item.model.tokens_id) if speaks else item.model.tokens_id[:32] == wanted[:32]):
        name = wanted[:12] if isinstance(expect, str) else f"{expect.name} ({wanted[:12]})"
        raise InterchangeError(
            f"{where}: {item.id!r} has tokens of the model {item.model}, but those of {name} are wanted. "
            f"The codes of one model mean nothing to another: open that bundle, or encode the audio again"
        )
    return item


def check_same(item: Item, model: Model | None, where: object) -> Model:
    """The model of a set so far, if this item is of the same one."""
    if model is not None and item.model != model:
        raise InterchangeError(
            f"{where}: {item.id!r} is of the model {item.model}, the items before it of {model}: one set has one model"
        )
    return item.model


def from_file(
    path: str | os.PathLike[str], codec: Codec, stream: str | None = None, *, id: str | None = None, text: str | None = None
) -> Item:
    """One stream of a token file.

    Parameters
    ----------
    path
        The `.ptk` file.
    codec
        The model that made it.
    stream
        Which one, by its name; may be left out if there is but one.
    id
        The item's. If not given: the file's name without ending, and the stream's where there are several.

    Raises
    ------
    InterchangeError
        If there is no such stream, or it is not told which of several.
    BundleError
        If the file was made by another model.
    FileError
        If it is no token file.
    """
    file = parlo.open(path, codec)
    if stream is None and len(file.streams) != 1:
        raise InterchangeError(f"{path} has the streams {', '.join(file.streams)}: say which")
    name = file.streams[0] if stream is None else stream
    if name not in file.streams:
        raise InterchangeError(f"{path} has no stream {name!r}, but {', '.join(file.streams)}")
    own = Path(path).stem if len(file.streams) == 1 else f"{Path(path).stem}-{name}"
    return Item(id or own, file[name][:], Model.of(codec), text, dict(file.metadata))


def _check(id: str, tokens: Tokens, sizes: Sequence[int]) -> None:
    codes, times, marks = tokens.codes, tokens.times, tokens.marks
    for name, array, kind, dimensions in (
        ("codes", codes, np.int64, 2),
        ("times", times, np.float64, 1),
        ("marks", marks, np.uint8, 1),
    ):
        if not isinstance(array, np.ndarray) or array.dtype != kind or array.ndim != dimensions:
            what = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
            shape = "[K, T]" if dimensions == 2 else "[T]"
            raise InterchangeError(f"{id}: {name} are {np.dtype(kind)} {shape}, not {what}")
    books, frames = codes.shape
    if not 1 <= books <= len(sizes):
        raise InterchangeError(f"{id}: frames of 1 to {len(sizes)} codes, not {books}: the model has no more codebooks")
    if times.shape != (frames,) or marks.shape != (frames,):
        raise InterchangeError(f"{id}: {frames} frames need as many times and marks, not {len(times)} and {len(marks)}")
    if not np.isfinite(times).all():
        raise InterchangeError(f"{id}: a frame's time is not a number")
    for book, size in enumerate(sizes[:books]):
        row = codes[book]
        if ((row < NO_CODE) | (row >= size)).any():
            found = f"{row.min()} to {row.max()}"
            raise InterchangeError(f"{id}: codes of book {book} are 0 to {size - 1}, or {NO_CODE} for none, not {found}")
