"""Lists of token files, as the libraries themselves read them."""

from __future__ import annotations

import dataclasses
import gzip
import json
import shutil

import numpy as np
import pytest

import parlo
from parlo import manifests
from speech import codec, wave, write_call  # noqa: F401


@pytest.fixture(scope="module")
def folder(tmp_path_factory, codec, wave):
    """Two recordings of a voice and a call of two streams with a gap."""
    root = tmp_path_factory.mktemp("tokens")
    (root / "voice").mkdir()
    for name, seconds in (("b", 2), ("a.1", 3)):
        codes = codec.encode(wave[: seconds * 24000], 24000, depth=4)
        samples = seconds * codec.sampling_rate
        parlo.write(root / "voice" / f"{name}.ptk", codes, codec, samples=samples, metadata={"take": name})
    codes = codec.encode(wave[:24000], 24000)[0]
    write_call(root / "call.ptk", codec, {"said": (0, codes), "heard": (0.5, codes)})
    (root / "voice" / ".c.ptk.1.partial").write_bytes(b"half")
    (root / ".hidden.ptk").write_bytes(b"no")
    return root


IDS = ["call", "voice/a.1", "voice/b"]


def test_rows_tell_what_files_hold(folder, codec):
    found = list(manifests.rows(folder, texts={"voice/b": "zwei"}, speakers={"call": "ann"}))
    assert [entry["id"] for entry in found] == IDS
    call, first, second = found
    assert call["streams"] == ["said", "heard"] and call["speaker"] == "ann" and call["text"] is None
    assert (first["duration"], first["depth"], first["frame_rate"]) == (pytest.approx(3.0), 4, codec.frame_rate)
    assert first["bundle"] == codec.tokens_id[:32] and json.loads(second["metadata"])["take"] == "b" and second["text"] == "zwei"


def test_what_cannot_be_opened_is_told_and_left_out(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "c")
    (tmp_path / "c" / "bad.ptk").write_bytes(b"not tokens")
    told = []
    found = list(manifests.rows(tmp_path / "c", failed=lambda path, error: told.append((path.name, str(error)))))
    assert [entry["id"] for entry in found] == IDS and told[0][0] == "bad.ptk" and len(told) == 1
    with pytest.raises(parlo.FileError):
        list(manifests.rows(tmp_path / "c"))
    with pytest.raises(FileNotFoundError, match="nowhere is no folder"):
        list(manifests.rows(tmp_path / "nowhere"))


def test_a_list_moves_with_its_folder(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "one" / "c")
    assert manifests.write_jsonl(tmp_path / "one" / "list.jsonl", manifests.rows(tmp_path / "one" / "c")) == 3
    (tmp_path / "one").rename(tmp_path / "two")
    found = manifests.read_jsonl(tmp_path / "two" / "list.jsonl")
    assert found[1]["path"] == str(tmp_path / "two" / "c" / "voice" / "a.1.ptk")
    assert found == list(manifests.rows(tmp_path / "two" / "c"))


