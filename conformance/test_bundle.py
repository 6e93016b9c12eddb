"""The models that ship, run a second time by an independent hand."""

import hashlib
import shutil

import numpy as np
import pytest
import soundfile
from pystoi import stoi

from conftest import BUNDLES, CLIP
from ptk import TokenFile, pack

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
    file = TokenFile(bundle.id, bundle.sample_rate, bundle.frame_samples, depth, name)
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
