"""An ONNX graph in the making: nodes, weights, and states that go from frame to frame.

The graphs are written node by node from a checkpoint's weights, not traced: every shape of a stream
is known, nothing depends on the version of a tracer, and PyTorch is not needed to make them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 9  # of ONNX 1.14, which knew opset 18

_KINDS = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}


@dataclass(frozen=True)
class State:
    """What a graph puts out as `output` goes in as `input` with the next frame; zeros at first."""

    input: str
    output: str
    shape: tuple[int, ...]


class Graph:
    """Collects nodes; values are their names in the graph."""

    def __init__(self, name: str):
        self.name = name
        self.states: list[State] = []
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[TensorProto] = []
        self._small: dict[tuple, str] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._pending: dict[str, State] = {}
        self._count = 0

    def input(self, name: str, shape: tuple[int, ...], dtype: type = np.float32) -> str:
        """Declares an input; a dimension of -1 is open."""
        self._inputs.append(_value(name, shape, dtype))
        return name

    def output(self, name: str, value: str, shape: tuple[int, ...], dtype: type = np.float32):
        """Declares that `value` comes out as `name`."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(_value(name, shape, dtype))

    def weight(self, array: np.ndarray) -> str:
        """A constant of the graph; small equal ones are stored once."""
        array = np.asarray(array, order="C")
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= 64 else None
        if key in self._small:
            return self._small[key]
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(array, name))
        if key is not None:
            self._small[key] = name
        return name

    def floats(self, *values: float) -> str:
        """A vector of float32."""
        return self.weight(np.array(values, np.float32))

    def ints(self, *values: int) -> str:
        """A vector of int64."""
        return self.weight(np.array(values, np.int64))

    def op(self, kind: str, *inputs: str, **attributes) -> str:
        """Adds a node with one output, and returns that."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, count: int, *inputs: str, **attributes) -> list[str]:
        """Adds a node with `count` outputs, and returns them."""
        self._count += 1
        outputs = [f"n.{self._count}"] if count == 1 else [
            f"n.{self._count}.{i}" for i in range(count)]
        self._nodes.append(helper.make_node(kind, list(inputs), outputs, **attributes))
        return outputs

    def state(self, name: str, shape: tuple[int, ...]) -> str:
        """Declares a state: what came out at the frame before. `carry` says what goes out."""
        if name in self._pending or any(state.input == name for state in self.states):
            raise ValueError(f"state {name} twice")
        self._pending[name] = State(name, f"{name}_out", tuple(shape))
        return self.input(name, shape)

    def carry(self, name: str, value: str):
        """Says what the state `name` is for the next frame."""
        state = self._pending.pop(name)
        self.states.append(state)
        self.output(state.output, value, state.shape)

    def slice(self, value: str, start: int, end: int, axis: int) -> str:
        """value[start:end] along `axis`."""
        return self.op("Slice", value, self.ints(start), self.ints(end), self.ints(axis))

    def model(self) -> onnx.ModelProto:
        """The finished graph, checked."""
        if self._pending:
            raise ValueError(f"states without an output: {sorted(self._pending)}")
        graph = helper.make_graph(
            self._nodes, self.name, self._inputs, self._outputs, initializer=self._weights)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="parlo.importing")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        return model


def _value(name: str, shape: tuple[int, ...], dtype: type) -> onnx.ValueInfoProto:
    dimensions = [f"{name}_{axis}" if size == -1 else size for axis, size in enumerate(shape)]
    return helper.make_tensor_value_info(name, _KINDS[np.dtype(dtype)], dimensions)
