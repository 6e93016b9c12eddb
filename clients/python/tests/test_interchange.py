"""Files for training: whole round trips, the same bytes each time, refusals."""

from __future__ import annotations

import dataclasses
import importlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

import parlo
from parlo import interchange
from parlo.interchange import InterchangeError, Item, Model
from speech import codec, wave, write_call  # noqa: F401

MODEL = Model("5a" * 32, "test-16k", 16000, 50.0, (1024, 1024, 65536, 3))
OTHER = Model("77" * 32, "other-24k", 24000, 12.5, (2048,) * 8)


def item(seed: int, model: Model = MODEL) -> Item:
    """Any item: any depth, length (also none), gaps in time, frames without codes, texts of any script."""
    random = np.random.default_rng(seed)
    depth, frames = int(random.integers(1, len(model.codebook_sizes) + 1)), int(random.integers(0, 60))
    codes = np.stack([random.integers(-1, size, frames) for size in model.codebook_sizes[:depth]])
    times = np.cumsum(random.exponential(0.02, frames))
    marks = random.integers(0, 256, frames).astype(np.uint8)
    text = [None, "", "Grüße, 世界 \U0001f600\n\"'\\"][seed % 3]
    metadata = {} if seed % 2 else {"peer": "ann", "Ort": "Köln"}
    return Item(f"set/a{seed}", parlo.Tokens(codes=codes, times=times, marks=marks), model, text, metadata)


def same(one: Item, other: Item) -> bool:
    return one.about() == other.about() and all(
        np.array_equal(a, b) and a.dtype == b.dtype
        for a, b in ((getattr(one.tokens, name), getattr(other.tokens, name)) for name in ("codes", "times", "marks"))
    )


def write_one(write):
    return lambda path, items: write(path, *items)


FORMATS = {
    "npz": (write_one(interchange.write_npz), lambda *a: [interchange.read_npz(*a)], "numpy", "x.npz"),
    "safetensors": (
        write_one(interchange.write_safetensors),
        lambda *a: [interchange.read_safetensors(*a)],
        "safetensors",
        "x.safetensors",
    ),
    "parquet": (interchange.write_parquet, lambda *a: list(interchange.read_parquet(*a)), "pyarrow", "x.parquet"),
    "shards": (interchange.write_shards, lambda *a: list(interchange.read_shards(*a)), "tarfile", "shards"),
}


@pytest.fixture(params=FORMATS)
def form(request, tmp_path):
    """How to write items (one, in some formats), how to read them, where."""
    write, read, needs, name = FORMATS[request.param]
    pytest.importorskip(needs)
    return write, read, tmp_path / name


def files(path: Path) -> dict[str, bytes]:
    return {found.name: found.read_bytes() for found in (path.iterdir() if path.is_dir() else [path])}


@pytest.mark.parametrize("seed", range(12))
def test_what_was_written_is_read_and_bytes_are_the_same_each_time(form, seed, tmp_path):
    write, read, path = form
    write(path, [item(seed)])
    (found,) = read(path, MODEL)
    assert same(found, item(seed))
    again = tmp_path / "again" / path.name
    write(again, [item(seed)])
    assert files(again) == files(path)
    assert not [left for left in tmp_path.rglob("*.partial")]


def test_another_model_is_refused(form):
    write, read, path = form
    write(path, [item(3)])
    for expect in (OTHER, OTHER.tokens_id):
        with pytest.raises(InterchangeError, match=r"test-16k \(5a5a5a5a5a5a\).*777777777777"):
            read(path, expect)
    assert len(read(path, MODEL.tokens_id)) == len(read(path)) == 1


@pytest.mark.parametrize("seed", range(6))
def test_damage_is_an_error_or_the_same_item(form, seed):
    """Any flipped bit or cut: `InterchangeError`, or what was written, or for a cut tar file what came before."""
    write, read, path = form
    write(path, [item(10)])
    (file,) = path.iterdir() if path.is_dir() else [path]
    whole = file.read_bytes()
    random = np.random.default_rng(seed)
    for _ in range(25):
        broken = bytearray(whole)
        broken[random.integers(len(whole))] ^= 1 << int(random.integers(8))
        cut = int(random.integers(len(whole)))
        for content in (bytes(broken), whole[:cut]):
            file.write_bytes(content)
            try:
                found = read(path, MODEL)
            except InterchangeError as error:
                assert str(path) in str(error) or "set/a10" in str(error)
            else:
                assert not found or same(found[0], item(10))
                assert found or path.name == "shards"


def test_what_is_not_there_or_not_such_a_file_says_so(form):
    _, read, path = form
    file = path.with_name("a.tar") if path.name == "shards" else path
    with pytest.raises(FileNotFoundError, match=file.name):
        read(file)
    for content in (b"", b"RIFF, so to speak", bytes(5000)):
        file.write_bytes(content)
        if path.name == "shards" and content == bytes(5000):
            assert read(file) == []  # Zeros are a tar file without members.
            continue
        with pytest.raises(InterchangeError, match=file.name):
            read(file)


