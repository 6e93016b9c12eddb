"""Evaluation: options, the course with a bench of a few lines, what is kept and what is written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

for package in ("onnxruntime", "safetensors", "soundfile", "soxr"):
    pytest.importorskip(package)

from parlo_training import evaluate
from parlo_training.bundle import BundleCodec
from parlo_training.errors import UserError
from support import BUNDLES, CLIP, options, scores

# A bench that "measures" how often it was run, and keeps rows as the real one does.
SCORER = """
import csv, pathlib, sys
SETS = {"core": ["estoi", "spk"], "quick": ["estoi"]}
if __name__ == "__main__":
    words = sys.argv[1:]
    after = lambda name: words[words.index(name) + 1]
    folders = words[words.index("--deg") + 1 : words.index("--bitrate")]
    codecs = [pathlib.Path(folder).name for folder in folders]
    stems = [pathlib.Path(line).stem for line in pathlib.Path(after("--list")).read_text().split()]
    out, count = pathlib.Path(after("--out")), pathlib.Path(__file__).with_name("count")
    count.write_text(str(int(count.read_text()) + 1 if count.exists() else 1))
    rows = list(csv.DictReader(open(out))) if out.exists() else []
    done = {(row["codec"], row["stem"]) for row in rows}
    for codec in codecs:
        for stem in stems:
            if (codec, stem) not in done:
                rows.append(dict(codec=codec, stem=stem, speaker="a", kbps=1, seconds=1, lag_ms=0))
                rows[-1].update({name: count.read_text() for name in SETS[after("--metrics")]})
    with open(out, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[-1]), restval="")
        writer.writeheader()
        writer.writerows(rows)
