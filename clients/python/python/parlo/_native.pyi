"""The part in Rust. What is public of it, is so by the modules of ``parlo``, which also check and shape arrays."""

from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Archive",
    "BundleError",
    "Codec",
    "Decoder",
    "Encoder",
    "FileError",
    "ParloError",
    "__version__",
    "write",
]

__version__: str

class ParloError(Exception):
    """What goes wrong in Parlo, but for arguments (ValueError, TypeError) and files that cannot be read (OSError)."""

class BundleError(ParloError):
    """A model that is not here, damaged, or not the one that is needed; or no ONNX Runtime library to run it."""

class FileError(ParloError):
    """A token file that is damaged, or none at all."""

@final
class Codec:
    """A model, and encoders and decoders of it that wait for work."""

    def __new__(cls, bundle: str | None, library: str | None, packaged: str) -> Codec: ...
    @property
    def name(self) -> str: ...
    @property
    def bundle_id(self) -> str: ...
    @property
    def folder(self) -> str: ...
    @property
    def library(self) -> str: ...
    @property
    def sampling_rate(self) -> int: ...
    @property
    def frame_samples(self) -> int: ...
    @property
    def delay_samples(self) -> int: ...
    @property
    def codebook_sizes(self) -> list[int]: ...
    def num_samples(self, samples: int, rate: int) -> int: ...
    def num_frames(self, samples: int, rate: int) -> int: ...
    def encode(
        self,
        waves: list[NDArray[np.float32]],
        made: list[NDArray[np.int64]],
        rate: int,
        depth: int,
        beam: int,
        threads: int,
    ) -> None: ...
    def decode(self, codes: list[NDArray[np.int64]], made: list[NDArray[np.float32]], threads: int) -> None: ...
    def encoder(self, rate: int, depth: int, beam: int) -> Encoder: ...
    def decoder(self) -> Decoder: ...

@final
class Encoder:
    """One stream of sound."""

    @property
    def depth(self) -> int: ...
    @depth.setter
    def depth(self, depth: int) -> None: ...
    @property
    def num_samples(self) -> int: ...
    def push(self, samples: NDArray[np.float32]) -> NDArray[np.int64]: ...
    def flush(self) -> NDArray[np.int64]: ...
    def reset(self) -> None: ...

@final
class Decoder:
    """One stream of codes."""

    @property
    def num_frames(self) -> int: ...
    def push(self, codes: NDArray[np.int64]) -> NDArray[np.float32]: ...
    def conceal(self, frames: int) -> NDArray[np.float32]: ...
    def flush(self) -> NDArray[np.float32]: ...
    def reset(self) -> None: ...

@final
class Archive:
    """A token file that is open."""

    def __new__(cls, path: str, codec: Codec | None, packaged: str) -> Archive: ...
    def header(self) -> tuple[int, str, str, int, int, int]: ...
    @property
    def created_ms(self) -> int | None: ...
    @property
    def metadata(self) -> list[tuple[str, str]]: ...
    @property
    def streams(self) -> list[tuple[int, str, int]]: ...
    @property
    def duration_ms(self) -> int: ...
    @property
    def samples(self) -> int | None: ...
    @property
    def damage(self) -> str | None: ...
    def read(
        self, stream: int, from_ms: int, to_ms: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.uint8]]: ...

def write(
    path: str,
    codes: NDArray[np.int64],
    codec: Codec,
    samples: int | None,
    created_ms: int | None,
    metadata: list[tuple[str, str]],
    plain: bool,
) -> None: ...

def read_audio(path: str, channel: str) -> tuple[NDArray[np.float32], int, list[str]]: ...
