"""Small random models of the real classes against the bundles made of them."""

from __future__ import annotations

import json
import shutil
import sys
import tomllib

import numpy as np
import pytest

import importing_support as support

for package in ("torch", "transformers", "onnx", "onnxruntime", "safetensors"):
    pytest.importorskip(package)

from parlo.importing import ImportFailure, Options, convert  # noqa: E402
from parlo.importing.__main__ import main  # noqa: E402
from parlo.importing.check import TOLERANCE, Original  # noqa: E402
from parlo.importing.player import Player  # noqa: E402

MAKERS = {"encodec": (support.encodec, "EncodecModel"), "mimi": (support.mimi, "MimiModel"),
          "dac": (support.dac, "DacModel")}
# How each streams: None if it does, else part of the reason.
CASES = {
    "encodec": ("encodec", {}, "trained", None),
    "encodec, repeating its first sample": (
        "encodec", {"pad_mode": "replicate"}, "trained", None),
    "encodec, from zeros": ("encodec", {"pad_mode": "reflect"}, "zeros", None),
    "encodec, mirroring its start": ("encodec", {"pad_mode": "reflect"}, "trained", "mirrors"),
    "encodec, looking ahead": (
        "encodec", {"pad_mode": "reflect", "use_causal_conv": False,
                    "norm_type": "time_group_norm"}, "trained", "look ahead"),
    "encodec, normalised": (
        "encodec", {"norm_type": "time_group_norm", "num_lstm_layers": 1}, "trained", "normalises"),
    "encodec, trimmed": (
        "encodec", {"trim_right_ratio": 0.5, "use_conv_shortcut": False}, "trained", "looks ahead"),
    "mimi": ("mimi", {}, "trained", None),
    "mimi, other": (
        "mimi", {"pad_mode": "replicate", "num_semantic_quantizers": 2, "hidden_act": "silu",
                 "attention_bias": True, "num_key_value_heads": 4, "use_conv_shortcut": True,
                 "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
        "trained", None),
    "mimi, without projections": (
        "mimi", {"codebook_dim": 16, "vector_quantization_hidden_dimension": 16}, "trained", None),
    "dac": ("dac", {}, "trained", "look ahead"),
    "dac, even": ("dac", {"downsampling_ratios": [2, 4], "n_codebooks": 1}, "trained",
                  "look ahead"),
}


@pytest.fixture(scope="module", params=CASES, ids=list(CASES))
def case(request, tmp_path_factory):
    codec, changes, start, reason = CASES[request.param]
    make, architecture = MAKERS[codec]
    folder = tmp_path_factory.mktemp("model")
    checkpoint = make(folder / "checkpoint", **changes)
    options = Options(start)
    bundle = convert(codec, checkpoint, folder / "bundle", options=options, licence="CC0-1.0",
                     compare=False)
    return Player(bundle), Original(architecture, checkpoint, options), reason


@pytest.mark.parametrize("frames", [1, 2, 3, 60])
def test_tokens_and_sound_are_pytorchs(case, frames):
    bundle, original, reason = case
    assert bundle.whole == (reason is not None)
    rate = bundle.manifest["audio"]["sample_rate"]
    audio = support.audio(rate, bundle.frame_samples, frames)
    codes = original.encode(audio)
    np.testing.assert_array_equal(bundle.encode(audio), codes)
    if frames == 60:  # they say something
        assert all(len(np.unique(column)) > 2 for column in codes.T)
        assert original.decode(codes).std() > 0.02
    for depth in range(1, len(bundle.sizes) + 1):
        sound = original.decode(codes[:, :depth])
        np.testing.assert_allclose(bundle.decode(codes, depth), sound, rtol=0, atol=TOLERANCE / 10)


def test_a_stream_is_what_the_manifest_says(case):
    bundle, _, reason = case
    manifest, books = bundle.manifest, len(bundle.sizes)
    frame = -1 if reason else bundle.frame_samples
    assert manifest["quantizer"] == {"kind": "graph", "sizes": bundle.sizes}
    assert manifest["encoder"]["audio"]["shape"] == manifest["decoder"]["audio"]["shape"] == [
        1, frame]
    assert manifest["encoder"]["codes"]["shape"] == manifest["decoder"]["codes"]["shape"] == [
        -1 if reason else 1, books]
    assert manifest["decoder"]["in_use"]["shape"] == [books]
    assert manifest["licence"] == "CC0-1.0"
    for part in ("encoder", "decoder"):
        assert bool(manifest[part].get("states")) == (reason is None)
        assert len(bundle._sessions[part].get_inputs()) == (1 if part == "encoder" else 2) + len(
            manifest[part].get("states", []))
    if reason:
        assert reason in manifest["audio"]["whole"]


def test_a_long_stream_keeps_no_count(tmp_path):
    """Positions do not grow: after 600 windows Mimi's graph answers as a fresh one does after a
    few."""
    bundle = Player(convert("mimi", support.mimi(tmp_path / "mimi"), tmp_path / "bundle",
                            compare=False))
    some = support.audio(24_000, 80, 20)
    twice = bundle.encode(np.concatenate([some, some]))[20:]
    often = bundle.encode(np.tile(some, 105))
    np.testing.assert_array_equal(often[-20:], twice)


def test_weights_normalised_by_either_name(tmp_path):
    from safetensors.numpy import load_file, save_file

    checkpoint = support.encodec(tmp_path / "new")
    one = convert("encodec", checkpoint, tmp_path / "one", compare=False)
    shutil.copytree(checkpoint, tmp_path / "old")
    weights = load_file(checkpoint / "model.safetensors")
    names = {"parametrizations.weight.original0": "weight_g",
             "parametrizations.weight.original1": "weight_v"}
    renamed = {}
    for name, value in weights.items():
        for new, old in names.items():
            name = name.replace(new, old)
        renamed[name] = value
    assert set(renamed) != set(weights)
    save_file(renamed, tmp_path / "old/model.safetensors")
    other = convert("encodec", tmp_path / "old", tmp_path / "other", compare=False)
    for name in ("encoder.onnx", "decoder.onnx"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_fewer_codebooks_are_the_first_of_all(tmp_path):
    checkpoint = support.mimi(tmp_path / "mimi")
    audio = support.audio(24_000, 80, 20)
    full = Player(convert("mimi", checkpoint, tmp_path / "full", compare=False))
    for books in (1, 3):
        part = Player(convert("mimi", checkpoint, tmp_path / f"part{books}",
                              options=Options(books=books)))
        codes = part.encode(audio)
        np.testing.assert_array_equal(codes, full.encode(audio)[:, :books])
        padded = np.pad(codes, ((0, 0), (0, 4 - books)))
        np.testing.assert_allclose(part.decode(codes), full.decode(padded, books), atol=1e-6)


@pytest.mark.parametrize("changes, said", [
    ({"audio_channels": 2}, "one channel"),
    ({"normalize": True}, "loudness"),
    ({"chunk_length_s": 1.0, "overlap": 0.01}, "no single stream"),
    ({"pad_mode": "circular"}, "unknown"),
    ({"model_type": "mimi"}, "--from must name"),
    ({"num_residual_layers": 3}, "lacks the tensor"),
    ({"target_bandwidths": [24.0]}, "3 of 6 codebooks"),
])
def test_what_cannot_be_a_bundle_is_refused(tmp_path, changes, said):
    checkpoint = support.encodec(tmp_path / "encodec")
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(ImportFailure, match=said):
        convert("encodec", checkpoint, tmp_path / "bundle", compare=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encodec"]


def test_a_bundle_that_is_not_the_model_is_not_kept(tmp_path):
    """Compared with the weights that transformers reads."""
    checkpoint = support.encodec(tmp_path / "encodec")
    config = json.loads((checkpoint / "config.json").read_text())
    # a setting that transformers heeds and that is not of the weights' shapes
    original = json.dumps(config)
    (checkpoint / "config.json").write_text(json.dumps(config | {"dilation_growth_rate": 3}))
    Player(convert("encodec", checkpoint, tmp_path / "right"))
    from parlo.importing import encodec

    load = encodec.load

    def wrong(folder, options):
        (folder / "config.json").write_text(original)
        made = load(folder, options)
        (folder / "config.json").write_text(json.dumps(config | {"dilation_growth_rate": 3}))
        return made

    encodec.load = wrong
    try:
        with pytest.raises(ImportFailure, match="is not the model"):
            convert("encodec", checkpoint, tmp_path / "bundle")
    finally:
        encodec.load = load
    assert not (tmp_path / "bundle").exists()


def test_nothing_is_replaced_unasked(tmp_path):
    checkpoint = support.dac(tmp_path / "dac")
    bundle = convert("dac", checkpoint, tmp_path / "bundle", compare=False)
    before = (bundle / "manifest.toml").read_bytes()
    with pytest.raises(ImportFailure, match="--force"):
        convert("dac", checkpoint, bundle, compare=False)
    convert("dac", checkpoint, bundle, compare=False, force=True)
    assert (bundle / "manifest.toml").read_bytes() == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(ImportFailure, match="not a bundle"):
        convert("dac", checkpoint, tmp_path / "mine", compare=False, force=True)
    with pytest.raises(ImportFailure, match="not a bundle"):
        convert("dac", checkpoint, checkpoint, compare=False, force=True)
    assert (tmp_path / "mine/letter.txt").read_text() == "dear"
    assert (checkpoint / "model.safetensors").exists()


def test_damaged_checkpoints_are_told(tmp_path):
    def said(checkpoint):
        with pytest.raises(ImportFailure) as error:
            convert("dac", checkpoint, tmp_path / "bundle", compare=False)
        return str(error.value)

    assert "not a folder" in said(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "has no config.json" in said(tmp_path / "empty")
    (tmp_path / "empty/config.json").write_text("{")
    assert "cannot read" in said(tmp_path / "empty")
    checkpoint = support.dac(tmp_path / "dac")
    weights = checkpoint / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:1000])
    assert "cannot read" in said(checkpoint)
    weights.rename(checkpoint / "pytorch_model.bin")
    assert "pytorch_model.bin cannot be read" in said(checkpoint)
    from safetensors.numpy import load, save_file

    tensors = load(content)
    tensors["decoder.conv1.bias"][0] = np.nan
    save_file(tensors, weights)
    assert "not a finite number" in said(checkpoint)


def test_the_command(tmp_path, capsys, monkeypatch):
    checkpoint = support.encodec(tmp_path / "my-codec", pad_mode="reflect")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["--from", "encodec", str(checkpoint), "--revision", "abc"]) == 0
    output = capsys.readouterr()
    assert output.out == "my-codec\n"
    assert "100.00% of the codes equal" in output.err
    assert "for files only, not for calls: its start mirrors" in output.err
    assert "no licence stated" in output.err
    manifest = tomllib.loads((tmp_path / "here/my-codec/manifest.toml").read_text())
    assert (manifest["name"], manifest["licence"]) == ("my-codec", "NOASSERTION")
    source = manifest["source"]
    assert (source["from"], source["architecture"], source["revision"]) == (
        "encodec", "EncodecModel", "abc")
    assert len(source["weights_sha256"]) == 64
    card = (tmp_path / "here/my-codec/README.md").read_text()
    assert "Files only, not calls" in card and "Nobody stated a licence" in card
    assert main(["--from", "encodec", str(checkpoint)]) == 1
    assert capsys.readouterr().err.startswith("parlo import: ")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportFailure, match="pip install onnx"):
        convert("dac", tmp_path, tmp_path / "bundle")