@pytest.mark.parametrize("rows", [1, 4, 1000])
@pytest.mark.parametrize("name", ["parquet", "shards"])
def test_sets_keep_their_order_whatever_the_groups(name, rows, tmp_path):
    write, read, needs, path = FORMATS[name]
    pytest.importorskip(needs)
    items = [item(seed) for seed in range(11)]
    write(tmp_path / path, iter(items), rows=rows)
    found = read(tmp_path / path, MODEL)
    assert len(found) == 11 and all(same(*pair) for pair in zip(found, items, strict=True))
    if name == "shards":
        assert len(list((tmp_path / path).iterdir())) == -(-11 // rows)


@pytest.mark.parametrize("name", ["parquet", "shards"])
def test_sets_have_one_model_and_leave_nothing_behind_if_they_do_not(name, tmp_path):
    write, _, needs, path = FORMATS[name]
    pytest.importorskip(needs)
    with pytest.raises(InterchangeError, match="one set has one model"):
        write(tmp_path / path, [item(1), item(2, OTHER)])
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == []


def test_empty_sets(tmp_path):
    assert interchange.write_shards(tmp_path, []) == []
    assert list(interchange.read_shards(tmp_path)) == []
    pytest.importorskip("pyarrow")
    assert interchange.write_parquet(tmp_path / "x.parquet", []) == 0
    assert list(interchange.read_parquet(tmp_path / "x.parquet")) == []


def test_shards_are_not_mixed_with_older_ones_nor_keys_with_each_other(tmp_path):
    interchange.write_shards(tmp_path, [item(1)])
    with pytest.raises(InterchangeError, match="shards already"):
        interchange.write_shards(tmp_path, [item(2)])
    twins = [dataclasses.replace(item(1), id=name) for name in ("a.b", "a/b")]
    with pytest.raises(InterchangeError, match="key 'a_b'"):
        interchange.write_shards(tmp_path, twins, prefix="twins")
    assert len(list(tmp_path.iterdir())) == 1


def test_shards_of_others_are_refused(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        member = tarfile.TarInfo("clip.flac")
        tar.addfile(member, io.BytesIO())
    with pytest.raises(InterchangeError, match="clip has flac instead of codes.npy"):
        list(interchange.read_shards(tmp_path / "x.tar"))


def test_shards_never_unpickle(tmp_path):
    content = io.BytesIO()
    np.save(content, np.array([print], dtype=object), allow_pickle=True)
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in ("codes.npy", "times.npy", "marks.npy", "json"):
            member = tarfile.TarInfo(f"clip.{name}")
            member.size = len(content.getvalue())
            tar.addfile(member, io.BytesIO(content.getvalue()))
    with pytest.raises(InterchangeError, match="clip.codes.npy is damaged"):
        list(interchange.read_shards(tmp_path / "x.tar"))


def test_tables_survive_what_others_do_to_rows():
    pa = pytest.importorskip("pyarrow")
    items = [item(seed) for seed in range(8)]
    table = interchange.to_table(items)
    changed = pa.concat_tables([table.slice(5, 2), table.slice(1, 3)]).append_column("mine", pa.array(range(5)))
    found = list(interchange.from_table(changed.select(changed.column_names[::-1]), MODEL))
    assert [one.id for one in found] == [items[place].id for place in (5, 6, 1, 2, 3)]
    assert all(same(one, items[place]) for one, place in zip(found, (5, 6, 1, 2, 3), strict=True))


def test_tables_of_others_are_refused():
    pa = pytest.importorskip("pyarrow")
    table = interchange.to_table([item(7)])
    with pytest.raises(InterchangeError, match="lacks marks, times"):
        list(interchange.from_table(table.drop_columns(["times", "marks"])))
    place = table.column_names.index("codes")
    texts = table.set_column(table.column_names.index("text"), "text", pa.array(["other words"]))
    with pytest.raises(InterchangeError, match="set/a7.*checksum"):
        list(interchange.from_table(texts))
    assert next(interchange.from_table(texts.drop_columns(["crc32"]))).text == "other words"
    for content in ([[0.5, float("nan")]], ["text"], [[1, 2], [3]], None):
        column = pa.array([content], table["codes"].type if content is None else None)
        with pytest.raises(InterchangeError, match="set/a7"):
            list(interchange.from_table(table.set_column(place, "codes", column)))


def test_webdataset_reads_shards(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    items = [item(seed) for seed in range(5)]
    (path,) = interchange.write_shards(tmp_path, items)
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False).decode())
    assert [sample["json"]["id"] for sample in samples] == [one.id for one in items]
    assert all(np.array_equal(sample["codes.npy"], one.tokens.codes) for sample, one in zip(samples, items, strict=True))


def test_datasets_reads_parquet(tmp_path):
    datasets = pytest.importorskip("datasets")
    interchange.write_parquet(tmp_path / "x.parquet", [item(seed) for seed in range(5)])
    path, cache = str(tmp_path / "x.parquet"), str(tmp_path / "cache")
    loaded = datasets.load_dataset("parquet", data_files=path, cache_dir=cache, split="train")
    assert loaded["id"][:] == [item(seed).id for seed in range(5)]
    found = list(interchange.from_table(loaded.select([4, 2]).with_format("arrow")[:], MODEL))
    assert same(found[0], item(4)) and same(found[1], item(2))


GOOD = item(10).tokens


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"codes": GOOD.codes.astype(np.float32)}, "codes are int64"),
        ({"codes": GOOD.codes.astype(np.int32)}, "codes are int64"),
        ({"codes": GOOD.codes[None]}, r"codes are int64 \[K, T\]"),
        ({"codes": GOOD.codes.tolist()}, "not list"),
        ({"codes": GOOD.codes[:0]}, "not 0"),
        ({"codes": np.repeat(GOOD.codes[:1], 5, 0)}, "not 5"),
        ({"codes": GOOD.codes[:, 1:]}, "as many times and marks"),
        ({"codes": GOOD.codes + 65536}, "book 0 are 0 to 1023"),
        ({"codes": GOOD.codes - 2}, "or -1 for none"),
        ({"times": GOOD.times * np.nan}, "not a number"),
        ({"times": GOOD.times.astype(np.float32)}, "times are float64"),
        ({"marks": GOOD.marks.astype(np.int64)}, "marks are uint8"),
    ],
)
def test_arrays_that_are_no_tokens_are_refused(changes, words):
    with pytest.raises(InterchangeError, match=f"clip: .*{words}"):
        Item("clip", dataclasses.replace(GOOD, **changes), MODEL)