"""


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder that stands for the repository's, with a bench and half a second of speech."""
    import soundfile

    bench, heldout = tmp_path / "bench", tmp_path / "speech/heldout/source/voice"
    (bench / "peers").mkdir(parents=True)
    heldout.mkdir(parents=True)
    (bench / "score.py").write_text(SCORER)
    (bench / "heldout.txt").write_text("source/voice/clip-0.flac\n")
    evaluate.write_rows(bench / "peers/scores.csv", scores("opus-6", "5.6", estoi=[0.8], spk=[0.9]))
    audio, rate = soundfile.read(CLIP)
    soundfile.write(heldout / "clip-0.flac", audio[rate : rate * 3 // 2], rate)
    monkeypatch.setattr(evaluate, "ROOT", tmp_path)
    return tmp_path


def parsed(*words: object):
    where = () if "--bench" in words else ("--bench", "bench", "--speech", "speech")
    return options(evaluate, "--bundle", BUNDLES[0], *where, *words)


def at(place: Path, *words: object):
    """Options for an evaluation of one depth with that bench."""
    return parsed("--bench", place / "bench", "--speech", place / "speech", "--decoded",
                  place / "decoded", "--depths", 3, *words)


def test_options():
    args = parsed("--depths", "6,3,3", "--quick")
    assert (args.depths, args.metrics, args.beam) == ((3, 6), "quick", 4)
    assert parsed().depths == (1, 2, 3, 4, 6, 8, 12) and parsed().metrics == "core"
    for words in (["--depths", "0"], ["--depths", "a"], ["--clips", "0"]):
        with pytest.raises(SystemExit):
            parsed(*words)


def test_what_is_missing_is_named_with_its_option(tmp_path):
    bench, speech = tmp_path / "bench", tmp_path / "speech"
    args = parsed("--bench", bench, "--speech", speech)
    with pytest.raises(UserError, match=f"no folder {bench}; .* --bench DIR"):
        evaluate.run(args)
    (bench / "peers").mkdir(parents=True)
    for name in ("score.py", "heldout.txt"):
        (bench / name).touch()
    with pytest.raises(UserError, match=f"{bench} has no peers/scores.csv; .* --bench DIR"):
        evaluate.run(args)
    (bench / "peers/scores.csv").touch()
    with pytest.raises(UserError, match=f"no folder {speech}; .* --speech DIR"):
        evaluate.run(args)


def test_only_a_whole_evaluation_goes_to_the_documentation():
    for words in ([], ["--metrics", "all"], ["--depths", "3"]):
        assert evaluate.destination(parsed(*words)).parts[-2:] == ("docs", "quality")
    for words in (["--quick"], ["--clips", "4"], ["--metrics", "pesq,estoi"]):
        assert evaluate.destination(parsed(*words)) is None
        assert evaluate.destination(parsed(*words, "--out", "there")) == Path("there")


@pytest.mark.parametrize("words", [["--quick"], ["--clips", "1"]])
def test_a_quick_look_prints_the_table_and_leaves_the_documentation_as_it_is(place, capsys, words):
    assert evaluate.run(at(place, *words)) == 0
    assert "| **parlo-3** |" in capsys.readouterr().out
    assert not (place / "docs").exists()


def test_another_bundle_is_compared_in_table_and_plot_alone(place):
    for package in ("matplotlib", "PIL"):
        pytest.importorskip(package)
    words = ["--compare", BUNDLES[-1], "--out", place / "out"]
    assert evaluate.run(at(place, *words)) == 0
    other = f"{BundleCodec(BUNDLES[-1]).name}-3"
    assert {row["codec"] for row in evaluate.read_rows(place / "out/scores.csv")} == {"parlo-3"}
    text = (place / "out/scores.md").read_text(encoding="utf-8")
    assert f"| {other} |" in text and "| **parlo-3** |" in text
    found = sorted(path.name for path in (place / "out").iterdir())
    assert found == ["quality.png", "scores.csv", "scores.md", "sheet-1.png"]


def test_all_lists_that_the_bench_has_are_measured(place, tmp_path):
    for package in ("matplotlib", "PIL"):
        pytest.importorskip(package)
    import json
    import shutil as files

    heldout = place / "speech/heldout"
    (heldout / "noisy").mkdir()
    files.copy(heldout / "source/voice/clip-0.flac", heldout / "noisy/noisy-0.flac")
    (place / "bench/noisy.txt").write_text("noisy/noisy-0.flac\n")
    recorded = scores("lyra2-6.0", "6", estoi=[0.7], spk=[0.9])
    recorded[0]["stem"] = "noisy-0"
    evaluate.write_rows(place / "bench/peers/scores-noisy.csv", recorded)
    words = ["--depths", "2,3", "--out", place / "out", "--report", place / "report.json"]
    args = parsed("--bench", place / "bench", "--speech", place / "speech", "--decoded",
                  place / "decoded", *words)
    assert evaluate.run(args) == 0
    text = (place / "out/scores.md").read_text(encoding="utf-8")
    assert "## Clean speech" in text and "## Speech in noise" in text
    assert "Two talkers at once" not in text
    noisy = text.split("## Speech in noise")[1]
    assert "| **parlo-3** |" in noisy and "parlo-2" not in noisy and "| lyra2-6.0 |" in noisy
    figures = json.loads((place / "report.json").read_text())
    assert figures.keys() >= {"clean_estoi_2", "clean_estoi_3", "noisy_spk_3", "clean_coded_kbps_3"}
    # what ships squeezes codes: by how much is measured, not guessed
    assert 0.4 < figures["clean_coded_kbps_3"] < 1.5 < figures["clean_coded_kbps_3"] * 4
    rows = evaluate.read_rows(place / "out/scores-noisy.csv")
    assert [row["stem"] for row in rows] == ["noisy-0"]
    with pytest.raises(UserError, match="none of the lists talkers"):
        evaluate.run(at(place, "--lists", "talkers"))


def test_a_bundle_that_is_named_as_another_codec_is_not_compared(place):
    named = place / "named"
    shutil.copytree(BUNDLES[0], named)
    manifest, own = named / "manifest.toml", f'name = "{BundleCodec(named).name}"'
    text = manifest.read_text()
    for name in ("parlo", "opus"):
        manifest.write_text(text.replace(own, f'name = "{name}"'))
        with pytest.raises(UserError, match=f"both are named {name};"):
            evaluate.run(at(place, "--compare", named))


def test_rows_are_kept_only_if_the_same_metrics_were_measured_alike(place):
    args, folder = at(place), place / "decoded/work"
    (folder / "parlo-3").mkdir(parents=True)

    def runs() -> list[str]:
        """In which run of the scorer each row was measured."""
        clips = [Path("clip-0.flac")]
        rows = evaluate.score({"parlo-3": 1.5, "parlo-6": 3.0}, "clean", clips, args, folder)
        return [row["estoi"] for row in rows]

    assert runs() == runs() == ["1", "1"]
    scorer = place / "bench/score.py"
    scorer.write_text(SCORER.replace('["estoi", "spk"]', '["estoi", "spk", "per"]'))
    assert runs() == runs() == ["3", "3"]
    scorer.write_text(SCORER)
    (folder / "metrics-core-clean-1.json").unlink()  # scores of whose origin nothing is known
    assert runs() == ["5", "5"]


def test_metrics_that_could_not_be_measured_are_tried_again(place, capsys):
    args, folder = at(place, "--quick"), place / "decoded/work"
    folder.mkdir(parents=True)
    lacking = SCORER.replace('for name in SETS[after("--metrics")]', "for name in ()")
    (place / "bench/score.py").write_text(lacking)
    evaluate.score({"parlo-3": 1.5}, "clean", [Path("clip-0.flac")], args, folder)
    assert "not measured: estoi" in capsys.readouterr().err
    assert not (folder / "metrics-quick-clean-1.json").exists()


def test_quick_scores_do_not_replace_others(place):
    folder = place / "decoded/work"
    folder.mkdir(parents=True)
    for words, run in (([], "1"), (["--quick"], "2"), ([], "1"), (["--quick"], "2")):
        clips, args = [Path("clip-0.flac")], at(place, *words)
        rows = evaluate.score({"parlo-3": 1.5}, "clean", clips, args, folder)
        assert [row["estoi"] for row in rows] == [run]


def test_rows_are_written_as_they_were_read(tmp_path):
    rows = scores("parlo-3", "1.5", estoi=[0.71234, 0.5])
    evaluate.write_rows(tmp_path / "scores.csv", rows)
    assert evaluate.read_rows(tmp_path / "scores.csv") == rows


def test_panels_say_which_rate_and_are_not_late(place):
    import numpy as np
    import soundfile

    clip, rate = place / "speech/heldout/source/voice/clip-0.flac", 16000
    audio = evaluate.load(clip, rate)
    rows = scores("parlo-3", "1.5", estoi=[1]) + scores("opusnolace-6", "5.565", estoi=[1])
    for row, lag in zip(rows, (10, 0)):
        folder = place / "decoded" / row["codec"]
        folder.mkdir(parents=True)
        row["lag_ms"] = str(lag)
        late = np.concatenate([np.zeros(lag * rate // 1000), audio])
        soundfile.write(folder / "clip-0.flac", late, rate)
    rows += scores("first-3", "1.5", estoi=[1])
    sources = [(place / "decoded", inner, codec) for inner, codec in (
        ("parlo-3", "parlo-3"), ("parlo-3", "first-3"), ("opusnolace-6", "opusnolace-6"),
        ("lyra2-6.0", "lyra2-6.0"),
    )]
    rows[-1]["lag_ms"] = "10"
    panels = evaluate.sheet_panels(clip, rows, sources, rate)
    assert [title for title, _ in panels] == [
        "original", "parlo-3, 1.5 kbps raw", "first-3, 1.5 kbps real", "opusnolace-6, 5.6 kbps real",
    ]
    assert all(np.allclose(heard, audio, atol=1e-4) for _, heard in panels)
