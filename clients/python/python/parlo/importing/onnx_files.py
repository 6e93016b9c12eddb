"""A codec's own ONNX files: an encoder that makes codes, and a decoder that takes them.

SNAC (Siuzdak et al., "SNAC: Multi-Scale Neural Audio Codec", 2024) has codes of several rates: a
list of tensors, each [1, codes]. Others have one tensor, [1, codes] or [1, books, codes]. What
is what is found out by running them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, compose

from .checkpoint import CONFIG
from .codec import MOST_BOOKS, Codec, Part
from .errors import ImportFailure, need
from .levels import Levels, Mixed, book_sizes, masked
from .options import Options
from .wrapped import Finished, Wrapped

NAMES = (("encoder.onnx", "decoder.onnx"), ("encoder_model.onnx", "decoder_model.onnx"))
LEAST_OPSET = 13
# Samples of the shorter recording to find rates with, the longer one being twice that: a multiple
# of every frame of the codecs known (SNAC 2048 and 4096, WavTokenizer 320 and 600, EnCodec 320,
# Mimi 1920, DAC 320 and 512).
TRIAL_SAMPLES = 2**12 * 75
INTEGERS = {TensorProto.INT64: np.int64, TensorProto.INT32: np.int32}
ARCHITECTURE = "ONNX"
WHOLE = "its ONNX files take a whole recording at once"


def are_in(folder: Path) -> bool:
    """Whether `folder` has an encoder and a decoder as ONNX."""
    return _files(folder) is not None


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the files, for the bundle's source."""
    return {f"{part}_sha256": hashlib.sha256(path.read_bytes()).hexdigest()
            for part, path in zip(("encoder", "decoder"), _files(folder) or ())}


def _files(folder: Path) -> tuple[Path, Path] | None:
    for encoder, decoder in NAMES:
        if (folder / encoder).is_file() and (folder / decoder).is_file():
            return folder / encoder, folder / decoder
    return None


@dataclass
class Layout:
    """What running the files told."""

    frame_samples: int
    levels: Levels
    audio_rank: int
    missing: int  # samples that the decoder leaves unmade at the end; below 0, makes too many


def load(folder: Path, codec: str, options: Options) -> Codec:
    """The files in `folder` as graphs; raises ImportFailure where they cannot be a bundle."""
    encoder, decoder = (_File(path) for path in _files(folder))
    settings = _settings(folder)
    rate = options.sample_rate or settings.get("sampling_rate") or settings.get("sample_rate")
    if not isinstance(rate, int):
        raise ImportFailure(f"{folder} has no {CONFIG} that names the sampling_rate: give "
                            "--sample-rate HZ")
    notes: list[str] = []
    layout = _layout(encoder, decoder)
    sizes = _sizes(settings, options, decoder, layout.levels)
    if len(sizes) > MOST_BOOKS:
        raise ImportFailure(f"a frame has {len(sizes)} codes; {MOST_BOOKS} is the most")
    if options.books not in (None, len(sizes)):
        raise ImportFailure("--books is for checkpoints: these files make all their codes at once")
    model = compose.add_prefix(decoder.model, "codec.")
    try:
        uses = masked(model, layout.levels)
    except Mixed as error:
        raise ImportFailure(f"{decoder.path.name} {error}: what fewer codes sound like cannot be "
                            "told, and a bundle must decode any number of them") from error
    if any(node.op_type.startswith("Random") for node in decoder.model.graph.node):
        notes.append("The decoder adds random noise: the same codes sound a little different each "
                     "time.")
    order = "Code k is of codebook k, coarsest first."
    if layout.levels.rates and max(layout.levels.rates) > 1:
        spans = ", ".join(f"{rate} of level {level}"
                          for level, rate in enumerate(layout.levels.rates))
        order = (f"A frame is one code of the coarsest level and those of the others in the same "
                 f"time: {spans}; a level's codes in order of time. A level is heard once all its "
                 "codes are there.")
    wrapped = Wrapped(layout.frame_samples, layout.levels)
    return Codec(
        ARCHITECTURE, rate, layout.frame_samples, sizes,
        _part(wrapped.encoder(compose.add_prefix(encoder.model, "codec."), layout.audio_rank),
              len(sizes)),
        _part(wrapped.decoder(model, uses, layout.missing), len(sizes)), WHOLE, notes, order)


def _part(graph: Finished, books: int) -> Part:
    return Part(graph, (1, -1), (-1, books))


