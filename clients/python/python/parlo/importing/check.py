"""Tries a bundle out before it is put in its place, against `transformers` where that is there."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np

from .codec import Codec
from .errors import ImportFailure, is_there
from .options import Options
from .player import Player

TOLERANCE = 1e-3  # largest difference of a sample, full scale being 1
LEAST_EQUAL = 0.99  # share of codes; ties of large models may fall otherwise


def check(codec: Codec, bundle: Path, checkpoint: Path | None, options: Options) -> str:
    """Raises ImportFailure if the bundle is not what it should be; returns what was found.

    `checkpoint` is the folder in the layout of transformers that it was made from, if it was.
    """
    player = Player(bundle)
    audio = signal(codec.sample_rate, codec.frame_samples)
    codes = player.encode(audio)
    frames = len(audio) // codec.frame_samples
    if codes.shape != (frames, len(codec.sizes)):
        raise ImportFailure(f"the encoder made codes of shape {list(codes.shape)} of {frames} "
                            f"frames of {codec.frame_samples} samples, and not "
                            f"{[frames, len(codec.sizes)]}")
    if codes.min() < 0 or (codes.max(0) >= codec.sizes).any():
        raise ImportFailure(f"the encoder made codes outside of its codebooks, {codec.sizes}: "
                            f"{codes.min(0).tolist()} to {codes.max(0).tolist()}")
    for depth in (1, len(codec.sizes)):
        sound = player.decode(codes, depth)
        if sound.shape != audio.shape or not np.isfinite(sound).all():
            raise ImportFailure(f"the decoder made {sound.size} samples of {frames} frames, and "
                                f"not {audio.size} finite ones")
    if checkpoint is None:
        return "it runs with ONNX Runtime; not compared with the original"
    if not is_there("torch", "transformers"):
        return ("it runs with ONNX Runtime; not compared with PyTorch, because torch and "
                "transformers are not installed")
    return _compare(codec, player, checkpoint, options, audio, codes)


def _compare(codec: Codec, player: Player, checkpoint: Path, options: Options, audio: np.ndarray,
             codes: np.ndarray) -> str:
    original = Original(codec.architecture, checkpoint, options)
    books = len(codec.sizes)
    theirs = original.encode(audio)[:, :books]
    equal = float((codes == theirs).mean())
    if equal < LEAST_EQUAL:
        raise ImportFailure(f"only {equal:.1%} of the codes are those that transformers makes: the "
                            "bundle is not the model, and was not kept. It may be of a version "
                            "that is unknown here")
    worst = max(float(np.abs(player.decode(theirs, depth) - original.decode(theirs[:, :depth]))
                      .max()) for depth in {1, books})
    if not worst <= TOLERANCE:
        raise ImportFailure(f"the decoded sound differs by {worst:.2g} from what transformers "
                            f"makes of the same codes, more than {TOLERANCE}: the bundle is not "
                            "the model, and was not kept")
    return (f"against transformers on {len(audio) / codec.sample_rate:.2g} s of a test signal: "
            f"{equal:.2%} of the codes equal, sound equal to {worst:.1e}")


class Original:
    """The checkpoint as `transformers` runs it, one recording at a time."""

    def __init__(self, architecture: str, folder: Path, options: Options = Options()):
        import torch
        import transformers

        logging.getLogger("transformers").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind = getattr(transformers, architecture)
            config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
            if options.start == "zeros":
                config.pad_mode = "constant"
            self.model = kind.from_pretrained(
                folder, config=config, local_files_only=True, dtype=torch.float32).eval()
        self.torch, self.architecture = torch, architecture

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """float32 [samples] to int64 [frames, books]."""
        values = self.torch.from_numpy(audio)[None, None]
        with self.torch.no_grad():
            if self.architecture == "EncodecModel":
                widest = self.model.config.target_bandwidths[-1]
                return self.model.encode(values, bandwidth=widest).audio_codes[0, 0].T.numpy()
            return self.model.encode(values).audio_codes[0].T.numpy()

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """int64 [frames, books] to float32 [samples]."""
        values = self.torch.from_numpy(np.ascontiguousarray(codes.T))[None]
        frames = len(codes)
        with self.torch.no_grad():
            if self.architecture == "EncodecModel":
                audio = self.model.decode(values[None], [None]).audio_values
            elif self.architecture == "MimiModel":
                audio = self.model.decode(values).audio_values
            else:
                audio = self.model.decode(audio_codes=values).audio_values
        audio = audio.reshape(-1).numpy()
        # what a codec leaves unmade at the end is zeros in a bundle
        whole = frames * self._frame_samples()
        return np.pad(audio, (0, whole - len(audio)))

    def _frame_samples(self) -> int:
        config = self.model.config
        return config.frame_size if self.architecture == "MimiModel" else config.hop_length


def signal(rate: int, frame: int) -> np.ndarray:
    """About a second of something like speech: a gliding voice, noise, a click, silence.

    float32 [samples], a whole number of frames, 40 at most.
    """
    frames = min(max(rate // frame, 8), 40)
    n = np.arange(frames * frame)
    random = np.random.default_rng(3)
    seconds = n / rate
    phase = 2 * np.pi * np.cumsum(150 * 2 ** (0.6 * np.sin(2 * np.pi * seconds))) / rate
    voice = sum(np.cos(k * phase) / k for k in range(1, 12))
    position = n / len(n)
    audio = 0.1 * voice * np.sin(np.pi * position) + 0.03 * random.normal(size=len(n)) * position
    audio[int(0.6 * len(n)):int(0.7 * len(n))] = 0
    audio[int(0.65 * len(n))] = 0.5
    return audio.astype(np.float32)
