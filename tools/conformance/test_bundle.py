"""The models that ship, run a second time by an independent hand."""

import copy
import hashlib
import shutil
import tomllib

import numpy as np
import pytest
import soundfile
from pystoi import stoi

from conftest import BUNDLES, CLIP
from ptk import TokenFile, pack
from reference import Bundle, first, newer, shared

# Half a step of 16-bit samples, and what two ways of running the same graph may differ by.
CLOSE = 0.5 / 32768 + 1e-4


def test_there_is_a_bundle():
    assert BUNDLES


def test_every_file_has_the_length_and_hash_that_the_manifest_states(bundle):
    parts = [part for part in ("encoder", "quantizer", "decoder", "entropy") if part in bundle.manifest]
    used = {bundle.manifest[part]["file"] for part in parts}
    assert used <= bundle.manifest["files"].keys()
    for name, stated in bundle.manifest["files"].items():
        data = (bundle.folder / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (stated["bytes"], stated["sha256"]), name


def test_the_tokens_identity_is_that_of_what_two_sides_must_share(bundle):
    if bundle.manifest["format"] == 1:
        assert bundle.tokens == bundle.id
        return
    stated, files = bundle.manifest["tokens"], bundle.manifest["files"]
    assert stated["id"] == hashlib.sha256(shared(bundle.manifest).encode()).hexdigest()
    for served in stated.get("serves", []):
        (name,) = [name for name, file in files.items() if file["sha256"] == served]
        earlier = tomllib.loads((bundle.folder / name).read_text())
        assert earlier["format"] == 1 and shared(earlier) == shared(bundle.manifest)


@pytest.fixture(scope="module")
def decoders(bundle, tmp_path_factory):
    """A bundle of the first format, and one with a newer decoder that serves it."""
    folder = tmp_path_factory.mktemp("decoders")
    earlier = first(bundle, folder / "first")
    return earlier, newer(earlier, folder / "newer")


def test_a_newer_decoder_plays_the_files_of_the_first_bundle_and_the_other_way_round(parlo, decoders, clip, tmp_path):
    earlier, later = decoders
    assert later.tokens == earlier.tokens == earlier.id != later.id
    files, heard = [], []
    for encoder in decoders:
        path = tmp_path / f"{len(files)}.ptk"
        parlo.run("encode", "--bundle", encoder.folder, "--depth", 6, clip[0], path)
        files.append(TokenFile.parse(path.read_bytes()))
        for decoder in decoders:
            out = tmp_path / f"{len(heard)}.wav"
            parlo.run("decode", "--bundle", decoder.folder, path, out)
            heard.append(soundfile.read(out, dtype="float32")[0])
    # The encoder is the same, and so is what a file says of its tokens.
    assert files[0].bundle == files[1].bundle == earlier.tokens[:16]
    assert files[0].blocks == files[1].blocks
    assert len(heard) == 4 and all(np.array_equal(one, heard[0]) for one in heard)
    parlo.run("cat", tmp_path / "0.ptk", tmp_path / "1.ptk", "--output", tmp_path / "both.ptk")
    parlo.run("verify", tmp_path / "both.ptk")


@pytest.mark.parametrize("delay", [0, 100, 319, 321, 480, 700])
@pytest.mark.parametrize("samples", [1, 200, 320, 12345])
def test_sound_is_as_long_whatever_the_decoders_delay(parlo, decoders, clip, tmp_path, delay, samples):
    earlier, later = decoders
    other = tmp_path / "other"
    shutil.copytree(later.folder, other)
    text = (other / "manifest.toml").read_text()
    before = f"delay_samples = {later.delay_samples}\n"
    assert text.count(before) == 1
    (other / "manifest.toml").write_text(text.replace(before, f"delay_samples = {delay}\n"))
    soundfile.write(tmp_path / "short.wav", clip[1][:samples], earlier.sample_rate, subtype="PCM_16")
    parlo.run("encode", "--bundle", earlier.folder, tmp_path / "short.wav", tmp_path / "short.ptk")
    parlo.run("decode", "--bundle", other, tmp_path / "short.ptk", tmp_path / "heard.wav")
    heard, _ = soundfile.read(tmp_path / "heard.wav", dtype="float32")
    assert len(heard) == samples
    # It is the same sound, as much later as that decoder says that it is not.
    whole, _ = soundfile.read(_decoded(parlo, earlier, tmp_path), dtype="float32")
    late = delay - earlier.delay_samples
    ours, theirs = (heard[: max(0, samples - late)], whole[late:]) if late > 0 else (heard[-late:], whole[: max(0, samples + late)])
    flush = earlier.delay_samples
    assert np.abs(ours[: len(ours) - flush] - theirs[: len(theirs) - flush]).max(initial=0) < CLOSE


def _decoded(parlo, bundle, folder):
    parlo.run("decode", "--bundle", bundle.folder, folder / "short.ptk", folder / "whole.wav")
    return folder / "whole.wav"


def test_a_file_finds_a_bundle_by_its_tokens(parlo, decoders, clip, tmp_path):
    """One that names no earlier bundle: what ships does not know its tokens by that name."""
    folder = tmp_path / "data/parlo/bundles/own"
    shutil.copytree(decoders[1].folder, folder)
    lines = (folder / "manifest.toml").read_text().splitlines(keepends=True)
    (folder / "manifest.toml").write_text("".join(line for line in lines if not line.startswith("serves =")))
    own = Bundle(folder)
    assert own.tokens.hex() == own.manifest["tokens"]["id"]
    parlo.run("encode", "--bundle", folder, clip[0], tmp_path / "own.ptk")
    assert TokenFile.parse((tmp_path / "own.ptk").read_bytes()).bundle == own.tokens[:16]
    there = copy.copy(parlo)
    there.environment = {**parlo.environment, "XDG_DATA_HOME": str(tmp_path / "data")}
    there.run("decode", tmp_path / "own.ptk", tmp_path / "own.wav")
    assert own.tokens.hex()[:32] in there.run("info", tmp_path / "own.ptk").decode()
    assert own.manifest["name"] in parlo.refuses("decode", "--bundle", decoders[0].folder, tmp_path / "own.ptk", tmp_path / "x.wav")


def test_a_bundle_that_claims_tokens_that_are_not_its_own_is_refused(parlo, decoders, clip, tmp_path):
    folder = tmp_path / "newer"
    shutil.copytree(decoders[1].folder, folder)
    text = (folder / "manifest.toml").read_text()
    own = tomllib.loads(text)["tokens"]
    for change, said in [
        ((own["id"], "0" * 64), "claims tokens that are not its own"),
        ((f'serves = ["{own["serves"][0]}"]', f'serves = ["{"0" * 64}"]'), "no file under [files] has that hash"),
        ((f"sample_rate = {decoders[1].sample_rate}", "sample_rate = 8000"), "claims tokens that are not its own"),
    ]:
        assert text.count(change[0]) == 1
        (folder / "manifest.toml").write_text(text.replace(*change))
        assert said in parlo.refuses("encode", "--bundle", folder, clip[0], tmp_path / "out")


def shapes(tensors):
    """A dimension with a name is open: -1 in a manifest."""
    return {tensor.name: [size if isinstance(size, int) else -1 for size in tensor.shape] for tensor in tensors}


@pytest.mark.parametrize("graph", ["encoder", "decoder"])
def test_graphs_have_the_tensors_that_the_manifest_states(bundle, graph):
    declared, session = bundle.manifest[graph], bundle.session(graph)
    states = declared["states"]
    ends = ("audio", "latent") if graph == "encoder" else ("latent", "audio")
    inputs = [declared[ends[0]], *([declared["depth_one_hot"]] if "depth_one_hot" in declared else [])]
    expected = {tensor["name"]: tensor["shape"] for tensor in inputs}
    expected |= {state["input"]: state["shape"] for state in states}
    assert shapes(session.get_inputs()) == expected
    expected = {declared[ends[1]]["name"]: declared[ends[1]]["shape"]}
    expected |= {state["output"]: state["shape"] for state in states}
    assert shapes(session.get_outputs()) == expected
    assert {tensor.type for tensor in (*session.get_inputs(), *session.get_outputs())} == {"tensor(float)"}


def test_codebooks_have_the_sizes_that_the_manifest_states(bundle):
    dimension = bundle.manifest["quantizer"]["dimension"]
    assert [book.shape for book in bundle.codebooks()] == [(size, dimension) for size in bundle.sizes]


def test_greedy_codes_are_those_of_the_definition(bundle, clip, tokens):
    found = np.array(bundle.frames(tokens[1]))
    latents = bundle.latents(clip[1])
    expected = bundle.greedy(latents, found.shape[1])
    assert found.shape == expected.shape
    books, others = bundle.codebooks(), 0
    for latent, ours, theirs in zip(latents, expected, found):
        different = np.flatnonzero(ours != theirs)
        if len(different) == 0:
            continue
        # Up to the first difference both walked the same way; there, two entries must be as good as equally near.
        others += 1
        stage = different[0]
        left = latent.astype(np.float64) - sum(books[k][ours[k]].astype(np.float64) for k in range(stage))
        nearest, taken = (((left - books[stage][codes[stage]]) ** 2).sum() for codes in (ours, theirs))
        assert taken <= nearest * (1 + 1e-4), f"code {theirs[stage]} of codebook {stage} is not the nearest"
    assert others <= 0.01 * len(found)


def test_a_wider_beam_leaves_less_error(bundle, clip, tokens, encode):
    latents = bundle.latents(clip[1])

    def error(file):
        codes = np.array(bundle.frames(file))
        return ((bundle.dequantize(codes) - latents) ** 2).sum()

    assert error(encode("--depth", 6, "--beam", 4)[1]) < 0.99 * error(tokens[1])


def test_a_smaller_depth_is_a_prefix(bundle, tokens, encode):
    deep = np.array(bundle.frames(tokens[1]))
    shallow = np.array(bundle.frames(encode("--depth", 2, "--beam", 1)[1]))
    assert (shallow == deep[:, :2]).all()


@pytest.mark.parametrize("depth", [1, 6, "all"])
def test_decoded_sound_is_that_of_the_graph(parlo, bundle, clip, encode, tmp_path, depth):
    depth = len(bundle.sizes) if depth == "all" else depth
    path, file = encode("--depth", depth)
    parlo.run("decode", "--bundle", bundle.folder, path, tmp_path / "heard.wav")
    heard, rate = soundfile.read(tmp_path / "heard.wav", dtype="float32")
    expected = bundle.heard(file).clip(-1, 32767 / 32768)
    assert rate == bundle.sample_rate and heard.shape == expected.shape == clip[1].shape
    assert np.abs(heard - expected).max() < CLOSE
    if depth >= 6:
        # That both agree says nothing if both are wrong: it must be the speech.
        assert stoi(clip[1], heard, rate, extended=True) > 0.5


def test_any_codes_decode_as_the_graph_has_it(parlo, bundle, tokens, tmp_path):
    """Codes that no encoder chose, in blocks that no program of ours writes."""
    random = np.random.default_rng(1)
    depth, count = len(bundle.sizes), 97
    codes = np.stack([random.integers(0, size, count) for size in bundle.sizes], 1)
    name = bundle.manifest["name"]
    file = TokenFile(bundle.tokens, bundle.sample_rate, bundle.frame_samples, depth, name)
    file.samples = count * bundle.frame_samples - bundle.delay_samples - 7
    for part in np.split(codes, [1, 40, 41]):
        file.blocks.append((len(part), pack(part.tolist(), bundle.sizes)))
    (tmp_path / "any.ptk").write_bytes(file.to_bytes())
    parlo.run("decode", "--bundle", bundle.folder, tmp_path / "any.ptk", tmp_path / "any.wav")
    heard, _ = soundfile.read(tmp_path / "any.wav", dtype="float32")
    expected = bundle.heard(file).clip(-1, 32767 / 32768)
    assert heard.shape == expected.shape and np.abs(heard - expected).max() < CLOSE


def test_flac_and_wav_of_the_same_samples_give_the_same_tokens(parlo, bundle, tmp_path):
    audio, rate = soundfile.read(CLIP, dtype="int16")
    soundfile.write(tmp_path / "clip.wav", audio, rate, subtype="PCM_16")
    for source, name in ((CLIP, "a.ptk"), (tmp_path / "clip.wav", "b.ptk")):
        parlo.run("encode", "--bundle", bundle.folder, source, tmp_path / name)
    assert (tmp_path / "a.ptk").read_bytes() == (tmp_path / "b.ptk").read_bytes()


@pytest.mark.parametrize("part", ["encoder", "quantizer", "decoder", "entropy"])
@pytest.mark.parametrize("fault", ["tampered", "cut", "missing"])
def test_a_bundle_that_is_not_whole_is_refused_by_name(parlo, bundle, clip, tokens, tmp_path, part, fault):
    if part not in bundle.manifest:
        pytest.skip(f"the bundle {bundle.folder.name} has no {part} model")
    copy = tmp_path / "copy"
    shutil.copytree(bundle.folder, copy)
    file = copy / bundle.manifest[part]["file"]
    data = bytearray(file.read_bytes())
    if fault == "tampered":
        data[len(data) // 2] ^= 1
    file.unlink()
    if fault != "missing":
        file.write_bytes(data[:-1] if fault == "cut" else data)
    command, source = ("decode", tokens[0]) if part == "decoder" else ("encode", clip[0])
    said = parlo.refuses(command, "--bundle", copy, source, tmp_path / "out")
    assert file.name in said
    assert [entry.name for entry in tmp_path.iterdir()] == ["copy"]