def _tensors(message) -> Iterator[TensorProto]:
    """All tensors of a model, however deep: in attributes, subgraphs, functions, sparse tensors."""
    if isinstance(message, TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if hasattr(value, "add") else [value]:
                yield from _tensors(inner)


class _File:
    """One ONNX file, and a session to try it with."""

    def __init__(self, path: Path):
        runtime = need("onnxruntime", "reading ONNX files")
        self.path = path
        try:
            data = path.read_bytes()
            self.model = onnx.load_model_from_string(data)
        except Exception as error:  # of many libraries
            raise ImportFailure(f"cannot read {path}: {error}") from error
        # before anything runs it: such a name can lead to any file of this machine
        for tensor in _tensors(self.model):
            if tensor.external_data or tensor.data_location == TensorProto.EXTERNAL:
                raise ImportFailure(f"the values of tensor {tensor.name!r} are not in {path}, but "
                                    "in a file beside (ONNX external data): save it whole")
        try:
            options = runtime.SessionOptions()
            options.log_severity_level = 3
            # of the bytes that were looked at
            self.session = runtime.InferenceSession(data, options,
                                                    providers=["CPUExecutionProvider"])
        except Exception as error:  # of many libraries
            raise ImportFailure(f"cannot read {path}: {error}") from error
        opset = {entry.domain: entry.version for entry in self.model.opset_import}.get("", 0)
        if opset < LEAST_OPSET:
            raise ImportFailure(f"{path} is of ONNX opset {opset}; {LEAST_OPSET} is the least: "
                                "export it anew")
        graph = self.model.graph
        constants = {tensor.name for tensor in graph.initializer}
        self.inputs = {value.name: value.type.tensor_type.elem_type for value in graph.input
                       if value.name not in constants}
        self.outputs = {value.name: value.type.tensor_type.elem_type for value in graph.output}

    def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        try:
            return self.session.run(outputs, inputs)
        except Exception as error:  # of many libraries
            shapes = {name: list(value.shape) for name, value in inputs.items()}
            raise ImportFailure(f"{self.path.name} does not run with {shapes}: {error}") from error


def _layout(encoder: _File, decoder: _File) -> Layout:
    audio = list(encoder.inputs)
    codes = [name for name, kind in encoder.outputs.items() if kind in INTEGERS]
    if len(audio) != 1 or encoder.inputs[audio[0]] != TensorProto.FLOAT or not codes:
        raise ImportFailure(f"{encoder.path.name} must take one tensor of audio (float32) and make "
                            f"codes (integers); it takes {audio} and makes {list(encoder.outputs)}")
    takes = [name for name, kind in decoder.inputs.items() if kind in INTEGERS]
    sounds = [name for name, kind in decoder.outputs.items() if kind == TensorProto.FLOAT]
    if len(takes) != len(codes) or len(takes) != len(decoder.inputs) or not sounds:
        raise ImportFailure(f"{decoder.path.name} must take the codes that the encoder makes, "
                            f"{codes}, and nothing else, and make audio (float32); it takes "
                            f"{list(decoder.inputs)} and makes {list(decoder.outputs)}")
    if set(takes) == set(codes):
        takes = codes
    rank = len(encoder.session.get_inputs()[0].shape)
    if rank not in (1, 2, 3):
        raise ImportFailure(f"{encoder.path.name}: audio of {rank} dimensions")
    random = np.random.default_rng(1)

    def trial(samples: int) -> tuple[list[np.ndarray], int]:
        sound = (0.1 * random.normal(size=samples)).astype(np.float32)
        made = encoder.run(codes, {audio[0]: sound.reshape((1,) * (rank - 1) + (-1,))})
        kinds = {name: INTEGERS[decoder.inputs[name]] for name in takes}
        inputs = {name: code.astype(kinds[name]) for name, code in zip(takes, made)}
        return made, decoder.run(sounds[:1], inputs)[0].size

    short, made_short = trial(TRIAL_SAMPLES)
    long, made_long = trial(2 * TRIAL_SAMPLES)
    levels = Levels(codes, takes, sounds[0], [INTEGERS[decoder.inputs[name]] for name in takes])
    try:
        frames = levels.learn([code.shape for code in short], [code.shape for code in long])
    except Mixed as error:
        raise ImportFailure(f"{encoder.path.name} {error}") from error
    if TRIAL_SAMPLES % frames:
        raise ImportFailure(f"{encoder.path.name} makes {frames} frames of {TRIAL_SAMPLES} "
                            "samples, which is no whole number of samples each")
    missing = TRIAL_SAMPLES - made_short
    if 2 * TRIAL_SAMPLES - made_long != missing or abs(missing) >= TRIAL_SAMPLES // frames:
        raise ImportFailure(f"{decoder.path.name} makes {made_short} samples of {TRIAL_SAMPLES}, "
                            f"and {made_long} of {2 * TRIAL_SAMPLES}: what a frame of codes sounds "
                            "like cannot be told")
    return Layout(TRIAL_SAMPLES // frames, levels, rank, missing)


def _sizes(settings: dict, options: Options, decoder: _File, levels: Levels) -> list[int]:
    """How many values each code of a frame can take."""
    size = options.codebook_size or settings.get("codebook_size")
    if isinstance(size, int):
        return [size] * levels.codes_of_a_frame()
    found = book_sizes(decoder.model, levels)
    if found is None:
        raise ImportFailure(f"{decoder.path.name} does not show how many entries its codebooks "
                            "have: give --codebook-size N")
    return found


def _settings(folder: Path) -> dict:
    path = folder / CONFIG
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ImportFailure(f"cannot read {path}: {error}") from error
    return values if isinstance(values, dict) else {}
