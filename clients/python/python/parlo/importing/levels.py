"""Which part of a decoder's graph hears which codes, so that each can be left out.

A residual quantizer's decoder sums up what each codebook contributes. Where a value that depends
on one codebook alone meets the others in a sum, it is multiplied by whether that codebook is in
use.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper


class Mixed(Exception):
    """The graph is not of a kind that can be taken apart; the message follows the file's name."""


@dataclass
class Levels:
    """The tensors of codes: either one a level, of `rates[level]` codes a frame each, or one with
    an axis of `stack` books."""

    makes: list[str]  # names of the encoder's outputs
    takes: list[str]  # names of the decoder's inputs
    sound: str  # name of the decoder's output
    kinds: list[type] = field(default_factory=list)  # of the decoder's inputs
    rates: list[int] = field(default_factory=list)
    stack: int = 0
    shape: tuple[int, ...] = ()  # of the tensor with a stack, -1 the axis of time
    ranks: list[int] = field(default_factory=list)

    def learn(self, once: list[tuple[int, ...]], twice: list[tuple[int, ...]]) -> int:
        """From the shapes of the codes of a recording and of one twice as long: how many frames
        the first has."""
        lengths = []
        for one, other in zip(once, twice):
            grown = [axis for axis, (a, b) in enumerate(zip(one, other)) if a != b]
            if len(one) != len(other) or len(grown) != 1 or other[grown[0]] != 2 * one[grown[0]]:
                raise Mixed(f"makes codes of shape {list(one)} of a recording, and {list(other)} "
                            "of one twice as long: it must be twice as many")
            rest = [size for axis, size in enumerate(one) if axis != grown[0]]
            books = int(np.prod(rest)) if rest else 1
            if books > 1 and (len(once) > 1 or sorted(rest)[:-1] != [1] * (len(rest) - 1)):
                raise Mixed(f"makes codes of shape {list(one)}, which has too many dimensions")
            lengths.append(one[grown[0]])
            if len(once) == 1 and books > 1:
                self.stack = books
                self.shape = tuple(-1 if axis == grown[0] else size
                                   for axis, size in enumerate(one))
        self.ranks = [len(shape) for shape in once]
        order = np.argsort(lengths, kind="stable")
        for name in ("makes", "takes", "kinds", "ranks"):
            values = getattr(self, name)
            setattr(self, name, [values[level] for level in order])
        lengths = [lengths[level] for level in order]
        if any(length % lengths[0] for length in lengths):
            raise Mixed(f"makes {lengths} codes, whose rates are not multiples of each other")
        self.rates = [] if self.stack else [length // lengths[0] for length in lengths]
        return lengths[0]

    def codes_of_a_frame(self) -> int:
        """How many codes a frame has."""
        return self.stack or sum(self.rates)

    def level_of(self) -> list[int]:
        """For each code of a frame, which level it is of."""
        if self.stack:
            return list(range(self.stack))
        return [level for level, rate in enumerate(self.rates) for _ in range(rate)]

    def count(self) -> int:
        """How many levels there are."""
        return self.stack or len(self.rates)


class _Reach:
    """Which levels each value of a graph depends on."""

    def __init__(self, model: ModelProto, levels: Levels, prefix: str = ""):
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.of: dict[str, frozenset[int]] = {}
        self.stacks: dict[str, tuple[int, list[int]]] = {}  # axis, and the books along it
        for level, name in enumerate(levels.takes):
            if levels.stack:
                axis = max(range(len(levels.shape)), key=lambda axis: levels.shape[axis])
                self.stacks[prefix + name] = (axis, list(range(levels.stack)))
            else:
                self.of[prefix + name] = frozenset([level])
        for node in model.graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                self.constants[node.output[0]] = node.attribute[0].t
            self._follow(node)

    def __getitem__(self, value: str) -> frozenset[int]:
        if value in self.stacks:
            return frozenset(self.stacks[value][1])
        return self.of.get(value, frozenset())

    def _constant(self, name: str) -> np.ndarray | None:
        tensor = self.constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def _follow(self, node: NodeProto):
        if node.op_type in ("Shape", "Size"):
            return  # how long a value is does not depend on the codes
        if node.input and node.input[0] in self.stacks and self._pick(node):
            return
        reached = frozenset().union(*(self[name] for name in node.input))
        if reached:
            self.of |= dict.fromkeys(node.output, reached)

    def _pick(self, node: NodeProto) -> bool:
        """Follows some of the books out of a stack; whether that was it."""
        axis, books = self.stacks[node.input[0]]
        attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        if node.op_type in ("Identity", "Cast"):
            self.stacks[node.output[0]] = (axis, books)
        elif node.op_type == "Transpose" and "perm" in attributes:
            self.stacks[node.output[0]] = (list(attributes["perm"]).index(axis), books)
        elif node.op_type == "Gather" and attributes.get("axis", 0) == axis:
            index = self._constant(node.input[1])
            if index is None or index.size != 1:
                return False
            self.of[node.output[0]] = frozenset([books[int(index.reshape(-1)[0])]])
        elif node.op_type == "Slice":
            bounds = [self._constant(name) for name in node.input[1:]]
            if any(bound is None or bound.size != 1 for bound in bounds) or len(bounds) < 3:
                return False
            start, end, along, *step = (int(bound.reshape(-1)[0]) for bound in bounds)
            if along % 8 != axis or (step and step[0] != 1):
                return False
            self._cut(node.output[0], axis, books[start:end])
        elif node.op_type == "Split" and attributes.get("axis", 0) == axis:
            sizes = self._constant(node.input[1]) if len(node.input) > 1 else None
            count = len(node.output)
            sizes = [-(-len(books) // count)] * count if sizes is None else sizes.tolist()
            for output, end, size in zip(node.output, np.cumsum(sizes), sizes):
                self._cut(output, axis, books[int(end - size):int(end)])
        else:
            return False
        return True

    def _cut(self, name: str, axis: int, books: list[int]):
        if len(books) == 1:
            self.of[name] = frozenset(books)
        else:
            self.stacks[name] = (axis, books)


def masked(model: ModelProto, levels: Levels) -> list[str]:
    """Multiplies what each level contributes by a value, 1 or 0, in place; returns the values'
    names, which are the graph's to make. `model` has names that start with "codec."."""
    uses = [f"use.{level}" for level in range(levels.count())]
    if len(uses) == 1:
        return uses
    reach = _Reach(model, levels, "codec.")
    nodes: list[NodeProto] = []
    found: set[int] = set()
    multiplied: dict[tuple[str, int], str] = {}
    for node in model.graph.node:
        inputs = [reach[name] for name in node.input]
        union = frozenset().union(*inputs)
        picks = any(name in reach.stacks for name in node.input)
        if len(union) > 1 and not picks and any(0 < len(own) < len(union) for own in inputs):
            if node.op_type not in ("Add", "Sum"):
                raise Mixed(f"mixes codes by {node.op_type}, not by a sum")
            for at, own in enumerate(inputs):
                if len(own) != 1:
                    continue
                level = next(iter(own))
                found.add(level)
                key = (node.input[at], level)
                if key not in multiplied:
                    multiplied[key] = f"used.{len(multiplied)}"
                    nodes.append(helper.make_node("Mul", [key[0], uses[level]], [multiplied[key]]))
                node.input[at] = multiplied[key]
        nodes.append(node)
    if found != set(range(len(uses))):
        raise Mixed(f"shows sums of the codes {sorted(found)} only, of {len(uses)}")
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return uses


def book_sizes(model: ModelProto, levels: Levels) -> list[int] | None:
    """Entries of each code's codebook, from the tables that are looked up by it; None if they do
    not show."""
    reach = _Reach(model, levels)
    sizes: dict[int, int] = {}
    for node in model.graph.node:
        if node.op_type == "Gather" and len(reach[node.input[1]]) == 1:
            table = reach.constants.get(node.input[0])
            if table is not None and len(table.dims) == 2:
                sizes[next(iter(reach[node.input[1]]))] = table.dims[0]
    of_code = levels.level_of()
    return [sizes[level] for level in of_code] if set(of_code) <= set(sizes) else None
