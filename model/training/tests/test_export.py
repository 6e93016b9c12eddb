"""Export: the bundle is the model, is written whole or not at all, and says nothing of the machine
that it was made on."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import math
import shutil
import tomllib
import types
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
for package in ("onnxscript", "onnxruntime", "safetensors", "soundfile", "soxr"):
    pytest.importorskip(package)

from onnx import numpy_helper
from parlo_training import evaluate, export, stored_weights
from parlo_training.bundle import BundleCodec, shared, with_tokens
from parlo_training.checkpoint import Checkpoint
from parlo_training.codec import Codec
from parlo_training.entropy_export import with_entropy
from parlo_training.errors import UserError
from support import ROOT, first_format, options, pulse_train, scores, setting, write_cache

PARTS = ("encoder", "decoder")
KINDS = {
    "tiny": (), "vocos": ('decoder.head="vocos"',), "24k": ("audio.rate=24000",),
    "lean": ('decoder.head="harmonic-noise"',),
    "voice": ('encoder.kind="voice"', "quantizer.level_scale=0.67", "quantizer.phase_scale=2.0",
              "quantizer.phase_from=1", 'decoder.head="harmonic-noise"'),
}
# a graph takes seconds to write: one export a kind is shared, and what does not depend on the
# graphs copies them
slow = pytest.mark.slow


def checkpoint_of(path: Path, *changes: str, encoder: dict | None = None) -> Path:
    """A checkpoint with random weights that make use of the whole network.

    encoder: weights to take the encoder's from.
    """
    config = setting("tiny", *changes)
    torch.manual_seed(1)
    codec = Codec(config)
    bins = config.audio.bins
    with torch.no_grad():
        codec.quantizer.codebooks.normal_()
        codec.quantizer.codebooks[0, :, 0] *= 30  # pitches from the lowest to the highest
        codec.decoder.head.bias[:bins] = -1  # loud enough for differences to be seen
        if config.decoder.head == "harmonic":
            codec.decoder.listen.weight.normal_(std=0.05)
    if encoder:
        codec.encoder.load_state_dict(encoder)
    weights = codec.state_dict()
    notes = {"hours": 1.5, "speakers": 3, "hardware": "a test's"}
    Checkpoint(config, 100, 600.0, weights, weights, notes=notes).save(path)
    return path


def changed(path: Path, to: Path, name: str, value: float) -> Path:
    """The checkpoint with an element of a tensor changed."""
    checkpoint = Checkpoint.load(path)
    checkpoint.average[name].view(-1)[0] = value
    checkpoint.save(to)
    return to


def run(checkpoint: Path, out: Path, *words: object) -> types.SimpleNamespace:
    """`export`, and what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as said, \
            contextlib.redirect_stderr(io.StringIO()) as noted:
        assert export.run(options(export, checkpoint, "--out", out, *words)) == 0
    return types.SimpleNamespace(
        folder=out, checkpoint=checkpoint, said=said.getvalue(), noted=noted.getvalue()
    )


