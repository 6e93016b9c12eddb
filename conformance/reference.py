"""A bundle run by its manifest alone: one frame a call, the greedy walk over the codebooks, numpy and ONNX Runtime."""

import hashlib
import tomllib
from functools import cached_property

import numpy as np
import onnxruntime
from safetensors.numpy import load_file

import entropy


class Bundle:
    """A model bundle. Frames are rows of `frame_samples`; codes are rows of `depth`."""

    def __init__(self, folder):
        text = (folder / "manifest.toml").read_bytes()
        self.folder = folder
        self.id = hashlib.sha256(text).digest()
        self.manifest = manifest = tomllib.loads(text.decode())
        self.sample_rate = manifest["audio"]["sample_rate"]
        self.frame_samples = manifest["audio"]["frame_samples"]
        self.delay_samples = manifest["audio"]["delay_samples"]
        self.sizes = manifest["quantizer"]["sizes"]

    @property
    def delay_frames(self):
        return -(-self.delay_samples // self.frame_samples)

    @cached_property
    def coder(self):
        """What knows coding 1; None if the bundle has no entropy model."""
        if "entropy" not in self.manifest:
            return None
        assert self.manifest["entropy"]["kind"] == "transformer"
        return entropy.Coder(self.folder / self.manifest["entropy"]["file"])

    def frames(self, file):
        """All frames of a token file of this bundle."""
        return file.frames(self.sizes, self.coder)

    def session(self, graph):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = str(self.folder / self.manifest[graph]["file"])
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def codebooks(self):
        quantizer = self.manifest["quantizer"]
        assert quantizer["kind"] == "residual"
        books = load_file(self.folder / quantizer["file"])[quantizer["tensor"]].astype(np.float32)
        return [book[:size] for book, size in zip(books, self.sizes, strict=True)]

    def latents(self, audio):
        """The latent of each frame of `audio`, filled up with silence, and of those that flush the decoder."""
        frames = -(-len(audio) // self.frame_samples) + self.delay_frames
        padded = np.zeros(frames * self.frame_samples, np.float32)
        padded[: len(audio)] = audio
        graph = _Stream(self, "encoder", "latent")
        declared = self.manifest["encoder"]["audio"]
        # A dimension of -1 is as long as the frames of a run need: here one.
        frames = [frame.reshape(declared["shape"]) for frame in padded.reshape(frames, -1)]
        return np.stack([graph.run({declared["name"]: frame}).reshape(-1) for frame in frames])

    def greedy(self, latents, depth):
        """The nearest entry of each codebook in turn."""
        books = self.codebooks()[:depth]
        codes = np.zeros((len(latents), depth), np.int64)
        for frame, latent in enumerate(latents):
            left = latent.copy()
            for stage, book in enumerate(books):
                codes[frame, stage] = ((book - left) ** 2).sum(1).argmin()
                left -= book[codes[frame, stage]]
        return codes

    def dequantize(self, codes):
        """The sum of each frame's entries."""
        latents = np.zeros((len(codes), self.manifest["quantizer"]["dimension"]), np.float32)
        for stage, book in zip(range(codes.shape[1]), self.codebooks()):
            latents += book[codes[:, stage]]
        return latents

    def decode(self, codes):
        """Everything that the decoder makes of these codes, its delay included."""
        declared = self.manifest["decoder"]
        graph = _Stream(self, "decoder", "audio")
        shape = declared["latent"]["shape"]
        inputs = {}
        if "depth_one_hot" in declared:
            one_hot = np.zeros(len(self.sizes) + 1, np.float32)
            one_hot[codes.shape[1]] = 1
            inputs[declared["depth_one_hot"]["name"]] = one_hot.reshape(declared["depth_one_hot"]["shape"])
        frames = []
        for latent in self.dequantize(codes):
            inputs[declared["latent"]["name"]] = latent.reshape(shape)
            frames.append(graph.run(inputs).reshape(-1))
        return np.concatenate(frames)

    def heard(self, file):
        """What the original's listener should hear of a token file: without the delay, and just as long."""
        audio = self.decode(np.array(self.frames(file)))
        return audio[self.delay_samples :][: file.samples]


class _Stream:
    """A graph and the states that it keeps from frame to frame."""

    def __init__(self, bundle, graph, output):
        declared = bundle.manifest[graph]
        self.session = bundle.session(graph)
        self.states = {state["input"]: np.zeros(state["shape"], np.float32) for state in declared["states"]}
        self.inputs = [state["input"] for state in declared["states"]]
        self.outputs = [declared[output]["name"], *(state["output"] for state in declared["states"])]

    def run(self, inputs):
        result, *states = self.session.run(self.outputs, {**inputs, **self.states})
        self.states = dict(zip(self.inputs, states, strict=True))
        return result
