"""A bundle run by its manifest alone: one frame a call, the greedy walk over the codebooks, numpy and ONNX Runtime."""

import hashlib
import shutil
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
        if manifest["format"] == 1:
            self.delay_samples = manifest["audio"]["delay_samples"]
        else:
            self.delay_samples = sum(manifest[graph]["delay_samples"] for graph in ("encoder", "decoder"))
        self.sizes = manifest["quantizer"]["sizes"]

    @property
    def tokens(self):
        """What files and calls name: the earliest identity of the tokens."""
        if self.manifest["format"] == 1:
            return self.id
        stated = self.manifest["tokens"]
        return bytes.fromhex([*stated.get("serves", []), stated["id"]][0])

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


def shared(manifest):
    """The text that the tokens' identity is the SHA-256 of, for a residual quantizer."""
    audio, quantizer, files = manifest["audio"], manifest["quantizer"], manifest["files"]
    assert quantizer["kind"] == "residual"
    entropy = manifest.get("entropy")
    coded = f"{entropy['kind']} {files[entropy['file']]['sha256']}" if entropy else "none"
    return (
        f"parlo tokens\nsample_rate {audio['sample_rate']}\nframe_samples {audio['frame_samples']}\nquantizer residual\n"
        f"dimension {quantizer['dimension']}\nsizes {' '.join(map(str, quantizer['sizes']))}\n"
        f"codebooks {files[quantizer['file']]['sha256']}\nentropy {coded}\ntensor {quantizer['tensor']}\n"
    )


def first(bundle, folder):
    """The bundle itself if it is of format 1, else one of format 1 with the same graphs and tokens."""
    if bundle.manifest["format"] == 1:
        return bundle
    shutil.copytree(bundle.folder, folder)
    kept, section = [], ""
    for line in (folder / "manifest.toml").read_text().splitlines():
        section = line if line.startswith("[") else section
        own = section in ("[encoder]", "[decoder]") and line.startswith(("sha256 =", "delay_samples ="))
        if section != "[tokens]" and not own and not line.startswith('"served-'):
            kept.append("format = 1" if line == "format = 2" else line)
        if line == "[audio]":
            kept.append(f"delay_samples = {bundle.delay_samples}")
    (folder / "manifest.toml").write_text("\n".join(kept) + "\n")
    return Bundle(folder)


def newer(first, folder):
    """Writes a bundle of format 2 that serves `first`, a bundle of format 1: its decoder is of another producer."""
    shutil.copytree(first.folder, folder)
    (folder / "manifest.toml").rename(folder / "first.toml")
    # Of two producers' names (field 2 of a model) the last holds.
    with open(folder / "decoder.onnx", "ab") as file:
        file.write(b"\x12\x05newer")
    text, manifest = (folder / "first.toml").read_text(), tomllib.loads((folder / "first.toml").read_text())

    def digest(name):
        return hashlib.sha256((folder / name).read_bytes()).hexdigest()

    def graph(name, delay):
        file = f'file = "{manifest[name]["file"]}"'
        more = f'sha256 = "{digest(manifest[name]["file"])}"\ndelay_samples = {delay}'
        return file, f"{file}\n{more}"

    tokens = hashlib.sha256(shared(manifest).encode()).hexdigest()
    was = manifest["files"]["decoder.onnx"]
    changes = [
        ("format = 1\n", "format = 2\n"),
        (f"delay_samples = {first.delay_samples}\n", ""),
        ("[audio]\n", f'[tokens]\nid = "{tokens}"\nserves = ["{first.id.hex()}"]\n\n[audio]\n'),
        (was["sha256"], digest("decoder.onnx")),
        (f"bytes = {was['bytes']}", f"bytes = {was['bytes'] + 7}"),
        ("[files]\n", f'[files]\n"first.toml" = {{ bytes = {len(text.encode())}, sha256 = "{digest("first.toml")}" }}\n'),
        graph("encoder", 0),
        graph("decoder", first.delay_samples),
    ]
    for before, after in changes:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    (folder / "manifest.toml").write_text(text)
    return Bundle(folder)


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
