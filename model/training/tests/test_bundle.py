"""Bundles run frame by frame, and the search for codes."""

from __future__ import annotations

import shutil
import tomllib

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("safetensors")

from parlo_training import evaluate
from parlo_training.bundle import UNKNOWN, BundleCodec, BundleError, beam_search, with_tokens
from support import BUNDLES, CLIP, first_format


@pytest.fixture(scope="module", params=BUNDLES, ids=lambda folder: folder.name)
def codec(request):
    return BundleCodec(request.param)


@pytest.fixture(scope="module")
def speech(codec):
    """The first second of the clip that ships, at the bundle's rate."""
    pytest.importorskip("soxr")
    return evaluate.load(CLIP, codec.sample_rate)[: codec.sample_rate]


@pytest.fixture(scope="module")
def latents(codec, speech):
    return codec.latents(speech)


def test_latents_are_one_a_frame_and_those_that_flush_the_decoder(codec, speech, latents):
    flush = -(-codec.delay_samples // codec.frame_samples)
    dimension = codec.manifest["quantizer"]["dimension"]
    frames = len(speech) // codec.frame_samples
    assert latents.shape == (frames + flush, dimension)
    longer = np.concatenate([speech, np.ones(1, np.float32)])
    assert codec.latents(longer).shape == (frames + 1 + flush, dimension)


def test_frames_may_be_run_one_by_one_or_many_at_once(codec, speech, latents, monkeypatch):
    codes = codec.codes(latents, [codec.max_depth])[codec.max_depth]
    audio = codec.decode(codes)
    for at_once in (1, 3, 7):
        monkeypatch.setattr(codec, "at_once", at_once)
        assert np.abs(codec.latents(speech) - latents).max() < 1e-4
        assert np.abs(codec.decode(codes) - audio).max() < 1e-4
    frame = codec._decoder.run  # how many frames each run brings
    brought = []
    monkeypatch.setattr(codec._decoder, "run", lambda values: (
        brought.append(len(values["latent"])) or frame(values)
    ))
    codec.decode(codes[:10])
    assert brought == ([7, 3] if codec._decoder.takes_many else [1] * 10)


def test_latents_do_not_depend_on_what_follows(codec, speech, latents):
    half = len(speech) // codec.frame_samples // 2
    alone = codec.latents(speech[: half * codec.frame_samples])
    # not bit by bit: the last run is of fewer frames, whose sums end elsewhere
    assert np.abs(alone[:half] - latents[:half]).max() < 1e-4


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


# What a manifest of format 2 claims.


@pytest.fixture
def newer(tmp_path):
    """A bundle of format 2 that serves one of format 1, with that one's graphs."""
    first = first_format(BUNDLES[0], tmp_path / "first")
    folder = tmp_path / "newer"
    shutil.copytree(first, folder)
    text = (folder / "manifest.toml").read_text()
    earlier = BundleCodec(first)
    (folder / "first.toml").write_text(text)
    for part, delay in (("encoder", 0), ("decoder", earlier.delay_samples)):
        file = f'file = "{part}.onnx"\n'
        sha256 = earlier.manifest["files"][f"{part}.onnx"]["sha256"]
        text = text.replace(file, f'{file}sha256 = "{sha256}"\ndelay_samples = {delay}\n')
    text = text.replace(f"[audio]\ndelay_samples = {earlier.delay_samples}\n", "[audio]\n")
    text = text.replace(f"\ndelay_samples = {earlier.delay_samples}\n\n", "\n\n")
    tokens = f'[tokens]\nid = "{UNKNOWN}"\nserves = ["{earlier.identity}"]\n\n[audio]\n'
    text = text.replace("format = 1", "format = 2").replace("[audio]\n", tokens)
    text += f'"first.toml" = {{ bytes = {len((folder / "first.toml").read_bytes())}, sha256 = "{earlier.identity}" }}\n'
    (folder / "manifest.toml").write_text(with_tokens(text))
    return folder


def test_a_newer_bundle_has_the_tokens_of_the_one_that_it_serves(newer):
    bundle, first = BundleCodec(newer), BundleCodec(newer.with_name("first"))
    assert bundle.tokens == first.tokens == first.identity != bundle.identity
    assert len(bundle.identities) == 2 and bundle.delay_samples == first.delay_samples


@pytest.mark.parametrize(("what", "harm", "said"), [
    ("another identity", lambda text, own, first: text.replace(own, "0" * 64), "tokens that are not its own"),
    ("another rate", lambda text, *_: text.replace("sample_rate = 16000", "sample_rate = 8000"),
     "tokens that are not its own"),
    ("nobody served", lambda text, own, first: text.replace(f'serves = ["{first}"]', f'serves = ["{"0" * 64}"]'),
     "no file under .files. has that hash"),
    ("served twice", lambda text, own, first: text.replace(f'["{first}"]', f'["{first}", "{first}"]'), "twice"),
    ("itself served", lambda text, own, first: text.replace(f'["{first}"]', f'["{first}", "{own}"]'), "twice"),
    ("a graph served", lambda text, own, first: text.replace(
        f'["{first}"]', f'["{tomllib.loads(text)["decoder"]["sha256"]}"]'), "decoder.onnx is not a bundle manifest"),
    ("no tokens", lambda text, own, first: text.replace(f'[tokens]\nid = "{own}"\nserves = ["{first}"]\n', ""),
     "lacks 'tokens'"),
    ("no delay", lambda text, *_: text.replace("delay_samples = 0\n", ""), "lacks 'delay_samples'"),
    ("format 3", lambda text, *_: text.replace("format = 2", "format = 3"), "format 3"),
])
def test_a_claim_that_is_not_so_is_refused(newer, what, harm, said):
    text = (newer / "manifest.toml").read_text()
    own, first = BundleCodec(newer).identities[::-1]
    changed = harm(text, own, first)
    assert changed != text, what
    (newer / "manifest.toml").write_text(changed)
    with pytest.raises(BundleError, match=said):
        BundleCodec(newer)


def test_a_served_bundle_of_other_tokens_is_refused(newer):
    text = (newer / "manifest.toml").read_text()
    own = BundleCodec(newer).identities[1]
    text = text.replace("sample_rate = 16000", "sample_rate = 8000").replace(own, UNKNOWN)
    (newer / "manifest.toml").write_text(with_tokens(text))
    with pytest.raises(BundleError, match="by first.toml that bundle's tokens are others"):
        BundleCodec(newer)
