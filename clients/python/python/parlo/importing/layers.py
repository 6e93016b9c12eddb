"""Layers of audio codecs as ONNX nodes, for one frame of a stream or for a whole recording."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .checkpoint import Weights
from .graph import Graph


@dataclass(frozen=True)
class Signal:
    """A value of shape [1, channels, steps]; `steps` is None where it is open."""

    value: str
    steps: int | None


@dataclass
class Layers:
    """Writes the layers of one graph.

    With `streaming`, convolutions are causal and begin with what the frame before left in a state.
    Without, they pad as `pad_mode` says, at the left if `causal`, else at both sides.
    """

    graph: Graph
    weights: Weights
    streaming: bool
    causal: bool
    pad_mode: str
    trim_right_ratio: float = 1.0
    normalised_over_time: bool = False

    def then(self, kind: str, x: Signal, *inputs: str, **attributes) -> Signal:
        """A node that keeps the number of steps."""
        return replace(x, value=self.graph.op(kind, x.value, *inputs, **attributes))

    def elu(self, x: Signal) -> Signal:
        """Exponential linear unit."""
        return self.then("Elu", x, alpha=1.0)

    def add(self, x: Signal, y: Signal) -> Signal:
        """Their sum."""
        return self.then("Add", x, y.value)

    def conv(self, x: Signal, name: str, stride: int = 1, dilation: int = 1,
             pad_mode: str | None = None) -> Signal:
        """A padded convolution whose input is a multiple of `stride` long."""
        kernel, bias = self.weights.kernel(f"{name}.conv"), self.weights.bias(f"{name}.conv")
        total = (kernel.shape[2] - 1) * dilation + 1 - stride
        mode = pad_mode or self.pad_mode
        if self.streaming:
            value = self._past(x, name, kernel.shape[1], total, mode)
        else:
            right = 0 if self.causal else total // 2
            value = self._padded(x.value, total - right, right, mode)
        inputs = [value, self.graph.weight(kernel)]
        inputs += [] if bias is None else [self.graph.weight(bias)]
        y = self.graph.op("Conv", *inputs, strides=[stride], dilations=[dilation])
        return self._norm(Signal(y, x.steps and x.steps // stride), name)

    def _past(self, x: Signal, name: str, channels: int, left: int, mode: str) -> str:
        """x with the `left` steps before it in front."""
        if left == 0:
            return x.value
        graph, label = self.graph, state_name(name)
        before = graph.state(label, (1, channels, left))
        if mode == "replicate":
            # at the start of a stream, what lies before it is its first step
            first = graph.op("Expand", graph.slice(x.value, 0, 1, 2),
                             graph.ints(1, channels, left))
            before = graph.op("Where", self.started(), before, first)
        both = graph.op("Concat", before, x.value, axis=2)
        graph.carry(label, graph.slice(both, x.steps, x.steps + left, 2))
        return both

    def started(self) -> str:
        """Whether this is not a stream's first frame."""
        if not hasattr(self, "_started"):
            graph = self.graph
            self._started = graph.op("Greater", graph.state("started", (1,)), graph.floats(0.5))
            graph.carry("started", graph.floats(1.0))
        return self._started

    def _padded(self, value: str, left: int, right: int, mode: str) -> str:
        graph = self.graph
        if left == 0 and right == 0:
            return value
        if mode != "reflect":
            onnx_mode = {"constant": "constant", "replicate": "edge"}[mode]
            return graph.op("Pad", value, graph.ints(0, 0, left, 0, 0, right), mode=onnx_mode)
        # Reflected about the ends, of which the right one lies past zeros where the signal is too
        # short to be reflected: index `length` of the extended signal is such a zero.
        most = max(left, right)
        length = graph.slice(graph.op("Shape", value), 2, 3, 0)
        extended = graph.op("Pad", value, graph.ints(0, 0, 0, 0, 0, most + 1))
        parts = []
        if left:
            indices = np.arange(left, 0, -1, dtype=np.int64)
            parts.append(graph.op("Gather", extended, graph.weight(indices), axis=2))
        parts.append(value)
        if right:
            end = graph.op("Max", length, graph.ints(most + 1))
            at = graph.op("Add", length, graph.weight(np.arange(right, dtype=np.int64)))
            mirrored = graph.op(
                "Sub", graph.op("Sub", graph.op("Mul", end, graph.ints(2)), graph.ints(2)), at)
            mirrored = graph.op("Where", graph.op("Less", at, end), length, mirrored)
            mirrored = graph.op("Min", mirrored, length)
            parts.append(graph.op("Gather", extended, mirrored, axis=2))
        return graph.op("Concat", *parts, axis=2)

    def transposed(self, x: Signal, name: str, stride: int, groups: int = 1) -> Signal:
        """A transposed convolution, trimmed to `stride` times the length of its input."""
        graph = self.graph
        kernel, bias = self.weights.kernel(f"{name}.conv"), self.weights.bias(f"{name}.conv")
        channels, tail = kernel.shape[1] * groups, kernel.shape[2] - stride
        y = graph.op("ConvTranspose", x.value, graph.weight(kernel), strides=[stride], group=groups)
        if self.streaming:
            steps, label = x.steps * stride, state_name(name)
            if tail:
                before = graph.state(label, (1, channels, tail))
                y = graph.op("Add", y, graph.op("Pad", before, graph.ints(0, 0, 0, 0, 0, steps)))
                graph.carry(label, graph.slice(y, steps, steps + tail, 2))
            y = graph.slice(y, 0, steps, 2)
            y = self._biased(y, bias)
            return Signal(y, steps)
        y = self._biased(y, bias)
        if self.normalised_over_time:
            y = self._norm(Signal(y, None), name).value
        right = -int(-tail * self.trim_right_ratio // 1) if self.causal else tail // 2
        left = tail - right
        y = graph.slice(y, left, -right if right else 2**62, 2)
        return Signal(y, None)

    def _biased(self, value: str, bias: np.ndarray | None) -> str:
        if bias is None:
            return value
        return self.graph.op("Add", value, self.graph.weight(bias.reshape(1, -1, 1)))

    def _norm(self, x: Signal, name: str) -> Signal:
        """Group normalisation with one group, over channels and time (Wu and He, 2018)."""
        if not self.normalised_over_time:
            return x
        graph = self.graph
        shape = graph.op("Shape", x.value)
        flat = graph.op("Reshape", x.value, graph.ints(1, 1, -1))
        flat = graph.op("InstanceNormalization", flat, graph.floats(1.0), graph.floats(0.0),
                        epsilon=1e-5)
        y = graph.op("Reshape", flat, shape)
        y = graph.op("Mul", y, graph.weight(self.weights(f"{name}.norm.weight").reshape(1, -1, 1)))
        y = graph.op("Add", y, graph.weight(self.weights(f"{name}.norm.bias").reshape(1, -1, 1)))
        return replace(x, value=y)

    def lstm(self, x: Signal, name: str, layers: int) -> Signal:
        """Long short-term memory (Hochreiter and Schmidhuber, 1997) with a way around it."""
        graph = self.graph
        steps = graph.op("Transpose", x.value, perm=[2, 0, 1])
        y = steps
        for layer in range(layers):
            inward, inner = (self.weights(f"{name}.lstm.weight_{kind}_l{layer}")
                             for kind in ("ih", "hh"))
            biases = [self.weights(f"{name}.lstm.bias_{kind}_l{layer}") for kind in ("ih", "hh")]
            size = inner.shape[1]
            inputs = [y, graph.weight(_gates(inward)[None]), graph.weight(_gates(inner)[None]),
                      graph.weight(np.concatenate([_gates(bias) for bias in biases])[None])]
            if not self.streaming:
                y = graph.op("LSTM", *inputs, hidden_size=size)
            else:
                labels = [f"{state_name(name)}_{part}{layer}" for part in "hc"]
                before = [graph.state(label, (1, 1, size)) for label in labels]
                y, *after = graph.ops("LSTM", 3, *inputs, "", *before, hidden_size=size)
                for label, value in zip(labels, after):
                    graph.carry(label, value)
            y = graph.op("Squeeze", y, graph.ints(1))
        y = graph.op("Add", y, steps)
        return replace(x, value=graph.op("Transpose", y, perm=[1, 2, 0]))


def _gates(array: np.ndarray) -> np.ndarray:
    """From PyTorch's order of gates (input, forget, cell, output) to ONNX's."""
    gate_in, forget, cell, out = np.split(array, 4)
    return np.concatenate([gate_in, out, forget, cell])


def state_name(layer: str) -> str:
    """The name of a layer's state: the layer's, without what is the same for all."""
    return layer.replace("encoder.", "").replace("decoder.", "").replace(".", "_")
