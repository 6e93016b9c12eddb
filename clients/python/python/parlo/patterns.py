"""Token frames laid out as language models read them, and back.

A codec makes K codes a frame; a language model reads one sequence. Two layouts are usual:

* *delay*: K rows go in parallel, row k shifted right by k steps, so that a model that predicts all rows
  of a step has seen the coarser codes of the same frame (MusicGen: Copet et al., "Simple and Controllable Music
  Generation", 2023, section 2.2);
* *flat*: one row, the codes of a frame one after the other, coarsest first, each book with a range of
  numbers of its own (AudioLM: Borsos et al., 2022, section III-C).

Everything takes NumPy arrays and PyTorch tensors of any integer type, and gives back the same kind, type and
device. Shapes are [K, T] or [B, K, T]: K codebooks, T frames, B recordings. The inverses are exact, and
refuse what no layout of theirs could have made.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

# What goes in comes out: an array or a tensor.
Codes = TypeVar("Codes", np.ndarray, "torch.Tensor")


class PatternError(ValueError):
    """An array that is not codes, or not the layout that it should be."""


def vocabulary(sizes: Sequence[int]) -> int:
    """How many numbers `flatten` uses for books of these `sizes`: 0 up to this, exclusive.

    Numbers from here on are free for special tokens: padding, begin, end, text.
    """
    return sum(_sizes(sizes))


def delay(codes: Codes, pad: int, delays: Sequence[int] | None = None) -> Codes:
    """Shifts each codebook's row right; [..., K, T] becomes [..., K, T + max(delays)].

    Parameters
    ----------
    codes
        [K, T] or [B, K, T], integers.
    pad
        What stands where a row has no code; a number that is no code, such as the size of the books.
    delays
        Steps that each of the K rows is shifted, 0 or more; 0, 1, .., K - 1 if not given.
        Rows may share a delay: `(0, 1, 1, 1)` lets the first code of a frame come alone, then all others.

    Raises
    ------
    PatternError
        If `codes` are not such an array, hold `pad`, or `delays` does not fit.
    """
    books, frames = _shape(codes)
    steps = _delays(delays, books)
    _fits(codes, pad)
    if _any(codes == pad):
        raise PatternError(f"the codes hold {pad}, which is to be the padding: choose a number that is no code")
    out = _full(codes, (*codes.shape[:-1], frames + max(steps)), pad)
    for book, step in enumerate(steps):
        out[..., book, step : step + frames] = codes[..., book, :]
    return out


def undelay(pattern: Codes, pad: int, delays: Sequence[int] | None = None) -> Codes:
    """The codes that `delay` made `pattern` of: [..., K, S] becomes [..., K, S - max(delays)].

    Parameters
    ----------
    pattern
        [K, S] or [B, K, S], integers.
    pad, delays
        As they were given to `delay`.

    Raises
    ------
    PatternError
        If a place outside the rows holds anything but `pad`, or one inside holds it: then this is no such
        pattern, or another one, or was cut. (What a model sampled is often so: see `repair`.)
    """
    books, length = _shape(pattern)
    steps = _delays(delays, books)
    _fits(pattern, pad)
    frames = length - max(steps)
    if frames < 0:
        raise PatternError(f"{length} steps are fewer than the longest delay, {max(steps)}: no such pattern")
    out = _full(pattern, (*pattern.shape[:-1], frames), 0)
    for book, step in enumerate(steps):
        row = pattern[..., book, :]
        inside = row[..., step : step + frames]
        if _any(row[..., :step] != pad) or _any(row[..., step + frames :] != pad):
            raise PatternError(f"row {book} has codes before step {step} or after step {step + frames - 1}: no such pattern")
        if _any(inside == pad):
            raise PatternError(f"row {book} has padding ({pad}) between its codes: no such pattern, or rows of a batch")
        out[..., book, :] = inside
    return out


def repair(pattern: Codes, pad: int, delays: Sequence[int] | None = None) -> Codes:
    """What a model sampled, made a pattern: cut before the first frame that lacks a code, corners padded.

    A model may put padding among the codes, or codes in the corners. Frames up to the first one with
    padding are kept.

    Parameters
    ----------
    pattern
        [K, S], integers; one recording, as the cut may differ between several.
    pad, delays
        As they are given to `delay`.

    Returns
    -------
    [K, S'] with S' <= S, which `undelay` takes.
    """
    books, length = _shape(pattern)
    if pattern.ndim != 2:
        raise PatternError(f"repair takes one recording, [K, S], not {list(pattern.shape)}")
    steps = _delays(delays, books)
    _fits(pattern, pad)
    frames = max(length - max(steps), 0)
    for book, step in enumerate(steps):
        missing = (pattern[book, step : step + frames] == pad).tolist()
        frames = missing.index(True) if True in missing else frames
    out = _full(pattern, (books, frames + max(steps)), pad)
    for book, step in enumerate(steps):
        out[book, step : step + frames] = pattern[book, step : step + frames]
    return out


def flatten(codes: Codes, sizes: Sequence[int]) -> Codes:
    """One sequence, coarsest code of each frame first; [..., K, T] becomes [..., T * K].

    Code c of book k becomes c + sizes[0] + .. + sizes[k - 1], so that each number names its book.

    Parameters
    ----------
    codes
        [K, T] or [B, K, T], integers.
    sizes
        Entries of each codebook, at least K; the first K count, so pass the codec's `codebook_sizes`.

    Raises
    ------
    PatternError
        If `codes` are not such an array, or a code is outside its book.
    """
    books, frames = _shape(codes)
    starts, ends = _ranges(sizes, books)
    out = _full(codes, (*codes.shape[:-2], frames * books), 0)
    for book, (start, end) in enumerate(zip(starts, ends, strict=True)):
        row = codes[..., book, :]
        if _any((row < 0) | (row >= end - start)):
            raise PatternError(f"codes of book {book} must be 0 to {end - start - 1}")
        _fits(codes, end - 1)
        out[..., book::books] = row + start
    return out


def unflatten(tokens: Codes, sizes: Sequence[int], depth: int | None = None) -> Codes:
    """The codes that `flatten` made `tokens` of: [..., T * K] becomes [..., K, T].

    Parameters
    ----------
    tokens
        [T * K] or [B, T * K], integers.
    sizes
        Entries of each codebook, as they were given to `flatten`.
    depth
        K; if not given, all of `sizes`.

    Raises
    ------
    PatternError
        If the length is no multiple of K, or a token is not of the book whose turn it is: special tokens
        are to be taken out first.
    """
    books = len(sizes) if depth is None else depth
    _integers(tokens)
    if tokens.ndim not in (1, 2):
        raise PatternError(f"flat tokens are [T * K] or [B, T * K], not {list(tokens.shape)}")
    starts, ends = _ranges(sizes, books)
    length = tokens.shape[-1]
    if length % books:
        raise PatternError(f"{length} tokens are no whole frames of {books}: the last frame is cut, or the depth is another")
    out = _full(tokens, (*tokens.shape[:-1], books, length // books), 0)
    for book, (start, end) in enumerate(zip(starts, ends, strict=True)):
        row = tokens[..., book::books]
        if _any((row < start) | (row >= end)):
            raise PatternError(f"every {books}th token from {book} must be of book {book}: {start} to {end - 1}")
        out[..., book, :] = row - start
    return out


def stack(rows: Sequence[Codes], pad: int) -> tuple[Codes, list[int]]:
    """Rows of unequal length as one batch, filled up on the right with `pad`.

    Parameters
    ----------
    rows
        Arrays of the same kind and shape [..., L], each with its own L: patterns, or flat tokens.
    pad
        What fills the shorter ones.

    Returns
    -------
    [B, ..., L of the longest], and each one's L for `unstack`.
    """
    if not rows:
        raise PatternError("a batch takes at least one row")
    for row in rows:
        _integers(row)
        if row.ndim not in (1, 2) or row.shape[:-1] != rows[0].shape[:-1] or row.dtype != rows[0].dtype:
            raise PatternError(
                f"a batch takes rows of one type and shape but for the length: "
                f"{rows[0].dtype} {list(rows[0].shape)} and {row.dtype} {list(row.shape)}"
            )
    lengths = [int(row.shape[-1]) for row in rows]
    out = _full(rows[0], (len(rows), *rows[0].shape[:-1], max(lengths)), pad)
    for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        out[place, ..., :length] = row
    return out, lengths


def unstack(batch: Codes, lengths: Sequence[int]) -> list[Codes]:
    """The rows that `stack` made `batch` of."""
    if batch.ndim not in (2, 3) or batch.shape[0] != len(lengths):
        raise PatternError(f"{len(lengths)} lengths do not fit a batch of {list(batch.shape)}")
    if any(not 0 <= length <= batch.shape[-1] for length in lengths):
        raise PatternError(f"lengths must be 0 to {batch.shape[-1]}")
    return [batch[place, ..., :length] for place, length in enumerate(lengths)]


def _shape(codes: Any) -> tuple[int, int]:
    """K and T of [..., K, T]."""
    _integers(codes)
    if codes.ndim not in (2, 3) or codes.shape[-2] == 0:
        raise PatternError(f"codes are [K, T] or [B, K, T] with at least one codebook, not {list(codes.shape)}")
    return int(codes.shape[-2]), int(codes.shape[-1])


def _integers(codes: Any) -> None:
    if isinstance(codes, np.ndarray):
        whole = codes.dtype.kind in "iu"
    elif _is_tensor(codes):
        whole = not (codes.is_floating_point() or codes.is_complex() or codes.dtype == sys.modules["torch"].bool)
    else:
        raise PatternError(f"codes are a NumPy array or a PyTorch tensor, not {type(codes).__name__}")
    if not whole:
        raise PatternError(f"codes are whole numbers, not {codes.dtype}")


def _is_tensor(value: Any) -> bool:
    """Whether this is a tensor: without PyTorch there are none, so it need not be imported to tell."""
    module = sys.modules.get("torch")
    return module is not None and isinstance(value, module.Tensor)


def _full(like: Codes, shape: tuple[int, ...], value: int) -> Codes:
    """A new array of the kind, type and device of `like`, filled with `value`."""
    _fits(like, value)
    if isinstance(like, np.ndarray):
        return np.full(shape, value, like.dtype)
    return like.new_full(shape, value)


def _fits(like: Any, value: int) -> None:
    limits = np.iinfo(like.dtype) if isinstance(like, np.ndarray) else sys.modules["torch"].iinfo(like.dtype)
    if not limits.min <= value <= limits.max:
        raise PatternError(f"{like.dtype} does not hold {value}: convert to int64 first")


def _any(where: Any) -> bool:
    return bool(where.any())


def _delays(delays: Sequence[int] | None, books: int) -> list[int]:
    steps = list(range(books)) if delays is None else [int(step) for step in delays]
    if len(steps) != books or min(steps) < 0:
        raise PatternError(f"{books} codebooks need as many delays of 0 or more, not {steps}")
    return steps


def _sizes(sizes: Sequence[int]) -> list[int]:
    entries = [int(size) for size in sizes]
    if not entries or min(entries) < 1:
        raise PatternError(f"codebooks have at least one entry each, not {entries}")
    return entries


def _ranges(sizes: Sequence[int], books: int) -> tuple[list[int], list[int]]:
    """Each book's first number, and the one after its last."""
    entries = _sizes(sizes)
    if not 1 <= books <= len(entries):
        raise PatternError(f"{books} codes a frame need the sizes of as many codebooks, not {len(entries)}")
    ends = [sum(entries[: book + 1]) for book in range(books)]
    return [end - size for end, size in zip(ends, entries[:books], strict=True)], ends
