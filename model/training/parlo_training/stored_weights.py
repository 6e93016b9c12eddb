"""How a bundle stores its weights: in bytes and in half precision, cast back by the runtime.

The matrices of the blocks (nine tenths of all weights) are stored as one byte each, times a scale
for each output channel; other large tensors in half precision; small ones whole. The model's own
weights are rounded to what is stored first, so that the model that is checked is the one that
ships, and storing loses nothing.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from .codec import Codec
from .layers import CausalBlock

LARGE = 1024  # elements of a tensor from which it is not stored whole
LEVELS = 127  # of a byte, on both sides of zero


def round_weights(codec: Codec) -> None:
    """Rounds every weight in place to what the bundle stores."""
    with torch.no_grad():
        bytes_of = {id(weight) for weight in _byte_matrices(codec)}
        for parameter in codec.parameters():
            if parameter.numel() < LARGE:
                continue
            if id(parameter) in bytes_of:
                parameter.copy_(_to_bytes(parameter))
            else:
                parameter.copy_(parameter.half().float())
        codec.quantizer.codebooks.copy_(codec.quantizer.codebooks.half().float())


def _byte_matrices(codec: Codec) -> list[nn.Parameter]:
    blocks = [module for module in codec.modules() if isinstance(module, CausalBlock)]
    return [layer.weight for block in blocks for layer in (block.up, block.down)]


def _to_bytes(weight: Tensor) -> Tensor:
    """The nearest matrix [out, in] of whole multiples, -127 to 127, of a scale for each row.

    A scale has 16 bits at most, so that its multiples are exact in float32, and is rounded down, so
    that each row's largest is 127 times it: `store` finds both in the values alone.
    """
    scale = weight.abs().amax(dim=1, keepdim=True) / LEVELS
    scale = (scale.view(torch.int32) & ~0xFF).view(torch.float32)
    whole = torch.where(scale > 0, weight / scale, 0).round().clamp(-LEVELS, LEVELS)
    return whole * scale


def store(model: onnx.ModelProto) -> None:
    """Stores what `round_weights` has rounded in bytes or halves, with the nodes that make floats of
    it again; the runtime does that once, when it loads the graph."""
    made = []
    for tensor in list(model.graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size >= LARGE:
            made += _as_bytes(model, tensor, values) or _as_halves(tensor, values)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*made, *nodes])


def _as_bytes(model: onnx.ModelProto, tensor: onnx.TensorProto, values: np.ndarray) -> list:
    """The nodes that make `tensor` of bytes and scales, which take its place; none if that would
    lose anything."""
    if values.ndim != 2:
        return []
    for axis in (1, 0):  # as PyTorch holds it, or transposed
        largest = np.abs(values).max(axis=axis, keepdims=True)
        scale = (largest / np.float32(LEVELS)).astype(np.float32)
        whole = np.rint(np.divide(values, scale, out=np.zeros_like(values), where=scale > 0))
        if not np.array_equal(whole.astype(np.float32) * scale, values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(whole.astype(np.int8), f"{name}.bytes"))
        model.graph.initializer.append(numpy_helper.from_array(scale.reshape(-1), f"{name}.scale"))
        # one node, so that the runtime holds no matrix of floats but the one that it makes
        return [onnx.helper.make_node(
            "DequantizeLinear", [f"{name}.bytes", f"{name}.scale"], [name], axis=1 - axis
        )]
    return []


def _as_halves(tensor: onnx.TensorProto, values: np.ndarray) -> list:
    """The node that makes `tensor` of halves, which take its place; none if that would lose
    anything."""
    half = values.astype(np.float16)
    if not np.array_equal(half.astype(np.float32), values):
        return []
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
    return [onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT)]
