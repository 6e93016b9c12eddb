"""Small ONNX files with the inputs and outputs of SNAC, of WavTokenizer, and of EnCodec's like."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def write(folder: Path, encoder, decoder, rate: int = 24_000) -> Path:
    """Saves both, and a config.json."""
    import onnx

    folder.mkdir(parents=True)
    onnx.save(encoder.model(), folder / "encoder.onnx")
    onnx.save(decoder.model(), folder / "decoder.onnx")
    (folder / "config.json").write_text(json.dumps({"sampling_rate": rate}))
    return folder


def snac(folder: Path, merge: str = "Add") -> Path:
    """Frames of 32 samples: 1 + 2 + 4 codes, of books of 16, 24 and 32 entries.

    The encoder quantizes each level's part of the latent apart, which does for its shapes.
    """
    from parlo.importing.graph import Graph

    random = np.random.default_rng(2)
    hop, width, strides, entries = 8, 4, [4, 2, 1], [16, 24, 32]
    books = [_normal(random, size, width) for size in entries]
    encoder = Graph("encoder")
    x = encoder.input("input_values", (1, 1, -1))
    x = encoder.op("Conv", x, encoder.weight(10 * _normal(random, width, 1, hop)), strides=[hop])
    decoder = Graph("decoder")
    parts = []
    for level, (stride, book) in enumerate(zip(strides, books)):
        pooled = encoder.op("AveragePool", x, kernel_shape=[stride], strides=[stride])
        code = encoder.op("Unsqueeze", _nearest(encoder, pooled, book), encoder.ints(0))
        encoder.output(f"audio_codes.{level}", code, (1, -1), np.int64)
        code = decoder.input(f"audio_codes.{level}", (1, -1), np.int64)
        found = decoder.op("Transpose", decoder.op("Gather", decoder.weight(book), code),
                           perm=[0, 2, 1])
        kernel, bias = _normal(random, width, width, 1), _normal(random, width)
        found = decoder.op("Conv", found, decoder.weight(kernel), decoder.weight(bias))
        parts.append(_repeated(decoder, found, width, stride))
    y = parts[0]
    for part in parts[1:]:
        y = decoder.op(merge, y, part)
    y = decoder.op("ConvTranspose", y, decoder.weight(_normal(random, width, 1, hop)),
                   strides=[hop])
    decoder.output("audio_values", decoder.op("Tanh", y), (1, 1, -1))
    return write(folder, encoder, decoder)


def wavtokenizer(folder: Path, short: int = 0) -> Path:
    """Frames of 40 samples, one code of 4096 entries; the decoder leaves `short` samples out."""
    from parlo.importing.graph import Graph

    random = np.random.default_rng(4)
    hop, width = 40, 6
    book = _normal(random, 4096, width)
    encoder = Graph("encoder")
    x = encoder.input("audio", (1, -1))
    x = encoder.op("Unsqueeze", x, encoder.ints(1))
    x = encoder.op("Conv", x, encoder.weight(_normal(random, width, 1, hop)), strides=[hop])
    code = encoder.op("Unsqueeze", _nearest(encoder, x, book), encoder.ints(0, 1))
    encoder.output("codes", code, (1, 1, -1), np.int64)
    decoder = Graph("decoder")
    code = decoder.op("Squeeze", decoder.input("codes", (1, 1, -1), np.int64), decoder.ints(0))
    y = decoder.op("Transpose", decoder.op("Gather", decoder.weight(book), code), perm=[0, 2, 1])
    y = decoder.op("ConvTranspose", y, decoder.weight(_normal(random, width, 1, hop)),
                   strides=[hop])
    if short:
        y = decoder.op("Slice", y, decoder.ints(0), decoder.ints(-short), decoder.ints(2))
    decoder.output("audio", decoder.op("Squeeze", y, decoder.ints(1)), (1, -1))
    return write(folder, encoder, decoder)


def stacked(folder: Path, pick: str = "Gather") -> Path:
    """Frames of 8 samples, three codes in one tensor [1, books, frames], of 16 entries each."""
    from parlo.importing.graph import Graph

    random = np.random.default_rng(6)
    hop, width = 8, 4
    books = [_normal(random, 16, width) for _ in range(3)]
    encoder = Graph("encoder")
    x = encoder.input("input_values", (1, 1, -1))
    x = encoder.op("Conv", x, encoder.weight(_normal(random, width, 1, hop)), strides=[hop])
    codes = [encoder.op("Unsqueeze", _nearest(encoder, x, book), encoder.ints(0, 1))
             for book in books]
    encoder.output("audio_codes", encoder.op("Concat", *codes, axis=1), (1, 3, -1), np.int64)
    decoder = Graph("decoder")
    codes = decoder.input("audio_codes", (1, 3, -1), np.int64)
    if pick == "Gather":
        rows = [decoder.op("Gather", codes, decoder.weight(np.array(k)), axis=1) for k in range(3)]
    elif pick == "Split":
        rows = [decoder.op("Squeeze", row, decoder.ints(1))
                for row in decoder.ops("Split", 3, codes, decoder.ints(1, 1, 1), axis=1)]
    else:  # the first, then the others out of what is left, as Mimi does
        rows = [decoder.op("Squeeze", decoder.slice(codes, 0, 1, 1), decoder.ints(1))]
        rest = decoder.slice(codes, 1, 2**62, 1)
        rows += [decoder.op("Gather", rest, decoder.weight(np.array(k)), axis=1) for k in range(2)]
    parts = [decoder.op("Gather", decoder.weight(book), row) for book, row in zip(books, rows)]
    y = decoder.op("Transpose", decoder.op("Sum", *parts), perm=[0, 2, 1])
    y = decoder.op("ConvTranspose", y, decoder.weight(_normal(random, width, 1, hop)),
                   strides=[hop])
    decoder.output("audio_values", y, (1, 1, -1))
    return write(folder, encoder, decoder)


def _normal(random: np.random.Generator, *shape: int) -> np.ndarray:
    return (random.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)


def _nearest(graph, x: str, book: np.ndarray) -> str:
    from parlo.importing.quantizer import latent_rows, residual_codes

    return residual_codes(graph, latent_rows(graph, x), [book])[0]


def _repeated(graph, x: str, width: int, times: int) -> str:
    """Each step so many times."""
    x = graph.op("Unsqueeze", x, graph.ints(3))
    x = graph.op("Expand", x, graph.ints(1, 1, 1, times))
    return graph.op("Reshape", x, graph.ints(1, width, -1))