def test_without_pytorch_it_says_that_nothing_was_compared(tmp_path, monkeypatch):
    checkpoint = support.dac(tmp_path / "dac")
    with_it = convert("dac", checkpoint, tmp_path / "with")
    monkeypatch.setitem(sys.modules, "torch", None)
    without = convert("dac", checkpoint, tmp_path / "without", name="with")
    assert "100.00% of the codes equal" in (with_it / "README.md").read_text()
    assert "not compared with PyTorch" in (without / "README.md").read_text()
    assert (with_it / "manifest.toml").read_bytes() == (without / "manifest.toml").read_bytes()


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_weights_of_half_the_length(tmp_path, kind):
    import torch
    from safetensors.torch import load_file, save_file

    checkpoint = support.dac(tmp_path / "dac")
    weights = checkpoint / "model.safetensors"
    dtype = getattr(torch, kind)
    save_file({name: value.to(dtype) for name, value in load_file(weights).items()}, weights)
    bundle = Player(convert("dac", checkpoint, tmp_path / "bundle", compare=False))
    original = Original("DacModel", checkpoint)
    audio = support.audio(16_000, 20, 40)
    codes = original.encode(audio)
    np.testing.assert_array_equal(bundle.encode(audio), codes)
    np.testing.assert_allclose(bundle.decode(codes), original.decode(codes), atol=1e-4)
