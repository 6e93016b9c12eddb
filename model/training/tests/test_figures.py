"""Pictures of an evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")

from parlo_training import figures
from support import scores


def test_sheets_show_all_sources_and_other_voices_first():
    names = ["a/x/1", "a/x/2", "a/y/1", "b/z/1", "b/z/2", "a/v/1", "a/w/1"]
    chosen = figures.spread([Path(name) for name in names], 6)
    assert [path.as_posix() for path in chosen] == [
        "a/x/1", "b/z/1", "a/y/1", "b/z/2", "a/v/1", "a/w/1",
    ]


def test_the_busiest_part_is_found():
    rate = figures.SHEET_RATE
    audio = np.zeros(10 * rate, np.float32)
    audio[0 : rate // 2] = audio[5 * rate : 7 * rate] = 0.1
    start = figures.busiest(audio)
    assert 4 * rate <= start <= 5 * rate
    assert figures.busiest(audio[:rate]) == 0


def test_pictures_are_small(tmp_path):
    rows = scores("parlo-3", "1.5", estoi=[0.7], pesq=[2]) + scores("new-9", "9", estoi=[0.8])
    figures.plot(rows, tmp_path / "plot.png", "new")
    noise = np.random.default_rng(3).normal(size=3 * figures.SHEET_RATE)
    figures.sheet([("noise", noise)] * 8, "clip", tmp_path / "sheet.png")
    for name in ("plot", "sheet"):
        assert (tmp_path / f"{name}.png").stat().st_size < 200 * 1024
        assert Image.open(tmp_path / f"{name}.png").mode == "P"


def test_the_compared_bundle_has_a_thin_line_of_our_colour():
    ours, old, other = (figures.line_style(name, "old") for name in ("parlo", "old", "lyra2"))
    assert old["linewidth"] < other["linewidth"] < ours["linewidth"]
    assert old["color"] == ours["color"] != other["color"]
    assert old["label"] == "old"
