"""Layouts for language models: as the papers have them, exact inverses, refusals."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from parlo import patterns
from parlo.patterns import PatternError

SIZES = (1024, 1024, 512, 16)


def kinds():
    """NumPy and, where it is installed, PyTorch: a way in, of codes [K, T] or [B, K, T]."""
    yield pytest.param(lambda codes, dtype="int64": np.asarray(codes, dtype), id="numpy")
    try:
        import torch
    except ImportError:
        return
    yield pytest.param(lambda codes, dtype="int64": torch.tensor(np.asarray(codes), dtype=getattr(torch, dtype)), id="torch")


@pytest.fixture(params=list(kinds()))
def array(request):
    return request.param


def equal(one, other):
    return type(one) is type(other) and one.dtype == other.dtype and one.tolist() == other.tolist()


def test_delay_is_the_papers(array):
    # Copet et al., figure 1, bottom right: row k starts k steps later.
    pattern = patterns.delay(array([[1, 2, 3], [4, 5, 6], [7, 8, 9]]), pad=0)
    assert pattern.tolist() == [[1, 2, 3, 0, 0], [0, 4, 5, 6, 0], [0, 0, 7, 8, 9]]


def test_delays_of_ones_own(array):
    pattern = patterns.delay(array([[1, 2], [3, 4], [5, 6]]), pad=0, delays=(0, 2, 2))
    assert pattern.tolist() == [[1, 2, 0, 0], [0, 0, 3, 4], [0, 0, 5, 6]]
    assert patterns.undelay(pattern, 0, (0, 2, 2)).tolist() == [[1, 2], [3, 4], [5, 6]]


def test_flat_is_coarse_first_with_a_range_for_each_book(array):
    codes = array([[1, 2], [3, 4], [5, 6], [7, 8]])
    flat = patterns.flatten(codes, SIZES)
    assert flat.tolist() == [1, 1027, 2053, 2567, 2, 1028, 2054, 2568]
    assert patterns.vocabulary(SIZES) == 2576


@pytest.mark.parametrize("seed", range(40))
def test_inverses_are_exact(array, seed):
    random = np.random.default_rng(seed)
    books, frames = random.integers(1, 5), random.integers(0, 30)
    batch = () if seed % 2 else (random.integers(1, 4),)
    codes = np.stack([random.integers(0, SIZES[book], (*batch, frames)) for book in range(books)], axis=-2)
    codes = array(codes, ["int64", "int32", "int16"][seed % 3])
    delays = None if seed % 4 else [int(step) for step in random.integers(0, 6, books)]
    assert equal(patterns.undelay(patterns.delay(codes, 1024, delays), 1024, delays), codes)
    assert equal(patterns.unflatten(patterns.flatten(codes, SIZES), SIZES, int(books)), codes)


def test_rows_of_unequal_length_are_a_batch_and_rows_again(array):
    rows = [patterns.delay(array(np.full((3, frames), frames)), pad=99) for frames in (4, 0, 7)]
    batch, lengths = patterns.stack(rows, 99)
    assert tuple(batch.shape) == (3, 3, 9) and lengths == [6, 2, 9]
    assert all(equal(one, other) for one, other in zip(patterns.unstack(batch, lengths), rows, strict=True))
    flat, lengths = patterns.stack([array([1, 2]), array([3])], 0)
    assert flat.tolist() == [[1, 2], [3, 0]] and lengths == [2, 1]


@pytest.mark.parametrize("seed", range(20))
def test_any_change_to_the_corners_or_padding_inside_is_refused(array, seed):
    random = np.random.default_rng(seed)
    pattern = np.array(patterns.delay(random.integers(0, 9, (4, 12)), pad=9))
    book, step = random.integers(0, 4), random.integers(0, 15)
    inside = book <= step < book + 12
    pattern[book, step] = 9 if inside else 3
    with pytest.raises(PatternError, match=f"row {book}"):
        patterns.undelay(array(pattern), 9)


def test_a_sampled_pattern_is_repaired_up_to_the_first_hole(array):
    pattern = patterns.delay(array(np.arange(12).reshape(2, 6)), pad=99)
    assert equal(patterns.repair(pattern, 99), pattern)
    pattern[1, 4] = 99  # Frame 3's finer code.
    pattern[1, 0] = 5  # A code in the corner.
    kept = patterns.undelay(patterns.repair(pattern, 99), 99)
    assert kept.tolist() == [[0, 1, 2], [6, 7, 8]]
    nothing = patterns.repair(array(np.full((2, 1), 99)), 99)
    assert tuple(patterns.undelay(nothing, 99).shape) == (2, 0)


@pytest.mark.parametrize("shape", [(3,), (0, 5), (2, 0, 5), (1, 2, 3, 4)])
def test_other_shapes_are_refused(array, shape):
    codes = array(np.zeros(shape, np.int64))
    for call in (lambda: patterns.delay(codes, 9), lambda: patterns.undelay(codes, 9), lambda: patterns.flatten(codes, SIZES)):
        with pytest.raises(PatternError, match=r"\[K, T\]"):
            call()


def test_other_types_are_refused(array):
    for codes in (array([[0.0, np.nan]], "float32"), array([[True]], "bool")):
        with pytest.raises(PatternError, match="whole numbers"):
            patterns.delay(codes, 9)
    with pytest.raises(PatternError, match="not list"):
        patterns.flatten([[1, 2]], SIZES)


def test_what_does_not_fit_is_refused(array):
    codes = array([[1, 2], [3, 4]])
    refused = {
        "hold 3": lambda: patterns.delay(codes, 3),
        "as many delays": lambda: patterns.delay(codes, 9, (0,)),
        "not \\[0, -1\\]": lambda: patterns.delay(codes, 9, (0, -1)),
        "fewer than the longest delay": lambda: patterns.undelay(codes, 9, (0, 3)),
        "book 0 must be 0 to 1": lambda: patterns.flatten(codes, (2, 8)),
        "sizes of as many": lambda: patterns.flatten(codes, (8,)),
        "no whole frames of 4": lambda: patterns.unflatten(array([1, 2, 3]), SIZES),
        "must be of book 1": lambda: patterns.unflatten(array([1, 2]), SIZES, 2),
        "one type and shape": lambda: patterns.stack([codes, codes[:1]], 9),
        "at least one row": lambda: patterns.stack([], 9),
        "int8 does not hold 1024": lambda: patterns.delay(array([[1]], "int8"), 1024),
        "int16 does not hold": lambda: patterns.flatten(array([[1], [1]], "int16"), (32000, 32000)),
    }
    for words, call in refused.items():
        with pytest.raises(PatternError, match=words):
            call()


def test_patterns_work_without_pytorch():
    program = "import sys, numpy, parlo.patterns as p; p.delay(numpy.zeros((2, 3), int), 9); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
