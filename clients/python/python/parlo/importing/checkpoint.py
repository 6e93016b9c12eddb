"""A checkpoint folder in the layout of Hugging Face's `transformers`: config.json and weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ImportFailure, need

CONFIG = "config.json"
WEIGHTS = "model.safetensors"


class Config:
    """What config.json says, with the architecture's own defaults for what it leaves out."""

    def __init__(self, values: dict[str, Any], defaults: dict[str, Any]):
        self.values = defaults | {key: value for key, value in values.items() if value is not None}

    def __getattr__(self, name: str) -> Any:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None

    def refuse_unless(self, name: str, wanted: Any, reason: str):
        """Raises ImportFailure unless the setting `name` is as wanted."""
        if self.values.get(name) != wanted:
            raise ImportFailure(
                f"{CONFIG} has {name} = {json.dumps(self.values.get(name))}: {reason}")


def read_config(folder: Path, model_type: str) -> dict[str, Any]:
    """config.json of `folder`; raises ImportFailure if it is of another architecture."""
    path = folder / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ImportFailure(
            f"{folder} has no {CONFIG}: name the folder of a checkpoint in the layout of "
            "transformers (config.json and model.safetensors), or one with encoder.onnx and "
            "decoder.onnx") from None
    except (OSError, ValueError) as error:
        raise ImportFailure(f"cannot read {path}: {error}") from error
    found = values.get("model_type") if isinstance(values, dict) else None
    if found != model_type:
        raise ImportFailure(
            f"{path} is of a model of type {json.dumps(found)}, not \"{model_type}\": "
            "--from must name what the checkpoint is")
    return values


class Weights:
    """The tensors of model.safetensors as float32 arrays, weight normalisation folded in."""

    def __init__(self, folder: Path):
        need("safetensors", "reading a checkpoint")
        from safetensors import SafetensorError, safe_open

        self.path = folder / WEIGHTS
        if not self.path.is_file():
            other = sorted(path.name for pattern in ("*.bin", "*.safetensors*", "*.ckpt", "*.pth")
                           for path in folder.glob(pattern))
            hint = f" ({', '.join(other)} cannot be read)" if other else ""
            raise ImportFailure(
                f"{folder} has no {WEIGHTS}{hint}: load the model with transformers and write it "
                "anew with save_pretrained, unsharded")
        try:
            self._file = safe_open(self.path, framework="numpy")
            self.names = set(self._file.keys())
        except (OSError, SafetensorError) as error:
            raise ImportFailure(f"cannot read {self.path}: {error}") from error

    def __call__(self, name: str) -> np.ndarray:
        """The tensor `name`."""
        if name not in self.names:
            raise ImportFailure(
                f"{self.path} lacks the tensor {name}: it does not belong to its {CONFIG}, or is "
                "of a version of transformers that names it otherwise")
        try:
            array = self._file.get_tensor(name)
        except (TypeError, AttributeError) as error:
            raise ImportFailure(
                f"{self.path}: {name} is of a type that NumPy lacks ({error}): save the model as "
                "float32") from error
        array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise ImportFailure(f"{self.path}: {name} holds what is not a finite number")
        return array

    def has(self, name: str) -> bool:
        """Whether there is a tensor `name`."""
        return name in self.names

    def kernel(self, name: str) -> np.ndarray:
        """The weight of the layer `name`; where it is kept as length and direction, their product.

        Salimans and Kingma, "Weight normalization", NeurIPS 2016, equation 2; a length for each
        index of the first dimension.
        """
        for length, direction in (("weight_g", "weight_v"),
                                  ("parametrizations.weight.original0",
                                   "parametrizations.weight.original1")):
            if self.has(f"{name}.{direction}"):
                g, v = self(f"{name}.{length}"), self(f"{name}.{direction}")
                axes = tuple(range(1, v.ndim))
                norm = np.sqrt((v.astype(np.float64) ** 2).sum(axes, keepdims=True))
                return (v * (g / np.maximum(norm, 1e-30))).astype(np.float32)
        return self(f"{name}.weight")

    def bias(self, name: str) -> np.ndarray | None:
        """The bias of the layer `name`, if it has one."""
        return self(f"{name}.bias") if self.has(f"{name}.bias") else None

    def sha256(self) -> str:
        """Of the file, 64 hexadecimal digits."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
