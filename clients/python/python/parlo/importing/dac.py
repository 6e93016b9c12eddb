"""DAC (Kumar et al., "High-Fidelity Audio Compression with Improved RVQGAN", NeurIPS 2023)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from . import quantizer
from .checkpoint import Config, Weights, read_config
from .codec import Codec, begin, finish
from .errors import ImportFailure
from .graph import Graph
from .options import Options, books_of

DEFAULTS = {"sampling_rate": 16_000, "downsampling_ratios": [2, 4, 8, 8], "n_codebooks": 9}
WHOLE = "its convolutions look ahead"


def load(folder: Path, options: Options) -> Codec:
    """The checkpoint in `folder` as graphs; raises ImportFailure where it cannot be one."""
    config = Config(read_config(folder, "dac"), DEFAULTS)
    ratios = config.downsampling_ratios
    if min(ratios) < 2:
        raise ImportFailure(f"downsampling_ratios = {ratios}: each is 2 at least in a DAC")
    weights = Weights(folder)
    notes: list[str] = []
    frame = math.prod(ratios)
    books = books_of(weights, "quantizer.quantizers", config.n_codebooks, options, notes)
    names = [f"quantizer.quantizers.{k}" for k in range(books)]
    tables = [weights(f"{name}.codebook.weight") for name in names]

    graph = Graph("encoder")
    encoder = begin(graph, "encoder", frame, books, True)
    net = _Net(graph, weights)
    x = graph.op("Reshape", "audio", graph.ints(1, 1, -1))
    x = net.conv(x, "encoder.conv1")
    for number, ratio in enumerate(ratios):
        name = f"encoder.block.{number}"
        x = net.units(x, name)
        x = net.conv(net.snake(x, f"{name}.snake1"), f"{name}.conv1", ratio)
    x = net.conv(net.snake(x, "encoder.snake1"), "encoder.conv2")
    codes = []
    for number, (name, table) in enumerate(zip(names, tables)):
        codes.append(_nearest(graph, net.conv(x, f"{name}.in_proj"), table))
        if number + 1 < books:
            found = graph.op("Gather", graph.weight(table), codes[-1], axis=0)
            found = quantizer.latent_columns(graph, found)
            x = graph.op("Sub", x, net.conv(found, f"{name}.out_proj"))
    finish(graph, encoder, "codes", quantizer.columns(graph, codes))

    graph = Graph("decoder")
    decoder = begin(graph, "decoder", frame, books, True)
    net = _Net(graph, weights)
    y = _latent(graph, weights, names, tables)
    y = net.conv(y, "decoder.conv1")
    missing = 0  # samples by which odd ratios leave the end short
    for number, ratio in enumerate(reversed(ratios)):
        name = f"decoder.block.{number}"
        y = net.transposed(net.snake(y, f"{name}.snake1"), f"{name}.conv_t1", ratio)
        y = net.units(y, name)
        missing = missing * ratio + ratio % 2
    y = net.conv(net.snake(y, "decoder.snake1"), "decoder.conv2")
    y = graph.op("Tanh", y)
    if missing:
        y = graph.op("Pad", y, graph.ints(0, 0, 0, 0, 0, missing))
        notes.append(f"The codec leaves the last {missing} samples of a recording unmade; they "
                     "are zeros here.")
    finish(graph, decoder, "audio", graph.op("Reshape", y, graph.ints(1, -1)))
    return Codec("DacModel", config.sampling_rate, frame, [len(table) for table in tables],
                 encoder, decoder, WHOLE, notes)


def _nearest(graph: Graph, x: str, table: np.ndarray) -> str:
    """Entries and latent are compared by direction alone: [1, dimension, steps] to [steps]."""
    rows = quantizer.latent_rows(graph, x)
    length = graph.op("ReduceL2", rows, graph.ints(1), keepdims=1)
    rows = graph.op("Div", rows, graph.op("Max", length, graph.floats(1e-12)))
    lengths = np.sqrt((table.astype(np.float64) ** 2).sum(1, keepdims=True))
    unit = (table / np.maximum(lengths, 1e-12)).astype(np.float32)
    # an entry of zeros has no direction: its length stays in the distance
    squares = (unit.astype(np.float64) ** 2).sum(1).astype(np.float32)
    scores = graph.op("Gemm", rows, graph.weight(unit), graph.weight(squares),
                      alpha=2.0, beta=1.0, transB=1)
    return graph.op("ArgMax", scores, axis=1, keepdims=0)


def _latent(graph: Graph, weights: Weights, names: list[str], tables: list[np.ndarray]) -> str:
    """The sum of what the codes in use stand for: each entry, projected."""
    parts = []
    for number, (name, table) in enumerate(zip(names, tables)):
        code = graph.op("Squeeze", graph.slice("codes", number, number + 1, 1), graph.ints(1))
        found = graph.op("Gather", graph.weight(table), code, axis=0)
        projected = _Net(graph, weights).conv(quantizer.latent_columns(graph, found),
                                              f"{name}.out_proj")
        used = graph.slice("in_use", number, number + 1, 0)
        parts.append(graph.op("Mul", projected, used))
    return parts[0] if len(parts) == 1 else graph.op("Sum", *parts)


class _Net:
    """DAC's layers; values are [1, channels, steps]."""

    def __init__(self, graph: Graph, weights: Weights):
        self.graph, self.weights = graph, weights

    def conv(self, x: str, name: str, stride: int = 1, dilation: int = 1) -> str:
        kernel = self.weights.kernel(name)
        size = kernel.shape[2]
        pad = math.ceil(stride / 2) if stride > 1 else (size - 1) * dilation // 2
        return self.graph.op(
            "Conv", x, self.graph.weight(kernel), self.graph.weight(self.weights(f"{name}.bias")),
            strides=[stride], dilations=[dilation], pads=[pad, pad])

    def transposed(self, x: str, name: str, stride: int) -> str:
        pad = math.ceil(stride / 2)
        return self.graph.op(
            "ConvTranspose", x, self.graph.weight(self.weights.kernel(name)),
            self.graph.weight(self.weights(f"{name}.bias")), strides=[stride], pads=[pad, pad])

    def snake(self, x: str, name: str) -> str:
        """x + sin(a x)^2 / a (Ziyin et al., "Neural networks fail to learn periodic functions",
        NeurIPS 2020)."""
        graph, alpha = self.graph, self.weights(f"{name}.alpha")
        wave = graph.op("Sin", graph.op("Mul", x, graph.weight(alpha)))
        wave = graph.op("Mul", graph.op("Mul", wave, wave), graph.weight(1 / (alpha + 1e-9)))
        return graph.op("Add", x, wave)

    def units(self, x: str, name: str) -> str:
        """Three residual units."""
        for number, dilation in ((1, 1), (2, 3), (3, 9)):
            unit = f"{name}.res_unit{number}"
            y = self.conv(self.snake(x, f"{unit}.snake1"), f"{unit}.conv1", dilation=dilation)
            y = self.conv(self.snake(y, f"{unit}.snake2"), f"{unit}.conv2")
            x = self.graph.op("Add", x, y)
        return x
