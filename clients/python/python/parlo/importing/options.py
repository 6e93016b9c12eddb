"""What the person who imports may choose."""

from __future__ import annotations

from dataclasses import dataclass

from .checkpoint import Weights
from .codec import MOST_BOOKS
from .errors import ImportFailure


@dataclass(frozen=True)
class Options:
    """`start` is "trained" or "zeros"; `books` how many codebooks to keep (None: all that fit);
    `sample_rate` in Hz and `codebook_size` are for ONNX files that do not show them."""

    start: str = "trained"
    books: int | None = None
    sample_rate: int | None = None
    codebook_size: int | None = None


def books_of(weights: Weights, layers: str, most: int, options: Options, notes: list[str]) -> int:
    """How many codebooks the bundle gets, of `most` that the codec has; says so if not all."""
    there = 0
    while there < most and any(name.startswith(f"{layers}.{there}.") for name in weights.names):
        there += 1
    if there == 0 or there < most:
        raise ImportFailure(f"{weights.path} has {there} of {most} codebooks that its config.json "
                            f"speaks of ({layers})")
    return kept(there, options, notes)


def kept(there: int, options: Options, notes: list[str]) -> int:
    """How many of a codec's codebooks are kept."""
    if options.books is not None and not 1 <= options.books <= there:
        raise ImportFailure(f"--books {options.books}: the codec has {there}")
    books = min(options.books or there, MOST_BOOKS)
    if books < there:
        notes.append(f"Of the codec's {there} codebooks the bundle has the first {books}.")
    return books
