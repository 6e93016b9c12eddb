"""A codec's own graphs between the inputs and outputs of a bundle."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from .graph import State
from .levels import Levels

PREFIX = "codec."  # of all names of the codec's own


class Finished:
    """A graph that is made already."""

    states: list[State] = []

    def __init__(self, model: ModelProto):
        self._model = model

    def model(self) -> ModelProto:
        """The graph."""
        return self._model


class Wrapped:
    """Makes the bundle's graphs of the codec's."""

    def __init__(self, frame_samples: int, levels: Levels):
        self.frame, self.levels = frame_samples, levels

    def encoder(self, model: ModelProto, rank: int) -> Finished:
        """Audio [1, samples] to codes [frames, books]."""
        edit, levels = _Edit(model), self.levels
        own = next(value.name for value in model.graph.input if value.name not in edit.constants)
        edit.before("Reshape", "audio", edit.ints(*[1] * (rank - 1), -1), output=own)
        if levels.stack:
            value = edit.after("Cast", PREFIX + levels.makes[0], to=TensorProto.INT64)
            axis, books = levels.shape.index(-1), levels.stack
            at = next(at for at, size in enumerate(levels.shape) if size == books)
            first, second = (books, -1) if at < axis else (-1, books)
            value = edit.after("Reshape", value, edit.ints(first, second))
            if at < axis:
                value = edit.after("Transpose", value, perm=[1, 0])
        else:
            columns = [edit.after("Reshape", PREFIX + name, edit.ints(-1, rate))
                       for name, rate in zip(levels.makes, levels.rates)]
            columns = [edit.after("Cast", column, to=TensorProto.INT64) for column in columns]
            value = edit.after("Concat", *columns, axis=1)
        edit.after("Identity", value, output="codes")
        return edit.finished(
            {"audio": (TensorProto.FLOAT, [1, "samples"])},
            {"codes": (TensorProto.INT64, ["frames", levels.codes_of_a_frame()])})

    def decoder(self, model: ModelProto, uses: list[str], missing: int) -> Finished:
        """Codes [frames, books] and `in_use` [books] to audio [1, samples]; each of `uses` is
        whether a level's codes are all in use."""
        edit, levels = _Edit(model), self.levels
        level_of = levels.level_of()
        for level, use in enumerate(uses):
            own = [code for code, of in enumerate(level_of) if of == level]
            parts = [edit.before("Slice", "in_use", edit.ints(code), edit.ints(code + 1),
                                 edit.ints(0)) for code in own]
            edit.before("Min", *parts, output=use)
        kinds = [helper.np_dtype_to_tensor_dtype(np.dtype(kind)) for kind in levels.kinds]
        if levels.stack:
            value = "codes"
            if levels.shape.index(-1) > levels.shape.index(levels.stack):
                value = edit.before("Transpose", value, perm=[1, 0])
            value = edit.before("Reshape", value, edit.ints(*levels.shape))
            edit.before("Cast", value, to=kinds[0], output=PREFIX + levels.takes[0])
        else:
            ends = np.cumsum(levels.rates)
            for name, rate, end, kind, rank in zip(
                    levels.takes, levels.rates, ends, kinds, levels.ranks):
                value = edit.before("Slice", "codes", edit.ints(int(end - rate)),
                                    edit.ints(int(end)), edit.ints(1))
                value = edit.before("Reshape", value, edit.ints(*self._shape(rank)))
                edit.before("Cast", value, to=kind, output=PREFIX + name)
        value = edit.after("Reshape", PREFIX + levels.sound, edit.ints(1, -1))
        if missing > 0:
            value = edit.after("Pad", value, edit.ints(0, 0, 0, missing))
        elif missing < 0:
            value = edit.after("Slice", value, edit.ints(0), edit.ints(missing), edit.ints(1))
        if len(uses) == 1:
            value = edit.after("Mul", value, uses[0])  # so that the input is one
        edit.after("Identity", value, output="audio")
        books = levels.codes_of_a_frame()
        return edit.finished(
            {"codes": (TensorProto.INT64, ["frames", books]),
             "in_use": (TensorProto.FLOAT, [books])},
            {"audio": (TensorProto.FLOAT, [1, "samples"])})

    @staticmethod
    def _shape(rank: int) -> list[int]:
        """Of a level's codes: all dimensions but that of time are 1."""
        return [1] * (rank - 1) + [-1]


class _Edit:
    """Adds nodes before and after those of a graph."""

    def __init__(self, model: ModelProto):
        self.model = model
        self.constants = {tensor.name for tensor in model.graph.initializer}
        self._before: list[NodeProto] = []
        self._after: list[NodeProto] = []

    def ints(self, *values: int) -> str:
        name = f"ints.{len(self.model.graph.initializer)}"
        self.model.graph.initializer.append(
            numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def before(self, kind: str, *inputs: str, output: str | None = None, **attributes) -> str:
        return self._node(self._before, "in", kind, inputs, output, attributes)

    def after(self, kind: str, *inputs: str, output: str | None = None, **attributes) -> str:
        return self._node(self._after, "out", kind, inputs, output, attributes)

    @staticmethod
    def _node(nodes: list[NodeProto], label: str, kind: str, inputs: tuple[str, ...],
              output: str | None, attributes: dict) -> str:
        output = output or f"{label}.{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def finished(self, inputs: dict, outputs: dict) -> Finished:
        graph = self.model.graph
        nodes = [*self._before, *graph.node, *self._after]
        del graph.node[:]
        graph.node.extend(nodes)
        for values, wanted in ((graph.input, inputs), (graph.output, outputs)):
            del values[:]
            values.extend(helper.make_tensor_value_info(name, kind, shape)
                          for name, (kind, shape) in wanted.items())
        del graph.value_info[:]
        onnx.checker.check_model(self.model)
        return Finished(self.model)
