"""Runs a bundle whose graphs speak codes, with ONNX Runtime: the reference for other programs."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ImportFailure, need


class Player:
    """A bundle with a quantizer of kind "graph"; each call starts a new stream."""

    def __init__(self, folder: Path):
        runtime = need("onnxruntime", "running a bundle")
        self.manifest = tomllib.loads((folder / "manifest.toml").read_text(encoding="utf-8"))
        self.frame_samples: int = self.manifest["audio"]["frame_samples"]
        self.sizes: list[int] = self.manifest["quantizer"]["sizes"]
        self.whole = "whole" in self.manifest["audio"]
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        self._sessions = {}
        for part in ("encoder", "decoder"):
            path = folder / self.manifest[part]["file"]
            try:
                self._sessions[part] = runtime.InferenceSession(
                    path, options, providers=["CPUExecutionProvider"])
            except Exception as error:  # the runtime's own classes have no common base
                raise ImportFailure(f"ONNX Runtime cannot load {path.name}: {error}") from error

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """float32 [samples], whole frames, to int64 [frames, books]."""
        frames = audio.astype(np.float32).reshape(-1, self.frame_samples)
        if self.whole:
            return self._run("encoder", [{"audio": frames.reshape(1, -1)}], "codes")
        return self._run("encoder", [{"audio": frame[None]} for frame in frames], "codes")

    def decode(self, codes: np.ndarray, depth: int | None = None) -> np.ndarray:
        """int64 [frames, books] to float32 [samples], by the first `depth` codes of a frame."""
        depth = len(self.sizes) if depth is None else depth
        in_use = (np.arange(len(self.sizes)) < depth).astype(np.float32)
        codes = np.where(in_use > 0, codes, 0)
        runs = [codes] if self.whole else [code[None] for code in codes]
        inputs = [{"codes": run, "in_use": in_use} for run in runs]
        return self._run("decoder", inputs, "audio").reshape(-1)

    def _run(self, part: str, runs: list[dict[str, np.ndarray]], output: str) -> np.ndarray:
        session, declared = self._sessions[part], self.manifest[part]
        states: list[dict[str, Any]] = declared.get("states", [])
        kept = {state["input"]: np.zeros(state["shape"], np.float32) for state in states}
        wanted = [output, *(state["output"] for state in states)]
        results = []
        for inputs in runs:
            try:
                result, *after = session.run(wanted, inputs | kept)
            except Exception as error:  # as above
                raise ImportFailure(f"ONNX Runtime cannot run the {part}: {error}") from error
            results.append(result)
            kept = {state["input"]: value for state, value in zip(states, after)}
        return np.concatenate(results, axis=0 if output == "codes" else 1)
