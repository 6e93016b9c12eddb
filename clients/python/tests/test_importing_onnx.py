"""A codec's own ONNX files against the bundle made of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

import importing_onnx as files
import importing_support as support

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from parlo.importing import ImportFailure, Options, convert  # noqa: E402
from parlo.importing.player import Player  # noqa: E402


def session(folder, part):
    return onnxruntime.InferenceSession(folder / f"{part}.onnx",
                                        providers=["CPUExecutionProvider"])


def test_codes_of_several_rates_are_one_frame(tmp_path):
    folder = files.snac(tmp_path / "snac")
    bundle = Player(convert("snac", folder, tmp_path / "bundle"))
    assert (bundle.frame_samples, bundle.whole) == (32, True)
    assert bundle.sizes == [16, 24, 24, 32, 32, 32, 32]
    audio = support.audio(24_000, 32, 50)
    codes = bundle.encode(audio)
    own = session(folder, "encoder").run(None, {"input_values": audio[None, None]})
    assert [code.shape for code in own] == [(1, 50), (1, 100), (1, 200)]
    assert all(len(np.unique(code)) > 4 for code in own)
    expected = np.concatenate([code.reshape(50, -1) for code in own], axis=1)
    np.testing.assert_array_equal(codes, expected)
    inputs = {f"audio_codes.{level}": code for level, code in enumerate(own)}
    sound = session(folder, "decoder").run(None, inputs)[0].reshape(-1)
    assert sound.std() > 0.05
    np.testing.assert_allclose(bundle.decode(codes), sound, atol=1e-6)


def test_a_level_is_heard_once_all_its_codes_are_there(tmp_path):
    bundle = Player(convert("snac", files.snac(tmp_path / "snac"), tmp_path / "bundle"))
    codes = bundle.encode(support.audio(24_000, 32, 50))
    sounds = [bundle.decode(codes, depth) for depth in range(1, 8)]
    for one, other in ((1, 2), (3, 4), (3, 5), (3, 6)):
        np.testing.assert_array_equal(sounds[one - 1], sounds[other - 1])
    for one, other in ((2, 3), (6, 7)):
        assert np.abs(sounds[one - 1] - sounds[other - 1]).max() > 0.05
    # what is not heard does not matter
    other = codes.copy()
    other[:, 3:] = (other[:, 3:] + 1) % 32
    np.testing.assert_array_equal(bundle.decode(other, 3), sounds[2])


@pytest.mark.parametrize("short", [0, 7])
def test_one_codebook(tmp_path, short):
    folder = files.wavtokenizer(tmp_path / "wt", short)
    bundle = Player(convert("wavtokenizer", folder, tmp_path / "bundle"))
    assert (bundle.frame_samples, bundle.sizes) == (40, [4096])
    audio = support.audio(24_000, 40, 30)
    codes = bundle.encode(audio)
    own = session(folder, "encoder").run(None, {"audio": audio[None]})[0]
    np.testing.assert_array_equal(codes[:, 0], own.reshape(-1))
    sound = session(folder, "decoder").run(None, {"codes": own})[0].reshape(-1)
    assert len(sound) == 1200 - short
    np.testing.assert_allclose(bundle.decode(codes), np.pad(sound, (0, short)), atol=1e-6)


@pytest.mark.parametrize("pick", ["Gather", "Split", "Slice"])
def test_codebooks_in_one_tensor(tmp_path, pick):
    folder = files.stacked(tmp_path / "codec", pick)
    bundle = Player(convert("encodec", folder, tmp_path / "bundle"))
    assert (bundle.frame_samples, bundle.sizes) == (8, [16, 16, 16])
    audio = support.audio(24_000, 8, 30)
    codes = bundle.encode(audio)
    own = session(folder, "encoder").run(None, {"input_values": audio[None, None]})[0]
    np.testing.assert_array_equal(codes, own[0].T)
    sound = session(folder, "decoder").run(None, {"audio_codes": own})[0].reshape(-1)
    np.testing.assert_allclose(bundle.decode(codes), sound, atol=1e-6)
    # a decoder without biases: each code's share adds up
    shares = [bundle.decode(codes, depth) for depth in (1, 2, 3)]
    other = codes.copy()
    other[:, 0] = (other[:, 0] + 5) % 16
    shift = bundle.decode(other, 1) - shares[0]
    np.testing.assert_allclose(bundle.decode(other, 3) - shares[2], shift, atol=1e-5)
    assert np.abs(shares[1] - shares[0]).max() > 0.05 and np.abs(shift).max() > 0.05


def test_what_cannot_be_a_bundle_is_refused(tmp_path):
    def said(codec, folder, options=Options()):
        with pytest.raises(ImportFailure) as error:
            convert(codec, folder, tmp_path / "bundle", options=options)
        assert not (tmp_path / "bundle").exists() and not list(tmp_path.glob("*.partial"))
        return str(error.value)

    assert "mixes codes by Mul" in said("snac", files.snac(tmp_path / "product", "Mul"))
    swapped = files.wavtokenizer(tmp_path / "swapped")
    (swapped / "encoder.onnx").write_bytes((swapped / "decoder.onnx").read_bytes())
    assert "must take one tensor of audio" in said("wavtokenizer", swapped)
    broken = files.wavtokenizer(tmp_path / "broken")
    (broken / "decoder.onnx").write_bytes(b"no model")
    assert "cannot read" in said("wavtokenizer", broken)
    bare = files.snac(tmp_path / "bare")
    (bare / "config.json").unlink()
    assert "--sample-rate" in said("snac", bare)
    assert "4000" not in said("snac", tmp_path / "product", Options(sample_rate=8000))
    (tmp_path / "empty").mkdir()
    assert "encoder.onnx" in said("snac", tmp_path / "empty")
    (bare / "config.json").write_text(json.dumps({"sampling_rate": 24_000, "codebook_size": 8}))
    assert "outside of its codebooks" in said("snac", bare)


@pytest.mark.parametrize("where", ["initializer", "constant", "subgraph", "function"])
def test_values_in_other_files_are_not_read(tmp_path, where):
    import onnx
    from onnx import TensorProto, helper

    folder = files.snac(tmp_path / "snac")
    (folder / "secret").write_bytes(bytes(64))
    leak = TensorProto(name="leak", data_type=TensorProto.UINT8, dims=[64])
    leak.data_location = TensorProto.EXTERNAL
    entry = leak.external_data.add()
    entry.key, entry.value = "location", "secret"
    constant = helper.make_node("Constant", [], ["unused"], value=leak)
    inner = helper.make_graph([constant], "inner", [], [])
    model = onnx.load(folder / "encoder.onnx")
    if where == "initializer":
        model.graph.initializer.append(leak)
    elif where == "constant":
        model.graph.node.append(constant)
    elif where == "subgraph":
        branches = {"then_branch": inner, "else_branch": inner}
        model.graph.node.append(helper.make_node("If", ["c"], [], **branches))
    else:
        opset = [helper.make_opsetid("", 17)]
        model.functions.append(helper.make_function("made", "f", [], ["unused"], [constant], opset))
    (folder / "encoder.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ImportFailure, match="external data.*save it whole"):
        convert("snac", folder, tmp_path / "bundle")
