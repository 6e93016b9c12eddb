"""What is said of scores: verdicts, tables, the report."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from parlo_training import report
from support import scores


def test_a_figure_that_ties_only_when_rounded_is_not_held():
    rows = scores("parlo-12", "6.0", estoi=[0.84999, 0.84998], per=[20.02, 20.03])
    rows += scores("opusnolace-6", "5.565", estoi=[0.85, 0.85], per=[20.0, 20.0])
    for metric in ("estoi", "per"):
        verdict = report.compare(rows, "parlo-12", "opusnolace-6", metric)
        assert not verdict.held
        assert "not held" in str(verdict)
    assert report.compare(rows, "parlo-12", "opusnolace-6", "estoi").shown() == ("0.849", "0.850")
    assert report.compare(rows, "parlo-12", "opusnolace-6", "per").shown() == ("20.1", "20.0")


def test_what_is_shown_never_contradicts_the_verdict():
    random = np.random.default_rng(2)
    for metric in report.METRICS:
        for _ in range(200):
            theirs = float(random.uniform(0, 5))
            ours = theirs + float(random.choice([-1, 0, 1])) * 10.0 ** -float(random.integers(1, 9))
            verdict = report.Verdict(metric, ours, theirs)
            a, b = map(float, verdict.shown())
            assert report.METRICS[metric].no_worse(a, b) == verdict.held
            assert report.METRICS[metric].no_worse(ours, a)


def test_equal_figures_are_held():
    rows = scores("parlo-6", "3.0", mel_db=[1.1, 1.3]) + scores("lyra2-6.0", "6", mel_db=[1.3, 1.1])
    assert str(report.compare(rows, "parlo-6", "lyra2-6.0", "mel_db")) == "1.20 / 1.20 held"


def test_a_clip_that_we_have_no_figure_for_counts_against_us():
    rows = scores("parlo-6", "3.0", estoi=[0.9, ""]) + scores("lyra2-6.0", "6", estoi=[0.1, 0.1])
    assert not report.compare(rows, "parlo-6", "lyra2-6.0", "estoi").held
    assert "(1 of 2 clips)" in report.means_table(rows)
    assert report.compare(rows, "parlo-6", "lyra2-6.0", "per") is None


def test_the_report_has_all_codecs_by_bitrate_and_all_bars():
    ours = scores("parlo-3", "1.5", estoi=[0.7], mel_db=[1.5], coded_kbps=[1.2])
    ours += scores("parlo-6", "3.0", estoi=[0.85], mel_db=[1.6])
    peers = scores("lyra2-3.2", "3.2", estoi=[0.7], mel_db=[1.4])
    peers += scores("codec2-1.3", "1.3", estoi=[0.6], mel_db=[1.5])
    peers += scores("original", "", estoi=[1.0], mel_db=[0.0])
    text = report.report({"clean": (ours, peers)}, "About.")
    bars, table, deeper = (part for part in text.split("\n\n") if part.startswith("| "))
    names = [line.split(" | ")[0].strip("|* ") for line in table.splitlines()[2:]]
    assert names == ["codec2-1.3", "parlo-3", "parlo-6", "lyra2-3.2", "original"]
    assert "| **parlo-3** | **1.5** | **1.20** | **0.700** | **1.50** |" in table
    assert "| original | - |  | 1.000 | 0.00 |" in table
    lines = {tuple(line.strip("| ").split(" | ")[:2]): line for line in bars.splitlines()}
    three, six, twelve = (lines["clean: ESTOI", depth] for depth in ("3", "6", "12"))
    assert "| **0.700** | 0.77 | 0.8 | **under the floor** | 0.700 (lyra2-3.2, 3.2 kbps) |" in three
    assert "| **0.850** | 0.84 | 0.86 | floor | not measured |" in six
    assert "| not measured | 0.875 | 0.9 | - | not measured |" in twelve
    assert "not measured" in lines["noisy: ESTOI", "6"]
    assert deeper.splitlines()[2] == (
        "| 3 → 6 | 0.850 / 0.700 held | 1.60 / 1.50 **not held** | mel_db 1.60 / 1.50 | 1 of 2 |"
    )


def test_another_bundle_of_parlo_is_one_of_the_others():
    ours = scores("parlo-6", "3.0", estoi=[0.80001])
    old = scores("parlo-24k-first-6", "3.0", estoi=[0.70001])
    text = report.report({"clean": (ours, old)}, "About.")
    assert "| **parlo-6** | **3.0** |  | **0.800** |" in text
    assert "| parlo-24k-first-6 | 3.0 |  | 0.700 |" in text
    assert report.family_of("parlo-24k-first-6") == "parlo-24k-first"
    rows = ours + scores("parlo-24k-first-6", "3.0", per=[20])
    assert report.measured(rows, ["estoi", "per"]) == ["estoi"]


def test_the_heading_names_both_bundles():
    bundles = [SimpleNamespace(name=name, identity=name * 2, beam=4) for name in ("new", "old")]
    rows = scores("parlo-6", "3.0", estoi=[0.8, 0.8])
    alone, both = (report.heading(bundles[0], rows, "core", old) for old in (None, bundles[1]))
    assert "`new`, identity `newnew`" in alone and "2 held-out clips, 4 s; metrics: `core`" in alone
    assert both.startswith(alone) and "`old-K`" in both and "`oldold`" in both
