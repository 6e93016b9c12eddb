"""Mimi's transformer, for the steps of one frame: attention over a window of the past.

Keys are kept as they are before rotation. Rotary attention depends on the distance of two steps
only (Su et al., "RoFormer", 2021, section 3.2.2), so positions count from the oldest step in the
window: a stream may last for ever, and no angle grows.
"""

from __future__ import annotations

import math

import numpy as np

from .checkpoint import Config, Weights
from .errors import ImportFailure
from .graph import Graph
from .layers import Signal

FORBIDDEN = -1e30  # added to the scores of what must not be seen: its exponential is 0


class Transformer:
    """Writes the layers under `name`."""

    def __init__(self, graph: Graph, weights: Weights, config: Config, name: str):
        self.graph, self.weights, self.config, self.name = graph, weights, config, name
        rope = {"rope_type": "default", "rope_theta": config.rope_theta} | config.rope_parameters
        if rope["rope_type"] != "default":
            raise ImportFailure(f"rotary positions of type \"{rope['rope_type']}\" are unknown")
        if config.sliding_window < 2:
            raise ImportFailure(f"sliding_window = {config.sliding_window} leaves no past")
        if config.hidden_act not in ("gelu", "relu", "silu"):
            raise ImportFailure(f"hidden_act = \"{config.hidden_act}\" is unknown")
        self.theta = rope["rope_theta"]
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.width = config.head_dim or config.hidden_size // self.heads
        self.past = config.sliding_window - 1

    def run(self, x: Signal) -> Signal:
        """[1, hidden_size, steps] to the same; `steps` is known."""
        graph, steps = self.graph, x.steps
        mask = self._mask(steps)
        angles = np.arange(self.past + steps)[:, None] / self.theta ** (
            np.arange(0, self.width, 2) / self.width)
        angles = np.concatenate([angles, angles], axis=1)
        turns = [np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)]
        self.key_turns = [graph.weight(turn) for turn in turns]
        self.query_turns = [graph.weight(turn[self.past:]) for turn in turns]
        y = graph.op("Transpose", x.value, perm=[0, 2, 1])
        for number in range(self.config.num_hidden_layers):
            y = self._layer(y, f"{self.name}.layers.{number}", number, steps, mask)
        return Signal(graph.op("Transpose", y, perm=[0, 2, 1]), steps)

    def _mask(self, steps: int) -> str:
        """What is added to scores, [steps, past + steps]: a step sees itself and as much of the
        past as the window holds, and there is, of the past that a stream has had."""
        graph, past = self.graph, self.past
        seen = graph.state("seen", (1,))
        graph.carry("seen", graph.op("Min", graph.op("Add", seen, graph.floats(steps)),
                                     graph.floats(past)))
        query, key = np.arange(steps)[:, None], np.arange(past + steps)[None]
        window = graph.weight((key >= query) & (key <= query + past))
        oldest = graph.op("Sub", graph.floats(past), seen)
        there = graph.op("GreaterOrEqual", graph.weight(key.astype(np.float32)), oldest)
        return graph.op("Where", graph.op("And", window, there), graph.floats(0.0),
                        graph.floats(FORBIDDEN))

    def _layer(self, x: str, name: str, number: int, steps: int, mask: str) -> str:
        y = self._norm(x, f"{name}.input_layernorm")
        y = self._attention(y, f"{name}.self_attn", number, steps, mask)
        x = self._scaled_sum(x, y, f"{name}.self_attn_layer_scale.scale")
        y = self._norm(x, f"{name}.post_attention_layernorm")
        y = self._activation(self._linear(y, f"{name}.mlp.fc1"))
        y = self._linear(y, f"{name}.mlp.fc2")
        return self._scaled_sum(x, y, f"{name}.mlp_layer_scale.scale")

    def _attention(self, x: str, name: str, number: int, steps: int, mask: str) -> str:
        graph = self.graph
        query = self._heads(self._linear(x, f"{name}.q_proj"), self.heads)
        query = self._turn(query, self.query_turns)
        query = graph.op("Mul", query, graph.floats(1 / math.sqrt(self.width)))
        key, value = (self._with_past(
            self._heads(self._linear(x, f"{name}.{part}_proj"), self.kv_heads),
            f"{kind}{number}", steps) for kind, part in (("keys", "k"), ("values", "v")))
        key = self._turn(key, self.key_turns)
        key, value = self._repeat(key, steps), self._repeat(value, steps)
        scores = graph.op("MatMul", query, graph.op("Transpose", key, perm=[0, 1, 3, 2]))
        shares = graph.op("Softmax", graph.op("Add", scores, mask), axis=-1)
        y = graph.op("Transpose", graph.op("MatMul", shares, value), perm=[0, 2, 1, 3])
        y = graph.op("Reshape", y, graph.ints(1, steps, self.heads * self.width))
        return self._linear(y, f"{name}.o_proj")

    def _heads(self, x: str, heads: int) -> str:
        """[1, steps, heads * width] to [1, heads, steps, width]."""
        x = self.graph.op("Reshape", x, self.graph.ints(1, -1, heads, self.width))
        return self.graph.op("Transpose", x, perm=[0, 2, 1, 3])

    def _with_past(self, x: str, label: str, steps: int) -> str:
        graph = self.graph
        before = graph.state(label, (1, self.kv_heads, self.past, self.width))
        both = graph.op("Concat", before, x, axis=2)
        graph.carry(label, graph.slice(both, steps, steps + self.past, 2))
        return both

    def _turn(self, x: str, turns: list[str]) -> str:
        graph, half = self.graph, self.width // 2
        first, second = graph.slice(x, 0, half, 3), graph.slice(x, half, self.width, 3)
        across = graph.op("Concat", graph.op("Neg", second), first, axis=3)
        return graph.op("Add", graph.op("Mul", x, turns[0]), graph.op("Mul", across, turns[1]))

    def _repeat(self, x: str, steps: int) -> str:
        """Several queries' heads share a head of keys."""
        times = self.heads // self.kv_heads
        if times == 1:
            return x
        graph, length = self.graph, self.past + steps
        x = graph.op("Unsqueeze", x, graph.ints(2))
        x = graph.op("Expand", x, graph.ints(1, self.kv_heads, times, length, self.width))
        return graph.op("Reshape", x, graph.ints(1, self.heads, length, self.width))

    def _linear(self, x: str, name: str) -> str:
        graph = self.graph
        y = graph.op("MatMul", x, graph.weight(self.weights(f"{name}.weight").T))
        bias = self.weights.bias(name)
        return y if bias is None else graph.op("Add", y, graph.weight(bias))

    def _norm(self, x: str, name: str) -> str:
        weights = (self.graph.weight(self.weights(f"{name}.{part}")) for part in ("weight", "bias"))
        return self.graph.op("LayerNormalization", x, *weights, epsilon=self.config.norm_eps)

    def _scaled_sum(self, x: str, y: str, scale: str) -> str:
        return self.graph.op("Add", x, self.graph.op(
            "Mul", y, self.graph.weight(self.weights(scale))))

    def _activation(self, x: str) -> str:
        graph = self.graph
        if self.config.hidden_act == "relu":
            return graph.op("Relu", x)
        if self.config.hidden_act == "silu":
            return graph.op("Mul", x, graph.op("Sigmoid", x))
        # Hendrycks and Gimpel, "Gaussian error linear units", 2016
        share = graph.op("Erf", graph.op("Div", x, graph.floats(math.sqrt(2))))
        share = graph.op("Add", share, graph.floats(1.0))
        return graph.op("Mul", graph.op("Mul", x, share), graph.floats(0.5))
