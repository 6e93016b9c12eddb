"""A finished bundle, run by its manifest alone: a few 20 ms frames at a time, as streams are."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from safetensors import SafetensorError
from safetensors.numpy import load

from .errors import UserError

MANIFEST = "manifest.toml"
FORMATS = (1, 2)
UNKNOWN = "?"  # in place of an identity that is not computed yet
# Beyond this many candidates nothing is gained that can be measured.
MAX_BEAM = 32
# Frames searched at once: 128 frames x 4 candidates x 1024 entries are 2 MiB of scores, which a
# core's cache holds.
SEARCH_FRAMES = 128
# Frames of one run, where the graphs take as many as there are. More are hardly faster.
RUN_FRAMES = 32
BLOCK_FRAMES = 500  # of a token file: 10 s, whose frames are coded knowing those before


class BundleError(UserError):
    """A bundle that cannot be used, or is asked for what it cannot do; says why and what to do."""


class BundleCodec:
    """A bundle's encoder, quantizer and decoder, for whole recordings.

    Audio is mono float32 at `sample_rate`, nominally -1 to 1. The codes are those of the program's
    own encoder, but for near ties: sums run in another order there.

    folder: the bundle's. beam: how many partial codings the search for codes keeps, 1 (the greedy
    walk) to 32. at_once: frames of one run at most, where the graphs take any number. Raises
    BundleError if a file is missing or damaged.
    """

    def __init__(self, folder: Path | str, beam: int = 4, at_once: int = RUN_FRAMES):
        self.folder = Path(folder)
        self.at_once = at_once
        self._integers = None
        self.beam = min(max(beam, 1), MAX_BEAM)
        path, text = self.folder / MANIFEST, self._bytes(MANIFEST)
        self.identity = hashlib.sha256(text).hexdigest()
        try:
            self.manifest = tomllib.loads(text.decode())
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise BundleError(f"{path} is not a bundle manifest: {error}") from error
        if self.manifest.get("format") not in FORMATS:
            found = self.manifest.get("format")
            raise BundleError(f"{path} has format {found}; this program reads formats 1 and 2")
        try:
            self.name = self.manifest["name"]
            audio = self.manifest["audio"]
            self.sample_rate = audio["sample_rate"]
            self.frame_samples = audio["frame_samples"]
            self.delay_samples = _delay(self.manifest)
            self.sizes = self.manifest["quantizer"]["sizes"]
            self.identities = self._identities()
            self.books = self._codebooks()
            self._encoder = _Graph(self, "encoder", ["audio"], "latent")
            self._decoder = _Graph(self, "decoder", ["latent", "depth_one_hot"], "audio")
        except KeyError as error:
            raise BundleError(f"{path} is not a bundle manifest: it lacks {error}") from error

    @property
    def tokens(self) -> str:
        """The tokens' identity, 64 hexadecimal digits: what files and calls name."""
        return self.identities[0]

    def _identities(self) -> list[str]:
        """All identities of the tokens, the one first that is written. Raises BundleError where the
        manifest claims one that is not theirs."""
        if self.manifest["format"] == 1:
            return [self.identity]
        path, stated = self.folder / MANIFEST, self.manifest["tokens"]
        ours = shared(self.manifest)
        own = hashlib.sha256(ours.encode()).hexdigest()
        if stated["id"].lower() != own:
            raise BundleError(f"{path}: tokens.id is {stated['id']}, but the rate, frames, codebooks "
                              f"and entropy model are those of tokens {own}: the bundle claims "
                              "tokens that are not its own")
        served = [claim.lower() for claim in stated.get("serves", [])]
        if len({own, *served}) <= len(served):
            raise BundleError(f"{path}: tokens.serves names an identity twice")
        for claim in served:
            named = [name for name, file in self.manifest["files"].items()
                     if file["sha256"].lower() == claim]
            if not named:
                raise BundleError(f"{path}: tokens.serves names {claim}, but no file under [files] "
                                  "has that hash: the manifest of that earlier bundle must lie in "
                                  "the folder")
            try:
                earlier = tomllib.loads(self.verified(named[0]).decode())
                same = earlier["format"] == 1 and shared(earlier) == ours
            except (UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
                raise BundleError(f"{self.folder / named[0]} is not a bundle manifest: {error}"
                                  ) from error
            if not same:
                raise BundleError(f"{path}: tokens.serves names {claim}, but by {named[0]} that "
                                  "bundle's tokens are others")
        return [*served, own]

    @property
    def max_depth(self) -> int:
        """How many codebooks there are."""
        return len(self.sizes)

    def kbps(self, depth: int) -> float:
        """The raw bitrate at this depth: codes alone, no entropy coding, no headers."""
        sizes = self.sizes[: self.checked(depth)]
        bits = sum(max(1, (size - 1).bit_length()) for size in sizes)
        return bits * self.sample_rate / self.frame_samples / 1000

    def latents(self, audio: np.ndarray) -> np.ndarray:
        """Latents [frames, dimension] of the audio [samples], filled up with silence to a frame.

        As many silent frames follow as it takes until the decoder has put out the end.
        Raises BundleError if a latent is not finite.
        """
        flush = -(-self.delay_samples // self.frame_samples)
        count = -(-len(audio) // self.frame_samples) + flush
        padded = np.zeros(count * self.frame_samples, np.float32)
        padded[: len(audio)] = audio
        self._encoder.reset()
        frames = padded.reshape(count, self.frame_samples)
        dimension = self.books[0].shape[1]
        latents = self._encoder.stream({"audio": frames}, self.at_once)
        if not np.isfinite(latents).all():
            raise BundleError(f"the encoder of {self.name} put out a latent that is not finite")
        return latents.reshape(count, dimension)

    def codes(self, latents: np.ndarray, depths: Iterable[int]) -> dict[int, np.ndarray]:
        """Codes at each depth, {depth: integers [frames, depth]}, of latents [frames, dimension].

        One search serves all depths: what it would choose if it ended at a book is the best
        candidate there. Raises BundleError if there is no such depth.
        """
        depths = list(depths)
        deepest = max(self.checked(depth) for depth in depths)
        found = {depth: np.zeros((len(latents), depth), np.int64) for depth in depths}
        for at in range(0, len(latents), SEARCH_FRAMES):
            part = slice(at, at + SEARCH_FRAMES)
            search = beam_search(latents[part], self.books[:deepest], self.beam)
            for depth, best in enumerate(search, 1):
                if depth in found:
                    found[depth][part] = best
        return found

    def dequantize(self, codes: np.ndarray) -> np.ndarray:
        """The sums [frames, dimension] of the entries that codes [frames, depth] name.

        Added coarsest first in float32, as the program's decoder does.
        """
        latents = np.zeros((len(codes), self.books[0].shape[1]), np.float32)
        for book, column in zip(self.books, codes.T):
            latents += book[column]
        return latents

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Audio [frames x frame_samples] of codes [frames, depth], the delay still at its start.

        Raises BundleError if a sample is not finite.
        """
        inputs = {}
        if "depth_one_hot" in self.manifest["decoder"]:
            inputs["depth_one_hot"] = np.zeros((len(codes), self.max_depth + 1), np.float32)
            inputs["depth_one_hot"][:, self.checked(codes.shape[1])] = 1
        self._decoder.reset()
        inputs["latent"] = self.dequantize(codes)
        audio = self._decoder.stream(inputs, self.at_once)
        if not np.isfinite(audio).all():
            raise BundleError(f"the decoder of {self.name} put out a sample that is not finite")
        return audio

    def process(self, audio: np.ndarray, depths: Iterable[int]) -> dict[int, np.ndarray]:
        """What is heard at each depth, {depth: audio [samples]}: as long as `audio`, not late."""
        codes = self.codes(self.latents(audio), depths)
        return {depth: self.heard(codes[depth], len(audio)) for depth in depths}

    def heard(self, codes: np.ndarray, samples: int) -> np.ndarray:
        """Audio [samples] of codes [frames, depth], not late."""
        return self.decode(codes)[self.delay_samples : self.delay_samples + samples]

    def coded_bits(self, codes: np.ndarray) -> float | None:
        """Bits that codes [frames, depth] take after the entropy coder, each frame knowing all before
        it, as in a file's block; None if the bundle has no entropy model. Framing is not counted."""
        if "entropy" not in self.manifest:
            return None
        if self._integers is None:
            from .entropy_integer import Integers

            self.verified(self.manifest["entropy"]["file"])
            self._integers = Integers(self.folder / self.manifest["entropy"]["file"])
        total = 0.0
        for at in range(0, len(codes), BLOCK_FRAMES):
            part = codes[at : at + BLOCK_FRAMES]
            earlier = np.tri(len(part), k=-1, dtype=bool)
            total += float(self._integers.bits(part, earlier).sum())
        return total

    def checked(self, depth: int) -> int:
        """The depth, if there are as many codebooks. Raises BundleError if not."""
        if not 1 <= depth <= self.max_depth:
            raise BundleError(
                f"depth {depth} is not possible: {self.name} has 1 to {self.max_depth} codebooks"
            )
        return depth

    def verified(self, name: str) -> bytes:
        """The bytes of a file whose length and hash are as the manifest states.

        Raises BundleError if they are not.
        """
        stated, found = self.manifest["files"][name], self._bytes(name)
        digest = hashlib.sha256(found).hexdigest()
        if (len(found), digest) != (stated["bytes"], stated["sha256"].lower()):
            raise BundleError(
                f"{self.folder / name} is not as {MANIFEST} states; export or copy the bundle "
                "again, whole"
            )
        return found

    def _bytes(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise BundleError(
                f"cannot read {self.folder / name}: {error.strerror}; "
                f"a bundle is a folder with {MANIFEST} and all files that it lists"
            ) from error

    def _codebooks(self) -> list[np.ndarray]:
        """Codebooks as float32 [entries, dimension], coarsest first."""
        quantizer = self.manifest["quantizer"]
        if quantizer["kind"] != "residual":
            raise BundleError(
                f"{self.folder / MANIFEST}: this program knows residual quantizers only, "
                f"not \"{quantizer['kind']}\""
            )
        path, name = self.folder / quantizer["file"], quantizer["tensor"]
        data = self.verified(quantizer["file"])
        try:
            tensors = load(data)
        except SafetensorError as error:
            raise BundleError(f"{path} is not a safetensors file: {error}") from error
        shape = (len(self.sizes), max(self.sizes), quantizer["dimension"])
        if name not in tensors or tensors[name].shape != shape:
            raise BundleError(f"{path} holds no tensor {name} of shape {list(shape)}")
        books = tensors[name].astype(np.float32)
        return [book[:size] for book, size in zip(books, self.sizes)]


def shared(manifest: dict[str, Any]) -> str:
    """What two sides must share to understand each other's tokens, as docs/bundle.md has it, of a
    manifest of either format. The tokens' identity is its SHA-256."""
    quantizer, audio, files = manifest["quantizer"], manifest["audio"], manifest["files"]
    lines = ["parlo tokens", f"sample_rate {audio['sample_rate']}",
             f"frame_samples {audio['frame_samples']}", f"quantizer {quantizer['kind']}"]

    def listed(numbers: list[int]) -> str:
        return " ".join(map(str, numbers))

    def digest(name: str) -> str:
        return files.get(name, {}).get("sha256", "").lower()

    lines += [f"{name} {quantizer[name]}" for name in ("dimension", "groups") if name in quantizer]
    lines += [f"{name} {listed(quantizer[name])}" for name in ("sizes", "levels")
              if name in quantizer]
    if "file" in quantizer:
        lines.append(f"codebooks {digest(quantizer['file'])}")
    else:  # nothing but the decoder knows what a code stands for
        lines.append(f"decoder {digest(manifest['decoder']['file'])}")
    if "entropy" in manifest:
        entropy = manifest["entropy"]
        lines.append(f"entropy {entropy['kind']} {digest(entropy['file'])}")
    else:
        lines.append("entropy none")
    if "tensor" in quantizer:
        lines.append(f"tensor {quantizer['tensor']}")
    return "\n".join(lines) + "\n"


def with_tokens(manifest: str) -> str:
    """The text of a manifest of format 2 with the identity that its tokens have, in place of one
    that they had or of `UNKNOWN`. Those that it serves stood for the same tokens, and go if there
    was another. Format 1 stays as it is."""
    stated = tomllib.loads(manifest)
    if stated["format"] == 1:
        return manifest
    own, was = hashlib.sha256(shared(stated).encode()).hexdigest(), stated["tokens"]["id"]
    lines = []
    for line in manifest.splitlines():
        if was in (own, UNKNOWN) or not line.startswith("serves = "):
            lines.append(f'id = "{own}"' if line == f'id = "{was}"' else line)
    return "\n".join(lines) + "\n"


def _delay(manifest: dict[str, Any]) -> int:
    """Samples by which decoded audio is behind."""
    if manifest["format"] == 1:
        return manifest["audio"]["delay_samples"]
    return manifest["encoder"]["delay_samples"] + manifest["decoder"]["delay_samples"]


def beam_search(
    latents: np.ndarray, books: list[np.ndarray], beam: int
) -> Iterator[np.ndarray]:
    """After each book, the best codes [frames, books so far] of latents [frames, dimension].

    Best is what leaves the least squared error. Keeps the `beam` best partial codings from book to
    book; of equals the first by candidate, then by code, counts as the better.
    """
    frames, dimension = latents.shape
    row = np.arange(frames)[:, None]
    left = latents.astype(np.float32)[:, None]
    error = 0.5 * (left**2).sum(2)
    codes = np.zeros((frames, 1, 0), np.int64)
    for book in books:
        # |r - c|^2 / 2 = |r|^2 / 2 - r.c + |c|^2 / 2
        products = (left.reshape(-1, dimension) @ book.T).reshape(*error.shape, len(book))
        steps = error[:, :, None] - products + 0.5 * (book**2).sum(1)
        parent, code = np.divmod(smallest(steps.reshape(frames, -1), beam), len(book))
        left = left[row, parent] - book[code]
        # From the residual itself, not from the step: rounding does not add up from book to book.
        error = 0.5 * (left**2).sum(2)
        codes = np.concatenate([codes[row, parent], code[:, :, None]], axis=2)
        yield codes[:, 0]


def smallest(values: np.ndarray, count: int) -> np.ndarray:
    """Columns of the `count` smallest of each row of values [rows, columns], smallest first.

    Overwrites the values.
    """
    row, places = np.arange(len(values)), []
    # argmin takes the first of equals, which a partial sort does not promise.
    for _ in range(min(count, values.shape[1])):
        places.append(values.argmin(1))
        values[row, places[-1]] = np.inf
    return np.stack(places, 1)


class _Graph:
    """A graph and the states that it carries from frame to frame."""

    def __init__(self, bundle: BundleCodec, part: str, inputs: list[str], output: str):
        declared = bundle.manifest[part]
        self.path = bundle.folder / declared["file"]
        self.tensors = {key: declared[key] for key in inputs if key in declared}
        states = declared.get("states", [])
        self.zeros = {state["input"]: np.zeros(state["shape"], np.float32) for state in states}
        self.outputs = [declared[output]["name"], *(state["output"] for state in states)]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        # weights stored in bytes become floats once, when the graph is loaded, not in every run
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        data = bundle.verified(declared["file"])
        self.session = self._told(
            onnxruntime.InferenceSession, data, options, providers=["CPUExecutionProvider"]
        )
        self.reset()

    def reset(self) -> None:
        """Back to the start of a stream: zeros."""
        self.states = dict(self.zeros)

    @property
    def takes_many(self) -> bool:
        """Whether every input has a dimension that grows with the frames of a run."""
        return all(-1 in tensor["shape"] for tensor in self.tensors.values())

    def stream(self, values: dict[str, np.ndarray], at_once: int) -> np.ndarray:
        """The output of many frames, flat; values: {what the manifest calls the input: [frames,
        ...]}. at_once: frames of one run at most."""
        step = at_once if self.takes_many else 1
        count = len(next(iter(values.values())))
        parts = [
            self.run({key: value[at : at + step] for key, value in values.items()})
            for at in range(0, count, step)
        ]
        return np.concatenate([np.zeros(0, np.float32), *parts])

    def run(self, values: dict[str, np.ndarray]) -> np.ndarray:
        """The output of a run, flat; values: {what the manifest calls the input: its frames}."""
        inputs = dict(self.states)
        for key, tensor in self.tensors.items():
            inputs[tensor["name"]] = values[key].reshape(tensor["shape"])
        result, *states = self._told(self.session.run, self.outputs, inputs)
        self.states = dict(zip(self.zeros, states, strict=True))
        return result.reshape(-1)

    def _told(self, call: Callable, *arguments: Any, **options: Any) -> Any:
        try:
            return call(*arguments, **options)
        except Exception as error:  # ONNX Runtime's errors have no base class of their own
            raise BundleError(f"{self.path}: ONNX Runtime: {error}") from error