def test_codes_of_a_codec():
    made = Item.of("clip", np.array([[1, 2, 3], [4, 5, 6]], np.uint16), MODEL, text="hallo")
    assert made.tokens.codes.dtype == np.int64 and made.tokens.times.tolist() == [0, 0.02, 0.04]
    assert made.duration == pytest.approx(0.06)
    assert Item.of("clip", np.zeros((2, 0), int), MODEL).duration == 0
    for codes in (np.zeros((1, 2, 3), int), np.zeros((2, 3)), np.full((2, 3), np.nan)):
        with pytest.raises(InterchangeError, match="clip: codes are"):
            Item.of("clip", codes, MODEL)
    with pytest.raises(InterchangeError, match="id"):
        Item.of("", np.zeros((1, 1), int), MODEL)


def test_a_later_layout_is_told_from_this_one(tmp_path):
    one = item(5)
    about = json.dumps({**one.about(), "format": 2})
    np.savez(tmp_path / "x.npz", codes=one.tokens.codes, times=one.tokens.times, marks=one.tokens.marks, about=about)
    with pytest.raises(InterchangeError, match="layout 2 is not known"):
        interchange.read_npz(tmp_path / "x.npz")


def test_a_token_file_is_an_item(tmp_path, codec, wave):
    codes = codec.encode(wave, 24000)[0]
    parlo.write(tmp_path / "clip.ptk", codes, codec, metadata={"speaker": "4507"})
    found = interchange.from_file(tmp_path / "clip.ptk", codec, text="hello")
    assert (found.id, found.text, found.metadata["speaker"]) == ("clip", "hello", "4507")
    assert found.model == Model.of(codec) and np.array_equal(found.tokens.codes, codes)
    with pytest.raises(InterchangeError, match="no stream 'heard'"):
        interchange.from_file(tmp_path / "clip.ptk", codec, "heard")


def test_two_streams_are_two_items(tmp_path, codec, wave):
    codes = codec.encode(wave[:24000], 24000)[0]
    write_call(tmp_path / "call.ptk", codec, {"said": (0, codes), "heard": (0.5, codes)})
    with pytest.raises(InterchangeError, match="said, heard: say which"):
        interchange.from_file(tmp_path / "call.ptk", codec)
    heard = interchange.from_file(tmp_path / "call.ptk", codec, "heard")
    assert heard.id == "call-heard" and heard.tokens.times[0] == 0.5 and np.array_equal(heard.tokens.codes, codes)


@pytest.mark.parametrize("module, wanted", [("pyarrow", "pyarrow>=16"), ("safetensors", "safetensors>=0.4.3")])
def test_what_is_not_installed_is_named(module, wanted, monkeypatch, tmp_path):
    real = importlib.import_module

    def without(name, *rest):
        if name.partition(".")[0] == module:
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(ImportError, match=f"pip install '{wanted}'"):
        (interchange.write_parquet if module == "pyarrow" else interchange.write_safetensors)(tmp_path / "x", item(1))
