"""From a checkpoint to a bundle: ONNX graphs, codebooks, manifest, model card, each checked."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from safetensors.numpy import save
from torch import Tensor, nn

from .bundle import MANIFEST, UNKNOWN, BundleCodec, with_tokens
from .card import model_card, score_table
from .checkpoint import Checkpoint
from .codec import Codec
from .errors import UserError
from .stored_weights import round_weights, store

TOLERANCE = 1e-4  # largest difference of any sample or latent element, full scale being 1
LARGEST = 12 * 2**20  # bytes of a bundle
ENTROPY = 2 * 2**20  # bytes more, with an entropy model
SERVED = "served-"  # how the files begin that hold manifests of bundles whose tokens are served
CODEBOOKS = {"file": "codebooks.safetensors", "tensor": "codebooks"}
OPEN = -1  # a dimension as long as the frames of one run need
GRAPHS = {1: "graph", 32: "graph of many frames"}  # frames a run that are compared, and their name
TRACED = 3  # frames of the run that is traced: with one, the tracer would take it for a constant


@dataclass
class Graph:
    """A step of a stream, with its tensors' names and the shapes of its states."""

    owner: nn.Module  # whose `step` it is
    inputs: dict[str, tuple[int, ...]]
    output: str
    states: dict[str, tuple[int, ...]]
    lengths: dict[str, int]  # of the inputs with an open dimension: how much of it a frame takes

    def shape(self, name: str, frames: int) -> list[int]:
        """The shape of an input of a run of so many frames."""
        length = frames * self.lengths[name]
        return [length if size == OPEN else size for size in self.inputs[name]]


class _Step(nn.Module):
    def __init__(self, owner: nn.Module):
        super().__init__()
        self.owner = owner

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return self.owner.step(*tensors)


def graphs(codec: Codec) -> dict[str, Graph]:
    """The encoder's and the decoder's graph. States are zeros at the start of a stream."""
    config = codec.config
    frame, hop, stages = config.audio.frame, config.audio.hop, config.quantizer.stages
    past, latent = config.encoder.kernel - 1, config.quantizer.latent
    encoder = {"before": (1, frame)}
    encoder |= {f"block{i}": (1, past, config.encoder.width) for i in range(config.encoder.blocks)}
    own = config.decoder
    decoder = {"tail": (1, hop)}
    if own.head == "harmonic":
        decoder |= {"oscillator": (1, 3), "sources": (1, 2, hop)}
    elif own.head == "harmonic-noise":
        decoder |= {"oscillator": (1, 5), "pulses": (1, hop)}
    decoder |= {f"block{i}": (1, own.kernel - 1, own.width) for i in range(own.blocks)}
    decoder |= {f"fine{i}": (1, own.kernel - 1, own.fine_width) for i in range(own.fine_blocks)}
    return {
        "encoder": Graph(
            codec.encoder, {"audio": (1, OPEN)}, "latent", encoder, {"audio": frame}
        ),
        "decoder": Graph(
            codec.decoder,
            {"latent": (1, OPEN, latent), "depth_one_hot": (OPEN, stages + 1)}, "audio", decoder,
            {"latent": 1, "depth_one_hot": 1},
        ),
    }