@pytest.mark.parametrize("kind", ["json", "parquet"])
@pytest.mark.parametrize("typed", [True, False])
def test_datasets_loads_it(folder, tmp_path, kind, typed):
    datasets = pytest.importorskip("datasets")
    path = tmp_path / f"list.{kind}"
    write = manifests.write_jsonl if kind == "json" else manifests.write_parquet
    write(path, manifests.rows(folder, texts={"call": "hallo"}))
    wanted = {"features": manifests.features()} if typed else {}
    loaded = datasets.load_dataset(kind, data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"), **wanted)
    assert loaded["id"][:] == IDS and loaded["text"][:] == ["hallo", None, None]
    assert loaded["streams"][0] == ["said", "heard"]
    if typed or kind == "parquet":
        assert loaded.features == manifests.features()
    assert parlo.open(path.parent / loaded[1]["path"]).num_samples == 3 * 16000


def test_lhotse_lists_are_plain_and_the_same_each_time(folder, tmp_path, codec):
    for _ in range(2):
        assert manifests.write_lhotse(tmp_path / "l", folder, codec, texts={"voice/b": "zwei"}) == 4
        content = [(tmp_path / "l" / f"{name}.jsonl.gz").read_bytes() for name in ("recordings", "supervisions", "cuts")]
    assert manifests.write_lhotse(tmp_path / "l", folder, codec, texts={"voice/b": "zwei"}) == 4
    assert content == [(tmp_path / "l" / f"{name}.jsonl.gz").read_bytes() for name in ("recordings", "supervisions", "cuts")]
    cuts = [json.loads(line) for line in gzip.decompress(content[2]).splitlines()]
    assert [cut["id"] for cut in cuts] == ["call-said", "call-heard", "voice/a.1", "voice/b"]
    assert all(cut["recording"]["sources"][0]["type"] == "command" for cut in cuts)


def test_lhotse_reads_and_cuts_it(folder, tmp_path, codec):
    lhotse = pytest.importorskip("lhotse")
    manifests.write_lhotse(
        tmp_path, folder, codec, texts={"voice/b": "zwei"}, speakers={"voice/b": "4507"}, language="English"
    )
    recordings = lhotse.RecordingSet.from_file(tmp_path / "recordings.jsonl.gz")
    supervisions = lhotse.SupervisionSet.from_file(tmp_path / "supervisions.jsonl.gz")
    cuts = lhotse.CutSet.from_file(tmp_path / "cuts.jsonl.gz").to_eager()
    lhotse.validate(recordings)
    lhotse.validate(supervisions)
    for cut in cuts:
        lhotse.validate(cut)
    lhotse.validate_recordings_and_supervisions(recordings, supervisions)
    assert [(one.text, one.speaker) for one in supervisions if one.id == "voice/b"] == [("zwei", "4507")]

    tokens = parlo.open(folder / "voice" / "b.ptk", codec)["audio"][:]
    cut = cuts["voice/b"]
    frames = round(cut.duration * codec.frame_rate)
    assert np.array_equal(cut.load_codes(), tokens.codes.T[:frames])
    middle = cut.truncate(offset=0.5, duration=0.24)
    assert np.array_equal(middle.load_codes(), tokens.codes.T[25:37])
    assert middle.bundle == codec.tokens_id

    heard = cuts["call-heard"].load_codes()
    assert (heard[:25] == -1).all() and (heard[25:] >= 0).all()


def test_lhotse_hears_what_the_codes_say(folder, tmp_path, codec):
    lhotse = pytest.importorskip("lhotse")
    pytest.importorskip("soundfile")
    manifests.write_lhotse(tmp_path, folder, codec)
    cuts = lhotse.CutSet.from_file(tmp_path / "cuts.jsonl.gz").to_eager()
    sound = codec.decode(parlo.open(folder / "voice" / "b.ptk", codec)["audio"][:].codes, length=2 * codec.sampling_rate)
    assert np.allclose(cuts["voice/b"].load_audio(), sound[0], atol=1e-4)
    heard = cuts["call-heard"].load_audio()[0]
    begin = codec.sampling_rate // 2
    assert not heard[:begin].any()
    assert np.allclose(heard[begin:], cuts["call-said"].load_audio()[0][: len(heard) - begin], atol=1e-4)


def test_lhotse_takes_the_original_sound(folder, tmp_path, codec, wave):
    lhotse = pytest.importorskip("lhotse")
    soundfile = pytest.importorskip("soundfile")
    sound = np.resize(wave, 2 * codec.sampling_rate)
    soundfile.write(tmp_path / "b.wav", sound, codec.sampling_rate)
    manifests.write_lhotse(tmp_path / "l", folder, codec, audio={"voice/b": tmp_path / "b.wav"})
    cuts = lhotse.CutSet.from_file(tmp_path / "l" / "cuts.jsonl.gz").to_eager()
    assert cuts["voice/b"].load_audio().shape == (1, 2 * codec.sampling_rate)


def test_frames_go_to_their_place_on_the_clock():
    tokens = parlo.Tokens(
        codes=np.array([[1, 2, 3]]), times=np.array([-0.02, 0.021, 0.079]), marks=np.zeros(3, np.uint8)
    )
    assert manifests.on_clock(tokens, 50.0).tolist() == [[-1, 2, -1, -1, 3]]
    nothing = dataclasses.replace(tokens, codes=np.zeros((2, 0), np.int64), times=np.zeros(0))
    assert manifests.on_clock(nothing, 50.0).shape == (2, 0)
