"""Evaluation: bundles run frame by frame, and what is said of their scores."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("safetensors")

from parlo_training import evaluate
from parlo_training.bundle import BundleCodec, BundleError, beam_search
from parlo_training.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
BUNDLES = sorted(path.parent for path in ROOT.glob("model/bundles/*/manifest.toml"))


@pytest.fixture(scope="module", params=BUNDLES, ids=lambda folder: folder.name)
def codec(request):
    return BundleCodec(request.param)


@pytest.fixture(scope="module")
def speech(codec):
    """The first second of the clip that ships, at the bundle's rate."""
    pytest.importorskip("soxr")
    return evaluate.load(ROOT / "assets/speech.flac", codec.sample_rate)[: codec.sample_rate]


@pytest.fixture(scope="module")
def latents(codec, speech):
    return codec.latents(speech)


# Bundles.


def test_latents_are_one_a_frame_and_those_that_flush_the_decoder(codec, speech, latents):
    flush = -(-codec.delay_samples // codec.frame_samples)
    dimension = codec.manifest["quantizer"]["dimension"]
    frames = len(speech) // codec.frame_samples
    assert latents.shape == (frames + flush, dimension)
    longer = np.concatenate([speech, np.ones(1, np.float32)])
    assert codec.latents(longer).shape == (frames + 1 + flush, dimension)


def test_latents_do_not_depend_on_what_follows(codec, speech, latents):
    half = len(speech) // codec.frame_samples // 2
    alone = codec.latents(speech[: half * codec.frame_samples])
    assert np.array_equal(alone[:half], latents[:half])


def test_audio_is_as_long_as_the_original_and_not_late(codec, speech):
    deepest = codec.max_depth
    heard = codec.process(speech, [1, deepest])
    assert [audio.shape for audio in heard.values()] == [speech.shape] * 2
    # The loudness of the two must rise and fall together, and best so without a shift.
    step = codec.sample_rate // 200

    def loudness(audio):
        frames = audio[: len(audio) // step * step].reshape(-1, step)
        return np.log10(np.square(frames).mean(1) + 1e-6)

    a, b = loudness(speech), loudness(heard[deepest])
    match = {late: np.corrcoef(a[10:-10], np.roll(b, -late)[10:-10])[0, 1] for late in range(-8, 9)}
    assert abs(max(match, key=match.get)) <= 1 and match[0] > 0.8


def test_a_beam_of_one_is_the_greedy_walk(codec, latents):
    expected = np.zeros((len(latents), codec.max_depth), int)
    for frame, latent in enumerate(latents):
        left = latent.copy()
        for stage, book in enumerate(codec.books):
            expected[frame, stage] = ((book - left) ** 2).sum(1).argmin()
            left -= book[expected[frame, stage]]
    found = list(beam_search(latents, codec.books, 1))
    # Entries that are equally near but for rounding may change places.
    assert (found[-1] == expected).all(1).mean() > 0.98
    assert all(np.array_equal(found[k], found[-1][:, : k + 1]) for k in range(codec.max_depth))


def test_a_wider_beam_leaves_less_error_at_every_depth(codec, latents):
    def errors(beam):
        found = beam_search(latents, codec.books, beam)
        return [np.square(codec.dequantize(codes) - latents).sum() for codes in found]

    greedy, beam = errors(1), errors(4)
    assert beam[0] == greedy[0]
    assert all(ours <= theirs for ours, theirs in zip(beam, greedy))
    assert beam[-1] < 0.99 * greedy[-1]
    assert all(deeper < before for before, deeper in zip(beam, beam[1:]))


def test_one_search_finds_what_a_search_for_each_depth_finds(codec, latents):
    depths = range(1, codec.max_depth + 1)
    together = codec.codes(latents, depths)
    for depth in depths:
        assert together[depth].shape == (len(latents), depth)
        assert np.array_equal(together[depth], codec.codes(latents, [depth])[depth])


def test_the_search_does_not_depend_on_how_many_frames_it_sees_at_once(codec, latents):
    many = np.tile(latents, (4, 1))
    together = codec.codes(many, [3])[3]
    assert (together == np.tile(codec.codes(latents, [3])[3], (4, 1))).all(1).mean() > 0.98


def test_a_wide_beam_finds_the_best_there_is():
    random = np.random.default_rng(1)
    books = [random.normal(size=(5, 4)).astype(np.float32) for _ in range(2)]
    latents = random.normal(size=(100, 4)).astype(np.float32)
    best = list(beam_search(latents, books, 5))[-1]
    left = latents - books[0][best[:, 0]] - books[1][best[:, 1]]
    sums = (books[0][:, None] + books[1]).reshape(-1, 4)
    least = np.square(latents[:, None] - sums).sum(2).min(1)
    assert np.allclose(np.square(left).sum(1), least, atol=1e-5)


def test_deeper_latents_are_prefix_sums(codec, latents):
    codes = codec.codes(latents, [codec.max_depth])[codec.max_depth]
    total = np.zeros_like(latents)
    for stage, book in enumerate(codec.books):
        total += book[codes[:, stage]]
        assert np.array_equal(codec.dequantize(codes[:, : stage + 1]), total)


def test_a_depth_that_is_not_there_is_refused(codec, latents):
    for depth in (0, codec.max_depth + 1):
        with pytest.raises(BundleError, match=f"depth {depth} is not possible"):
            codec.codes(latents, [depth])


def test_a_bundle_that_is_not_whole_is_refused_by_name(tmp_path):
    folder = tmp_path / "bundle"
    with pytest.raises(BundleError, match="manifest.toml"):
        BundleCodec(folder)
    shutil.copytree(BUNDLES[0], folder)
    with open(folder / "decoder.onnx", "ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match="decoder.onnx is not as"):
        BundleCodec(folder)


# Tables.


def scores(codec: str, kbps: str, **metrics: list[float]) -> evaluate.Rows:
    """Rows of a codec: one a clip, as many as each metric has values."""
    count = len(next(iter(metrics.values())))
    return [
        {"codec": codec, "stem": f"clip-{clip}", "speaker": "a", "kbps": kbps, "seconds": "2",
         "lag_ms": "0", **{name: str(values[clip]) for name, values in metrics.items()}}
        for clip in range(count)
    ]


def test_a_figure_that_ties_only_when_rounded_is_not_held():
    rows = scores("parlo-12", "6.0", estoi=[0.84999, 0.84998], per=[20.02, 20.03])
    rows += scores("opusnolace-6", "5.565", estoi=[0.85, 0.85], per=[20.0, 20.0])
    for metric in ("estoi", "per"):
        verdict = evaluate.compare(rows, "parlo-12", "opusnolace-6", metric)
        assert not verdict.held
        assert "not held" in str(verdict)
    assert evaluate.compare(rows, "parlo-12", "opusnolace-6", "estoi").shown() == ("0.849", "0.850")
    assert evaluate.compare(rows, "parlo-12", "opusnolace-6", "per").shown() == ("20.1", "20.0")


def test_what_is_shown_never_contradicts_the_verdict():
    random = np.random.default_rng(2)
    for metric in evaluate.METRICS:
        for _ in range(200):
            theirs = float(random.uniform(0, 5))
            ours = theirs + float(random.choice([-1, 0, 1])) * 10.0 ** -float(random.integers(1, 9))
            verdict = evaluate.Verdict(metric, ours, theirs)
            a, b = map(float, verdict.shown())
            assert evaluate.METRICS[metric].no_worse(a, b) == verdict.held
            assert evaluate.METRICS[metric].no_worse(ours, a)


def test_equal_figures_are_held():
    rows = scores("parlo-6", "3.0", mel_db=[1.1, 1.3]) + scores("lyra2-6.0", "6", mel_db=[1.3, 1.1])
    assert str(evaluate.compare(rows, "parlo-6", "lyra2-6.0", "mel_db")) == "1.20 / 1.20 held"


def test_a_clip_that_we_have_no_figure_for_counts_against_us():
    rows = scores("parlo-6", "3.0", estoi=[0.9, ""]) + scores("lyra2-6.0", "6", estoi=[0.1, 0.1])
    assert not evaluate.compare(rows, "parlo-6", "lyra2-6.0", "estoi").held
    assert "(1 of 2 clips)" in evaluate.means_table(rows)
    assert evaluate.compare(rows, "parlo-6", "lyra2-6.0", "per") is None


def test_the_report_has_all_codecs_by_bitrate_and_all_bars():
    ours = scores("parlo-3", "1.5", estoi=[0.7], mel_db=[1.5])
    ours += scores("parlo-6", "3.0", estoi=[0.8], mel_db=[1.6])
    peers = scores("lyra2-3.2", "3.2", estoi=[0.7], mel_db=[1.4])
    peers += scores("codec2-1.3", "1.3", estoi=[0.6], mel_db=[1.5])
    peers += scores("original", "", estoi=[1.0], mel_db=[0.0])
    text = evaluate.report(ours, peers, "About.")
    table, bars, deeper = (part for part in text.split("\n\n") if part.startswith("| "))
    names = [line.split(" | ")[0].strip("|* ") for line in table.splitlines()[2:]]
    assert names == ["codec2-1.3", "parlo-3", "parlo-6", "lyra2-3.2", "original"]
    assert "| **parlo-3** | **1.5** | **0.700** | **1.50** |" in table
    assert "| original | - | 1.000 | 0.00 |" in table
    lines = {line.split(" | ")[2]: line for line in bars.splitlines()}
    assert "0.700 / 0.600 held" in lines["codec2-1.3 (floor)"]
    assert lines["codec2-1.3 (floor)"].endswith("| 2 of 5 |")
    assert "1.50 / 1.40 **not held**" in lines["lyra2-3.2 (aim)"]
    assert lines["opusnolace-6 (floor)"].count("not measured") == 5
    assert deeper.splitlines()[2] == (
        "| 3 → 6 | 0.800 / 0.700 held | 1.60 / 1.50 **not held** | mel_db 1.60 / 1.50 | 1 of 2 |"
    )


def test_rows_are_written_as_they_were_read(tmp_path):
    rows = scores("parlo-3", "1.5", estoi=[0.71234, 0.5])
    evaluate.write_rows(tmp_path / "scores.csv", rows)
    assert evaluate.read_rows(tmp_path / "scores.csv") == rows


# Pictures.


def test_sheets_show_all_sources_and_other_voices_first():
    names = ["a/x/1", "a/x/2", "a/y/1", "b/z/1", "b/z/2", "a/v/1", "a/w/1"]
    chosen = evaluate.spread([Path(name) for name in names], 6)
    assert [path.as_posix() for path in chosen] == [
        "a/x/1", "b/z/1", "a/y/1", "b/z/2", "a/v/1", "a/w/1",
    ]


def test_the_busiest_part_is_found():
    rate = evaluate.SHEET_RATE
    audio = np.zeros(10 * rate, np.float32)
    audio[0 : rate // 2] = audio[5 * rate : 7 * rate] = 0.1
    start = evaluate.busiest(audio)
    assert 4 * rate <= start <= 5 * rate
    assert evaluate.busiest(audio[:rate]) == 0


def test_pictures_are_small(tmp_path):
    pytest.importorskip("matplotlib")
    Image = pytest.importorskip("PIL.Image")
    rows = scores("parlo-3", "1.5", estoi=[0.7], pesq=[2]) + scores("new-9", "9", estoi=[0.8])
    evaluate.plot(rows, tmp_path / "plot.png")
    noise = np.random.default_rng(3).normal(size=3 * evaluate.SHEET_RATE)
    evaluate.sheet([("noise", noise)] * 8, "clip", tmp_path / "sheet.png")
    for name, most in (("plot", 200), ("sheet", 300)):
        assert (tmp_path / f"{name}.png").stat().st_size < most * 1024
        assert Image.open(tmp_path / f"{name}.png").mode == "P"


# Options.


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    return parser.parse_args(["--bundle", str(BUNDLES[0]), *words])


def test_options():
    args = parsed("--depths", "6,3,3", "--quick")
    assert (args.depths, args.metrics, args.beam) == ((3, 6), "quick", 4)
    assert parsed().depths == (1, 2, 3, 4, 6, 8, 12) and parsed().metrics == "core"
    for words in (["--depths", "0"], ["--depths", "a"], ["--clips", "0"]):
        with pytest.raises(SystemExit):
            parsed(*words)


def test_what_is_missing_is_named_with_its_option(tmp_path):
    bench, speech = tmp_path / "bench", tmp_path / "speech"
    args = parsed("--bench", str(bench), "--speech", str(speech))
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