def copies(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Makes `write_graph` copy those of a bundle, and the check a short one."""
    patch.setattr(export, "write_graph",
                  lambda graph, path: shutil.copyfile(folder / path.name, path))
    short(patch)


def short(patch: pytest.MonkeyPatch) -> None:
    """Makes the check signal half a second: enough for all that is not periodic in seconds."""
    whole = export.check_signal
    patch.setattr(export, "check_signal", lambda rate: whole(rate, 0.5))


def content(folder: Path) -> dict[str, bytes]:
    """All files below the folder, by their names."""
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A kind's bundle, exported when it is first asked for."""
    known = {}

    def made(kind: str) -> types.SimpleNamespace:
        if kind not in known:
            known[kind] = None  # an export that fails is not tried again for every test
            folder = tmp_path_factory.mktemp(kind)
            with pytest.MonkeyPatch.context() as patch:
                words, encoder = [], None
                if kind == "tiny":
                    (folder / "sources.md").write_text("Voices of *nobody*.\n")
                    words = ["--description", 'A "tiny" codec.', "--licence", "CC0-1.0",
                             "--sources", folder / "sources.md", "--slim", folder / "slim.pt"]
                else:
                    short(patch)
                if kind in ("vocos", "lean"):  # the encoder is the same: its graph is there already
                    tiny, write = made("tiny"), export.write_graph
                    weights = Checkpoint.load(tiny.checkpoint).average
                    encoder = {name.removeprefix("encoder."): value
                               for name, value in weights.items() if name.startswith("encoder.")}
                    patch.setattr(export, "write_graph", lambda graph, path: (
                        shutil.copyfile(tiny.folder / path.name, path)
                        if path.stem == "encoder" else write(graph, path)
                    ))
                path = checkpoint_of(folder / "checkpoint.pt", *KINDS[kind], encoder=encoder)
                known[kind] = run(path, folder / kind, *words)
        assert known[kind], f"the export of {kind} failed before"
        return known[kind]

    return made


@pytest.fixture
def tiny(made):
    return made("tiny")


@pytest.fixture
def copied(tiny, monkeypatch):
    """`tiny`, and no graph is written from here on: tiny's are copied."""
    copies(tiny.folder, monkeypatch)
    return tiny


# The bundle.


@slow
def test_a_bundle_is_what_its_manifest_says(tiny):
    bundle = BundleCodec(tiny.folder)
    assert (bundle.name, bundle.sample_rate, bundle.frame_samples) == ("tiny", 16000, 320)
    assert bundle.delay_samples == 320 and bundle.sizes == [32] * 4
    assert bundle.manifest["description"] == 'A "tiny" codec.'
    assert bundle.manifest["licence"] == "CC0-1.0"
    listed = bundle.manifest["files"]
    assert set(listed) == {"encoder.onnx", "decoder.onnx", "codebooks.safetensors"}
    for name, stated in listed.items():
        found = (tiny.folder / name).read_bytes()
        assert stated == {"bytes": len(found), "sha256": hashlib.sha256(found).hexdigest()}
    assert content(tiny.folder).keys() == {*listed, "manifest.toml", "README.md"}
    # ... whoever may read one file may read them all
    assert len({path.stat().st_mode for path in tiny.folder.iterdir()}) == 1


@slow
def test_the_codebooks_are_those_of_the_checkpoint(tiny):
    books = Checkpoint.load(tiny.checkpoint).average["quantizer.codebooks"]
    assert np.array_equal(BundleCodec(tiny.folder).books, books.half().float().numpy())


@slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_is_the_model(kind, made):
    lines = [line.split(maxsplit=1) for line in made(kind).said.splitlines()]
    compared = ["encoder", "decoder at depth 1", "decoder at depth 2", "decoder at depth 4"]
    assert {what for _, what in lines} == {
        f"{part}, {pair}" for part in compared
        for pair in ("stream and whole file", "graph and PyTorch",
                     "graph of many frames and PyTorch")
    }
    assert all(float(difference) <= export.TOLERANCE for difference, _ in lines)


@slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_runs_and_silence_stays_finite(kind, made):
    bundle = BundleCodec(made(kind).folder)
    rate = 24000 if kind == "24k" else 16000
    assert (bundle.sample_rate, bundle.frame_samples) == (rate, rate // 50)
    assert ("oscillator" in bundle._decoder.zeros) == (kind != "vocos")
    voice = pulse_train(150, 0.3, rate)
    square = np.where(np.arange(rate // 5) % 100 < 50, 1, -1)
    silence = np.zeros(rate // 2)
    for audio in (silence, np.concatenate([voice, silence, square])):
        # process refuses what is not finite
        heard = bundle.process(audio.astype(np.float32), [1, 4])
        assert all(found.shape == audio.shape for found in heard.values())
        assert np.abs(heard[1] - heard[4]).max() > 1e-3


@slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", PARTS)
def test_a_graph_is_plain_and_says_nothing_of_its_origin(part, kind, made):
    folder = made(kind).folder
    data = (folder / f"{part}.onnx").read_bytes()
    for trace in (b"parlo_training", b"site-packages", b".py", b"stack_trace", b"Traceback",
                  str(ROOT).encode(), str(Path.home()).encode() + b"/"):
        assert trace not in data, trace
    model = onnx.load_from_string(data)
    kinds = {node.op_type for graph in (model.graph, *model.functions) for node in graph.node}
    # the runtime cannot fold the first; the others would be sequences and branches
    assert not kinds & {"CastLike", "SplitToSequence", "SequenceAt", "If", "Loop"}
    assert [opset.version for opset in model.opset_import if opset.domain == ""] == [18]
    stated = tomllib.loads((folder / "manifest.toml").read_text())[part]
    inputs = {value.name: [-1 if dim.dim_param else dim.dim_value
                           for dim in value.type.tensor_type.shape.dim]
              for value in model.graph.input}
    expected = {state["input"]: state["shape"] for state in stated["states"]}
    expected |= {stated[key]["name"]: stated[key]["shape"]
                 for key in ("audio", "latent", "depth_one_hot")
                 if key in stated and key != ("latent" if part == "encoder" else "audio")}
    assert inputs == expected


@slow
@pytest.mark.parametrize("part", PARTS)
def test_what_is_stored_loses_nothing(part, tiny):
    codec = Codec(setting("tiny"))
    codec.load_state_dict(Checkpoint.load(tiny.checkpoint).average)
    stored_weights.round_weights(codec)
    owner = getattr(codec, part)
    model = onnx.load(tiny.folder / f"{part}.onnx")
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    floats = [values for values in stored.values() if values.dtype == np.float32]
    halves = [values for values in stored.values() if values.dtype == np.float16]
    assert halves and all(values.size >= stored_weights.LARGE for values in halves)
    axes = {node.input[0]: node.attribute[0].i for node in model.graph.node
            if node.op_type == "DequantizeLinear"}
    matrices = [
        values.astype(np.float32)
        * np.expand_dims(stored[name.removesuffix(".bytes") + ".scale"], 1 - axes[name])
        for name, values in stored.items() if values.dtype == np.int8
    ]

    def found(values: np.ndarray, among: list[np.ndarray]) -> bool:
        whole = values.reshape(-1)
        return any(
            np.array_equal(one.astype(np.float32).reshape(-1), whole)
            or one.ndim == 2 and np.array_equal(one.T.astype(np.float32).reshape(-1), whole)
            for one in among if one.size == values.size
        )

    in_bytes = {id(weight) for weight in stored_weights._byte_matrices(codec)}
    assert in_bytes
    for name, parameter in owner.named_parameters():
        if parameter.numel() >= stored_weights.LARGE:
            among = matrices if id(parameter) in in_bytes else halves
            assert found(parameter.detach().numpy(), among), name
    for values in floats:  # what is large and still whole is not made of halves
        assert values.size < stored_weights.LARGE or not np.array_equal(
            values.astype(np.float16).astype(np.float32), values
        )
    if part == "decoder":
        increments = owner.excitation.pitch.increments.numpy()
        assert found(increments, floats) and not found(increments, halves)


def test_only_large_weights_are_rounded():
    torch.manual_seed(1)
    codec = Codec(setting("tiny"))
    in_bytes = {id(weight) for weight in stored_weights._byte_matrices(codec)}
    before = {name: value.clone() for name, value in codec.named_parameters()}
    stored_weights.round_weights(codec)
    for name, value in codec.named_parameters():
        if value.numel() < stored_weights.LARGE:
            assert torch.equal(value, before[name]), name
        elif id(value) in in_bytes:
            step = before[name].abs().amax(1, keepdim=True) / 127
            # the scale is rounded down by 2^-15 at most, which shifts the largest multiples by as much
            assert ((value - before[name]).abs() <= 0.505 * step).all(), name
            assert all(len(row.unique()) <= 255 for row in value)
        else:
            assert torch.equal(value, before[name].half().float()), name
    books = codec.quantizer.codebooks
    assert torch.equal(books, books.half().float())


def test_matrices_in_bytes_come_back_as_they_were():
    torch.manual_seed(1)
    weight = torch.randn(40, 64) * torch.logspace(-12, 4, 40)[:, None]
    weight[3] = 0
    rounded = stored_weights._to_bytes(weight)
    assert torch.equal(stored_weights._to_bytes(rounded), rounded)
    for values in (rounded, rounded.T.contiguous()):
        graph = onnx.helper.make_graph(
            [], "", [], [], [numpy_helper.from_array(values.numpy(), "weight")]
        )
        model = onnx.helper.make_model(graph)
        stored_weights.store(model)
        (node,) = model.graph.node
        assert node.op_type == "DequantizeLinear"
        whole, scale = (numpy_helper.to_array(tensor) for tensor in model.graph.initializer)
        assert whole.dtype == np.int8
        scale = np.expand_dims(scale, 1 - node.attribute[0].i)
        assert np.array_equal(whole.astype(np.float32) * scale, values.numpy())


def test_whatever_is_in_a_name_the_manifest_is_toml(tmp_path):
    codec, text = Codec(setting("tiny")), 'a "b" \\ c\nd\te\x7f\x00 é 語'
    stated = tomllib.loads(export.manifest(codec, text, text, text, tmp_path))
    assert [stated[key] for key in ("name", "description", "licence")] == [text] * 3


# Tokens that another bundle has, too.


@slow
def test_a_new_bundle_has_tokens_of_its_own_and_one_delay_for_each_graph(tiny):
    bundle = BundleCodec(tiny.folder)
    own = hashlib.sha256(shared(bundle.manifest).encode()).hexdigest()
    assert bundle.manifest["tokens"] == {"id": own} and bundle.identities == [own]
    assert [bundle.manifest[part]["delay_samples"] for part in PARTS] == [0, 320]
    for part in PARTS:
        stated = bundle.manifest["files"][f"{part}.onnx"]["sha256"]
        assert bundle.manifest[part]["sha256"] == stated


@slow
def test_a_decoder_serves_the_bundle_whose_tokens_it_was_trained_for(copied, tmp_path):
    first = first_format(copied.folder, tmp_path / "first")
    run(copied.checkpoint, tmp_path / "newer", "--serves", first)
    # ... and so does one that was trained for the newer one's
    run(copied.checkpoint, tmp_path / "newest", "--serves", tmp_path / "newer")
    earlier = BundleCodec(first)
    assert earlier.identities == [earlier.identity]
    for name in ("newer", "newest"):
        bundle = BundleCodec(tmp_path / name)
        own = hashlib.sha256(shared(earlier.manifest).encode()).hexdigest()
        assert bundle.identities == [earlier.identity, own] and bundle.tokens == earlier.tokens
        assert bundle.identity not in bundle.identities
        served = f"served-{earlier.identity[:8]}.toml"
        assert (tmp_path / name / served).read_bytes() == (first / "manifest.toml").read_bytes()
        assert bundle.verified(served)
        assert content(tmp_path / name).keys() == {*bundle.manifest["files"], "manifest.toml", "README.md"}


@slow
def test_a_served_entropy_model_is_copied_and_another_makes_other_tokens(copied, tmp_path):
    first = first_format(copied.folder, tmp_path / "first")
    (first / "entropy.safetensors").write_bytes(b"a model")
    text = with_entropy((first / "manifest.toml").read_text(), b"a model")
    (first / "manifest.toml").write_text(text)
    run(copied.checkpoint, tmp_path / "newer", "--serves", first)
    bundle = BundleCodec(tmp_path / "newer")
    assert bundle.tokens == BundleCodec(first).tokens
    assert bundle.verified("entropy.safetensors") == b"a model"
    (tmp_path / "newer/entropy.safetensors").write_bytes(b"another")
    text = with_tokens(with_entropy((tmp_path / "newer/manifest.toml").read_text(), b"another"))
    (tmp_path / "newer/manifest.toml").write_text(text)
    other = BundleCodec(tmp_path / "newer")
    assert len(other.identities) == 1 and other.tokens not in bundle.identities


@slow
def test_tokens_that_are_others_are_not_served(copied, tmp_path):
    other = changed(copied.checkpoint, tmp_path / "other.pt", "quantizer.codebooks", 1.0)
    with pytest.raises(UserError, match="codebooks are not those of .*: only a decoder"):
        run(other, tmp_path / "bundle", "--serves", copied.folder)
    with pytest.raises(UserError, match="cannot read .*manifest.toml"):
        run(other, tmp_path / "bundle", "--serves", tmp_path / "nothing")
    assert content(tmp_path).keys() == {"other.pt"}


# What is not the model, and where it may not go.


@slow
@pytest.mark.parametrize(("name", "value", "words"), [
    ("encoder.rest.weight", 1.0, "encoder, graph.* and PyTorch differ by"),
    ("decoder.head.weight", 1.0, "decoder at depth ., graph.* and PyTorch differ by"),
    ("decoder.head.bias", math.nan, "decoder at depth .* differ by inf"),
])
def test_a_bundle_that_is_not_the_model_is_refused(name, value, words, copied, tmp_path):
    other = changed(copied.checkpoint, tmp_path / "other.pt", name, value)
    with pytest.raises(UserError, match="the bundle is not the model: " + words):
        run(other, tmp_path / "new/bundle")
    assert content(tmp_path).keys() == {"other.pt"}


@slow
def test_a_bundle_is_replaced_only_on_demand(copied, tmp_path):
    out = tmp_path / "bundle"
    out.mkdir()
    run(copied.checkpoint, out, "--description", "First", "--force")  # nothing was in it
    first = content(out)
    with pytest.raises(UserError, match="is there already: name another folder, or give --force"):
        run(copied.checkpoint, out)
    assert content(out) == first
    run(copied.checkpoint, out, "--description", "Second", "--force")
    assert BundleCodec(out).manifest["description"] == "Second"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    # the same checkpoint gives the same bundle
    run(copied.checkpoint, out, "--description", "First", "--force")
    assert content(out) == first


@slow
def test_what_is_no_bundle_is_never_replaced(copied, tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/letter.txt").write_text("dear")
    (tmp_path / "file").write_text("kept")
    before = content(tmp_path)
    monkeypatch.chdir(tmp_path / "folder")
    for out in (tmp_path / "folder", tmp_path / "file", "."):
        with pytest.raises(UserError, match="is not a bundle: name another folder"):
            run(copied.checkpoint, out, "--force")
    assert content(tmp_path) == before


@slow
@pytest.mark.parametrize("failure", ["full", "different", "large", "move", "killed"])
def test_a_failure_leaves_the_old_bundle_whole(failure, copied, tmp_path, monkeypatch):
    out = tmp_path / "bundle"
    shutil.copytree(copied.folder, out)
    before, move = content(out), Path.replace

    def full(graph, path):
        path.write_bytes(b"half of a gr")
        raise OSError(errno.ENOSPC, "No space left on device")

    def killed(graph, path):
        path.write_bytes(b"half of a gr")
        raise KeyboardInterrupt

    def refused(path, target):
        if path.suffix == ".partial":
            raise OSError(errno.EACCES, "Permission denied")
        return move(path, target)

    raised, words = UserError, None
    if failure == "full":
        monkeypatch.setattr(export, "write_graph", full)
        words = "cannot write the bundle .*: No space left on device"
    elif failure == "different":
        monkeypatch.setattr(export, "largest_difference", lambda *_: {"a and b": 1.1e-4})
        words = "the bundle is not the model: a and b differ by 1.10e-04, more than 0.0001"
    elif failure == "large":
        monkeypatch.setattr(export, "LARGEST", 1000)
        words = "the bundle has .* bytes, more than 1000"
    elif failure == "move":
        monkeypatch.setattr(Path, "replace", refused)
        words = "cannot write the bundle .*: Permission denied"
    else:
        monkeypatch.setattr(export, "write_graph", killed)
        raised = KeyboardInterrupt
    with pytest.raises(raised, match=words):
        run(copied.checkpoint, out, "--description", "New", "--force")
    assert content(out) == before and [path.name for path in tmp_path.iterdir()] == ["bundle"]


@slow
def test_what_a_kill_leaves_is_not_in_the_way(copied, tmp_path):
    for name in ("bundle.partial", "bundle.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "encoder.onnx").write_text("half")
    shutil.copytree(copied.folder, tmp_path / "bundle")
    run(copied.checkpoint, tmp_path / "bundle", "--force")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    BundleCodec(tmp_path / "bundle")


def test_what_is_missing_is_said_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "write_graph", lambda *_: pytest.fail("the work has begun"))
    path, out = checkpoint_of(tmp_path / "checkpoint.pt"), tmp_path / "bundle"
    before = content(tmp_path)
    for words, said in (
        (("--sources", tmp_path / "none.md"), "cannot read .*none.md"),
        (("--scores", tmp_path / "none.csv"), "cannot read .*none.csv"),
        (("--scores", path), "is not a scores.csv"),
        (("--slim", path), "--slim names the checkpoint itself"),
        (("--card-only",), "there is no bundle in"),
    ):
        with pytest.raises(UserError, match=said):
            run(path, out, *words)
    with pytest.raises(UserError, match="there is no checkpoint"):
        run(tmp_path / "none.pt", out)
    assert content(tmp_path) == before


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    path = checkpoint_of(tmp_path / "checkpoint.pt")
    checkpoint = Checkpoint.load(path)
    checkpoint.average["encoder.more"] = checkpoint.average.pop("encoder.enter.bias")
    checkpoint.save(path)
    with pytest.raises(UserError, match="is a checkpoint of another version of this program"):
        run(path, tmp_path / "bundle")


@slow
def test_codebooks_that_have_not_begun_are_told(copied, tmp_path):
    checkpoint = Checkpoint.load(copied.checkpoint)
    checkpoint.step = checkpoint.config.training.unquantized
    checkpoint.save(tmp_path / "early.pt")
    noted = run(tmp_path / "early.pt", tmp_path / "bundle").noted
    assert "the codebooks have not begun at step 4" in noted
    assert "not begun" not in copied.noted


# The slim checkpoint.


@slow
def test_a_slim_checkpoint_is_the_same_model(tiny):
    codecs = []
    for path in (tiny.checkpoint, tiny.checkpoint.with_name("slim.pt")):
        checkpoint = Checkpoint.load(path)
        codecs.append(Codec(checkpoint.config))
        codecs[-1].load_state_dict(checkpoint.average)
        stored_weights.round_weights(codecs[-1])
    for (name, one), other in zip(codecs[0].named_parameters(), codecs[1].parameters()):
        assert torch.equal(one, other), name
    assert torch.equal(codecs[0].quantizer.codebooks, codecs[1].quantizer.codebooks)


@slow
def test_training_begins_with_a_slim_checkpoint(tiny, tmp_path):
    for package in ("tqdm", "tensorboard", "tomli_w"):
        pytest.importorskip(package)
    from parlo_training import train

    clips = [(f"{f}", pulse_train(f, 1.0, 16000), f) for f in (110, 220)]
    cache = write_cache(tmp_path / "cache", clips, 16000)
    slim = tiny.checkpoint.with_name("slim.pt")
    args = options(train, "--cache", cache, "--out", tmp_path / "run", "--device", "cpu",
                   "--steps", 3, "--from", slim)
    assert train.run(args) == 0
    end = Checkpoint.load(tmp_path / "run/checkpoint.pt")
    assert end.step == 103 and end.config == Checkpoint.load(slim).config
    assert all(torch.isfinite(value).all() for value in end.average.values())


# The model card of a bundle that is there.


@slow
def test_a_card_is_written_anew_alone(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "write_graph", lambda *_: pytest.fail("a graph was written"))
    out = tmp_path / "another-name"
    shutil.copytree(tiny.folder, out)
    before = content(out)
    card = before.pop("README.md").decode()
    assert card.startswith("# Model card: tiny\n\nA \"tiny\" codec.\n\n")
    assert "| licence | CC0-1.0 |" in card and "Voices of *nobody*." in card
    size = sum(map(len, before.values()))
    assert f"| size | {size / 2**20:.1f} MiB |" in card and "Not measured yet" in card
    evaluate.write_rows(tmp_path / "scores.csv", scores("parlo-4", "1", estoi=[0.5, 0.75]))
    # the manifest's description and licence stay, whatever the options' defaults are
    run(tiny.checkpoint, out, "--card-only", "--scores", tmp_path / "scores.csv",
        "--sources", tiny.checkpoint.with_name("sources.md"))
    after = content(out)
    assert after.pop("README.md").decode() == card.replace(
        "Not measured yet: see `evaluate`.", export.score_table(tmp_path / "scores.csv")
    )
    assert after == before


@slow
def test_a_card_is_that_of_its_own_checkpoint(tiny, tmp_path):
    out = tmp_path / "bundle"
    shutil.copytree(tiny.folder, out)
    before = content(out)
    other = changed(tiny.checkpoint, tmp_path / "other.pt", "quantizer.codebooks", 1.0)
    with pytest.raises(UserError, match="was not made from .*other.pt"):
        run(other, out, "--card-only")
    assert content(out) == before
