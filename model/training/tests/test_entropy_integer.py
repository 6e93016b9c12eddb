"""The integers take the bits that the model says, and get into a bundle whole."""

import json
import math
import tomllib
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("soxr")

from parlo_training import entropy_export, entropy_train, tokens
from parlo_training.bundle import BundleCodec, beam_search
from parlo_training.entropy import ACT_STEP, NORM_STEP, EntropyConfig, EntropyModel
from parlo_training.entropy_data import known
from parlo_training.entropy_integer import Integers, write
from parlo_training.errors import UserError
from support import BUNDLES, options
from test_entropy import SMALL, bits, codes, untrained


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """(a model that rounds, its integers). Not so sharp that a code would be all but impossible:
    integers cannot say less than 2 to the -24."""
    model = untrained()
    with torch.no_grad():
        for book in model.books:
            book.leave.weight *= 0.2
            book.leave.bias *= 0.2
    model.rounding.on = True
    path = tmp_path_factory.mktemp("integers") / "entropy.safetensors"
    write(model, path)
    return model, Integers(path)


@pytest.mark.parametrize("context", ["file", "call", "one-way"])
def test_integers_take_the_bits_that_the_model_says(pair, context):
    model, integers = pair
    values = codes(40)
    may = known(context, 40)
    floats = bits(model, values, may)
    exact = integers.bits(values[0].numpy(), may)
    # a rounding that falls otherwise moves single codes; the sum hardly moves
    assert np.abs(exact - floats).mean() < 0.05
    assert exact.sum() == pytest.approx(floats.sum(), rel=0.003)


def test_a_norm_is_a_norm(pair):
    integers = pair[1]
    random = np.random.default_rng(0)
    for scale in (1, 300, 40_000, 1_000_000):
        x = (random.normal(size=(5, SMALL.width)) * scale).astype(np.int64)
        x[0] = 0
        wanted = x / np.sqrt(np.maximum((x * x).mean(1, keepdims=True), 1e-9)) / NORM_STEP
        wanted = np.clip(wanted, -127, 127)
        assert np.abs(integers.norm(x) - wanted).max() <= 0.5 + 1e-3 * SMALL.width


def test_frequencies_are_whole_and_none_is_zero(pair):
    integers = pair[1]
    logits = np.random.default_rng(1).integers(-9000, 9000, (6, 32))
    lows = integers.lows(logits)
    assert (lows[:, 0] == 0).all() and (lows[:, -1] == 1 << 24).all()
    assert (np.diff(lows) >= 1).all()
    share = np.exp2(logits / 256)
    share /= share.sum(1, keepdims=True)
    assert np.allclose(np.diff(lows) / 2**24, share, atol=1e-4)


def test_tables_are_what_they_are_named_after(pair):
    table = pair[1].t
    assert table["exp2"][0] == 1 << 22 and table["exp2"][255] == round(2 ** (22 - 255 / 256))
    assert table["gelu"][128] == 0 and table["gelu"][128 + 127] == 127
    x = 1.0
    wanted = x * 0.5 * (1 + math.erf(x / math.sqrt(2)))
    assert table["gelu"][128 + round(x / ACT_STEP)] == round(wanted / ACT_STEP)


def test_what_does_not_fit_is_refused_by_name(tmp_path):
    model = untrained()
    with torch.no_grad():
        model.layers[1].nothing[0] = 1e12
    with pytest.raises(UserError, match="nothing"):
        write(model, tmp_path / "entropy.safetensors")


def test_a_manifest_names_the_model_once():
    text = (BUNDLES[0] / "manifest.toml").read_text()
    once = entropy_export.with_entropy(text, b"some bytes")
    assert entropy_export.with_entropy(once, b"some bytes") == once
    found = tomllib.loads(once)
    assert found["entropy"] == {"kind": "transformer", "file": "entropy.safetensors"}
    assert found["files"]["entropy.safetensors"]["bytes"] == 10
    before = tomllib.loads(text)
    same = {"entropy", "files"}
    assert {k: v for k, v in found.items() if k not in same} == {
        k: v for k, v in before.items() if k not in same
    }


def test_tables_of_frequencies_have_the_total():
    model = EntropyModel(SMALL, frequencies=torch.arange(4 * 32).reshape(4, 32).float())
    tables = entropy_export.tables(model).astype(int)
    assert (tables.sum(1) == 65536).all() and (tables >= 1).all()
    assert tables[0, 31] > tables[0, 1]


def test_the_search_finds_what_the_bundle_finds():
    books = np.random.default_rng(0).normal(size=(4, 32, 8)).astype(np.float32)
    latents = np.random.default_rng(1).normal(size=(50, 8)).astype(np.float32) * 2
    wanted = list(beam_search(latents, list(books), 4))
    found = tokens.search(torch.from_numpy(latents), torch.from_numpy(books), 4, (1, 2, 4))
    for depth, values in found.items():
        assert np.array_equal(values.numpy(), wanted[depth - 1])


def test_a_run_from_tokens_to_a_bundle(tmp_path):
    """The commands, on random tokens: they fit together, and a bundle that has it still opens."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for path in BUNDLES[0].iterdir():
        (bundle / path.name).write_bytes(path.read_bytes())
    opened = BundleCodec(bundle)
    random = np.random.default_rng(0)
    cache = tmp_path / "tokens"
    cache.mkdir()
    arrays = {f"codes{d}": random.integers(0, 1024, (900, d)).astype(np.uint16) for d in (3, 6, 12)}
    np.savez(cache / "tokens-0.npz", lengths=np.full(3, 300), voices=np.array(list("abc")), **arrays)
    index = {"format": tokens.FORMAT, "codebooks": "of another"}
    run = tmp_path / "run"
    words = ["--tokens", cache, "--bundle", bundle, "--out", run, "--steps", 3, "--batch", 2]
    words += ["--frames", 24, "--rounded", 0.5, "--threads", 1]
    for word in ("width=32", "heads=2", "layers=1", "hidden=32", "content_hidden=32",
                 "book_hidden=16", "fine_hidden=16"):
        words += ["--set", word]
    (cache / "index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="other codebooks"):
        entropy_train.run(options(entropy_train, *words))
    index["codebooks"] = tokens.books_hash(opened)
    (cache / "index.json").write_text(json.dumps(index))
    assert entropy_train.run(options(entropy_train, *words)) == 0
    tables = tmp_path / "tables.safetensors"
    words = [run / "entropy.pt", "--bundle", bundle, "--tables", tables]
    assert entropy_export.run(options(entropy_export, *words)) == 0
    after = BundleCodec(bundle)
    assert after.identity != opened.identity
    assert after.verified("entropy.safetensors") and tables.exists()
    assert [p.name for p in bundle.iterdir() if p.name.startswith(".")] == []
    with pytest.raises(UserError, match="no size"):
        entropy_train.sizes(["wideness=3"])
    with pytest.raises(UserError, match="cannot read"):
        entropy_export.load_state(Path("nowhere.pt"))
    assert entropy_train.sizes(["width=32"]) == EntropyConfig(width=32)