def write_graph(graph: Graph, path: Path) -> None:
    """Traces a step of any number of frames and writes it as ONNX, large weights in bytes and
    halves."""
    inputs = {name: graph.shape(name, TRACED) for name in graph.inputs} | graph.states
    example = tuple(torch.zeros(shape) for shape in inputs.values())
    frames = torch.export.Dim("frames")
    dynamic = [
        {shape.index(OPEN): graph.lengths[name] * frames} for name, shape in graph.inputs.items()
    ]
    outputs = [graph.output, *(f"{name}_out" for name in graph.states)]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        # the optimiser is off: it drops the small constants that keep silence finite, and it would
        # store the transforms' matrices, which the runtime computes when it loads the graph
        program = torch.onnx.export(
            _Step(graph.owner).eval(), example, input_names=list(inputs), output_names=outputs,
            opset_version=18, dynamo=True, optimize=False, verbose=False,
            dynamic_shapes=((*dynamic, *[None] * len(graph.states)),),
        )
    model = program.model_proto
    _name_casts(model)
    store(model)
    _forget_origin(model)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _name_casts(model: onnx.ModelProto) -> None:
    """Turns CastLike, which the runtime cannot fold and warns of, into Cast."""
    inferred = onnx.shape_inference.infer_shapes(model)
    types = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    types |= {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    types |= {value.name: value.data_type for value in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "CastLike" and types.get(node.input[1]):
            kind = types[node.input[1]]
            node.op_type = "Cast"
            del node.input[1]
            node.attribute.append(onnx.helper.make_attribute("to", kind))


def _forget_origin(model: onnx.ModelProto) -> None:
    """Drops what the tracer noted of source files: it is large, and of the machine it ran on."""
    model.doc_string = ""
    del model.metadata_props[:]
    for graph in [model.graph, *model.functions]:
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]:
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    del model.graph.metadata_props[:]


def serve(bundle: BundleCodec, codec: Codec, folder: Path) -> list[str]:
    """Copies what makes a bundle's tokens to `folder`: codebooks, entropy model, and the manifests
    of the identities that the new bundle serves as well; returns those, earliest first.

    Raises UserError if the codec's tokens are others.
    """
    audio, quantizer = codec.config.audio, bundle.manifest["quantizer"]
    ours = codec.quantizer.codebooks.numpy()
    if (audio.rate, audio.frame) != (bundle.sample_rate, bundle.frame_samples) or (
        len(bundle.books) != len(ours) or not all(map(np.array_equal, bundle.books, ours))
    ):
        raise UserError(f"the checkpoint's codebooks are not those of {bundle.folder}: only a decoder "
                        "that was trained for its tokens (`train --tokens`) can serve them")
    kept = [quantizer["file"]]
    if "entropy" in bundle.manifest:
        kept.append(bundle.manifest["entropy"]["file"])
    for name in kept:
        (folder / name).write_bytes(bundle.verified(name))
    if bundle.manifest["format"] == 1:
        text = (bundle.folder / MANIFEST).read_bytes()
        (folder / f"{SERVED}{bundle.identity[:8]}.toml").write_bytes(text)
        return [bundle.identity]
    served = bundle.identities[:-1]
    for name, stated in bundle.manifest["files"].items():
        if stated["sha256"].lower() in served:
            (folder / name).write_bytes(bundle.verified(name))
    return served


def manifest(
    codec: Codec, name: str, description: str, licence: str, folder: Path,
    serves: BundleCodec | None = None, served: Sequence[str] = (),
) -> str:
    """The bundle's manifest (TOML), with the length and hash of every file of `folder`.

    serves: the bundle whose tokens it is for, if they are not its own. served: the identities that
    they had.
    """
    audio, quantizer = codec.config.audio, codec.config.quantizer
    files = {path.name: path.read_bytes() for path in sorted(folder.glob("*"))
             if path.suffix in (".onnx", ".safetensors") or path.name.startswith(SERVED)}
    books = serves.manifest["quantizer"] if serves else CODEBOOKS
    lines = [
        "# A Parlo model bundle. The SHA-256 of this file is the bundle's identity; it covers all "
        "other files by their hashes.",
        "format = 2",
        f"name = {_quoted(name)}",
        f"description = {_quoted(description)}",
        f"licence = {_quoted(licence)}",
        "",
        "[tokens]",
        f'id = "{UNKNOWN}"',  # of what stands below
        *([f"serves = {json.dumps(list(served))}"] if served else []),
        "",
        "[audio]",
        f"sample_rate = {audio.rate}",
        f"frame_samples = {audio.frame}",
    ]
    # The encoder looks at nothing beyond its frame: all that is late is the decoder's.
    delays = {"encoder": 0, "decoder": codec.delay}
    names = {"audio": "audio", "latent": "latent", "depth_one_hot": "depth_one_hot"}

    def tensor(key: str, shape: tuple[int, ...]) -> str:
        return f'{key} = {{ name = "{names[key]}", shape = {list(shape)} }}'

    parts = graphs(codec)
    for part, graph in parts.items():
        result = (1, OPEN, quantizer.latent) if graph.output == "latent" else (1, OPEN)
        lines += ["", f"[{part}]", f'file = "{part}.onnx"',
                  f'sha256 = "{hashlib.sha256(files.get(f"{part}.onnx", b"")).hexdigest()}"',
                  f"delay_samples = {delays[part]}"]
        lines += [tensor(key, shape) for key, shape in graph.inputs.items()]
        lines += [tensor(graph.output, result), "states = ["]
        lines += [
            f'    {{ input = "{name}", output = "{name}_out", shape = {list(shape)} }},'
            for name, shape in graph.states.items()
        ]
        lines += ["]"]
        if part == "encoder":
            lines += ["", "[quantizer]", 'kind = "residual"', f"file = {_quoted(books['file'])}",
                      f"tensor = {_quoted(books['tensor'])}", f"dimension = {quantizer.latent}",
                      f"sizes = {[quantizer.entries] * quantizer.stages}"]
    if serves and "entropy" in serves.manifest:
        entropy = serves.manifest["entropy"]
        lines += ["", "[entropy]", f'kind = "{entropy["kind"]}"', f"file = {_quoted(entropy['file'])}"]
    lines += ["", "[files]"]
    for path, content in files.items():
        digest = hashlib.sha256(content).hexdigest()
        lines.append(f'{_quoted(path)} = {{ bytes = {len(content)}, sha256 = "{digest}" }}')
    return with_tokens("\n".join(lines) + "\n")


def _quoted(text: str) -> str:
    # a TOML string escapes what a JSON string does, and the delete character
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def check_signal(rate: int, seconds: float = 4.0) -> np.ndarray:
    """Something that meets every part of the network: voiced glides, noise, clicks, silence."""
    random = np.random.default_rng(3)
    n = np.arange(int(seconds * rate))
    pitch = 150 * 2 ** (0.6 * np.sin(2 * np.pi * 0.4 * n / rate))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voiced = sum(np.cos(k * phase) / k for k in range(1, 20))
    loudness = np.clip(np.sin(2 * np.pi * 1.5 * n / rate), 0, 1)
    hiss = np.roll(loudness, rate // 3) * random.normal(size=len(n))
    audio = 0.05 * loudness * voiced + 0.02 * hiss
    audio[rate // 2 : rate // 2 + rate // 4] = 0
    audio[:: rate // 2] += 0.5
    return audio.astype(np.float32)


def largest_difference(codec: Codec, folder: Path) -> dict[str, float]:
    """How far streams and graphs are from the whole file in PyTorch, on a check signal.

    The keys say what is compared; the values are the largest absolute differences, of the pitch
    element in octaves, and infinite where anything is not a number. Raises BundleError if the
    bundle cannot be read, or puts out what is not finite.
    """
    config = codec.config
    audio = check_signal(config.audio.rate)
    frames = len(audio) // config.audio.frame
    audio = audio[: frames * config.audio.frame]
    bundle = BundleCodec(folder)
    differences = {}

    def note(what: str, one: np.ndarray, other: np.ndarray) -> None:
        # a comparison with a NaN is false: what is not a number must not pass
        difference = np.abs(one - other).max()
        differences[what] = float(difference) if np.isfinite(difference) else float("inf")

    with torch.no_grad():
        whole = codec.encoder(torch.from_numpy(audio)[None])[0]
        steps = [(frame,) for frame in torch.from_numpy(audio).view(frames, 1, -1)]
        streamed = _stream(codec, "encoder", steps)
        scale = np.ones(config.quantizer.latent, np.float32)
        scale[0] = config.quantizer.pitch_scale
        note("encoder, stream and whole file", torch.cat(streamed, 1)[0].numpy() / scale,
             whole[0].numpy() / scale)
        for at_once, name in GRAPHS.items():
            bundle.at_once = at_once
            latents = bundle.latents(audio)[:frames]  # silent frames follow them
            note(f"encoder, {name} and PyTorch", latents / scale, whole[0].numpy() / scale)
        codes = codec.quantizer.encode(whole)
        for depth in sorted({1, (config.quantizer.stages + 1) // 2, config.quantizer.stages}):
            some = codes[..., :depth]
            whole_audio = codec.decode(some)[0].numpy()
            latent = codec.quantizer.decode(some)
            one_hot = torch.zeros(1, config.quantizer.stages + 1)
            one_hot[0, depth] = 1
            steps = [(latent[:, t : t + 1], one_hot) for t in range(frames)]
            streamed = torch.cat(_stream(codec, "decoder", steps), 1)[0].numpy()
            note(f"decoder at depth {depth}, stream and whole file", streamed, whole_audio)
            for at_once, name in GRAPHS.items():
                bundle.at_once = at_once
                note(f"decoder at depth {depth}, {name} and PyTorch",
                     bundle.decode(some[0].numpy()), whole_audio)
    return differences


def _stream(codec: Codec, part: str, steps: list[tuple[Tensor, ...]]) -> list[Tensor]:
    graph = graphs(codec)[part]
    states = [torch.zeros(shape) for shape in graph.states.values()]
    results = []
    for inputs in steps:
        result, *states = graph.owner.step(*inputs, *states)
        results.append(result)
    return results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `export`."""
    parser.add_argument("checkpoint", type=Path, help="a checkpoint that `train` wrote")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder; its name too")
    parser.add_argument("--description", default="A speech codec", help="one line for the manifest")
    parser.add_argument("--licence", default="", help="of the weights, an SPDX expression")
    parser.add_argument("--serves", type=Path, metavar="BUNDLE",
                        help="the bundle whose tokens `train --tokens` kept: calls and files made "
                             "with it are served; codebooks and entropy model are copied from it")
    parser.add_argument("--sources", type=Path, help="Markdown on the data and its licences")
    parser.add_argument("--scores", type=Path, help="scores.csv of `evaluate`, for the model card")
    parser.add_argument("--card-only", action="store_true",
                        help="write only the model card of the bundle in --out, anew")
    parser.add_argument("--tokens", type=Path, metavar="CHECKPOINT",
                        help="of a slim checkpoint of `train --tokens`: the checkpoint of those tokens")
    parser.add_argument("--slim", type=Path, help="also write a checkpoint without optimizer state")
    parser.add_argument("--force", action="store_true", help="replace a bundle that is there")


def run(args: argparse.Namespace) -> int:
    """Writes the bundle beside its place, checks it, and only then moves it there."""
    out = Path(os.path.abspath(args.out))  # "." has no name to give to the bundle
    if args.slim and args.slim.resolve() == args.checkpoint.resolve():
        raise UserError("--slim names the checkpoint itself, whose optimizer state would be lost: "
                        "name another file")
    tokens = Checkpoint.load(args.tokens) if args.tokens else None
    checkpoint = Checkpoint.load(args.checkpoint, tokens)
    codec = Codec(checkpoint.config)
    try:
        codec.load_state_dict(checkpoint.average)
    except RuntimeError as error:
        raise UserError(f"{args.checkpoint} is a checkpoint of another version of this "
                        "program") from error
    codec.eval()
    round_weights(codec)
    # what may be missing or wrong is read before the work
    sources = _read(args.sources) if args.sources else ""
    scores = score_table(args.scores) if args.scores else ""
    serves = BundleCodec(args.serves) if args.serves else None
    if args.card_only:
        _require_own(codec, out, args.checkpoint)
        _write(out / "README.md", model_card(checkpoint, codec, out, sources, scores))
    else:
        _require_place(out, args.force)
        if checkpoint.step <= checkpoint.config.training.unquantized:
            print(f"the codebooks have not begun at step {checkpoint.step}: no speech will come "
                  "out of this bundle", file=sys.stderr)
        partial = out.with_name(out.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            served = serve(serves, codec, partial) if serves else []  # what may fail, before the work
            for part, graph in graphs(codec).items():
                write_graph(graph, partial / f"{part}.onnx")
            if not serves:
                codebooks = codec.quantizer.codebooks.numpy().astype(np.float16)
                (partial / CODEBOOKS["file"]).write_bytes(save({CODEBOOKS["tensor"]: codebooks}))
            text = manifest(
                codec, out.name, args.description, args.licence, partial, serves, served
            )
            _write(partial / "manifest.toml", text)
            _require_equal(codec, partial)
            _write(partial / "README.md", model_card(checkpoint, codec, partial, sources, scores))
            size = sum(path.stat().st_size for path in partial.iterdir())
            if size > LARGEST + ENTROPY * ("entropy" in (serves.manifest if serves else {})):
                raise UserError(f"the bundle has {size} bytes, more than {LARGEST}: nothing was "
                                "written. Train a smaller network")
            _put(partial, out)
        except OSError as error:
            raise UserError(f"cannot write the bundle {out}: {error.strerror}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        print(f"{args.out}: {size / 2**20:.1f} MiB", file=sys.stderr)
    if args.slim:
        checkpoint.slim().save(args.slim)
    return 0


def _require_place(out: Path, force: bool) -> None:
    """Raises UserError if something is there already that is not to be replaced."""
    if not out.exists():
        return
    if not force:
        raise UserError(f"{out} is there already: name another folder, or give --force")
    if not (out / MANIFEST).exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} is there already and is not a bundle: name another folder")


def _require_own(codec: Codec, folder: Path, checkpoint: Path) -> None:
    """Raises UserError unless `folder` holds a bundle with this codec's codebooks."""
    if not (folder / MANIFEST).exists():
        raise UserError(f"there is no bundle in {folder}, so there is no card to write anew")
    books = BundleCodec(folder).books
    ours = codec.quantizer.codebooks.numpy()
    if len(books) != len(ours) or not all(map(np.array_equal, books, ours)):
        raise UserError(f"the bundle {folder} was not made from {checkpoint}: name the checkpoint "
                        "that it was made from")


def _require_equal(codec: Codec, folder: Path) -> None:
    """Prints how far the bundle in `folder` is from the model; raises UserError if too far."""
    differences = largest_difference(codec, folder)
    for what, difference in differences.items():
        print(f"{difference:9.2e}  {what}")
    worst = max(differences, key=differences.get)
    if not differences[worst] <= TOLERANCE:
        raise UserError(f"the bundle is not the model: {worst} differ by "
                        f"{differences[worst]:.2e}, more than {TOLERANCE}; nothing was written")


def _put(partial: Path, out: Path) -> None:
    """Moves the bundle to its place. What was there is deleted only after that, and comes back if
    it fails."""
    old = out.with_name(out.name + ".old")
    if out.exists():
        shutil.rmtree(old, ignore_errors=True)
        out.replace(old)
    try:
        partial.replace(out)
    except OSError:
        if old.exists():
            old.replace(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
