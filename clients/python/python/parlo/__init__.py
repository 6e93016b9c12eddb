"""Speech as tokens: Parlo's codec, token files and live feeds.

>>> import parlo
>>> codec = parlo.Codec()                         # the bundle that comes with the package
>>> codes = codec.encode(wav, 16000)              # int64 [B, K, T]  # doctest: +SKIP
>>> again = codec.decode(codes)                   # float32 [B, 1, N]  # doctest: +SKIP
>>> file = parlo.open("call.ptk")                 # doctest: +SKIP
>>> file["heard"][1.5:3.0].codes                  # int64 [K, T]  # doctest: +SKIP

B is the batch, K the codebooks in use (the *depth*), T the frames, N the samples. Arrays are NumPy's; where torch tensors
go in, torch tensors come out.
"""

import os
from typing import TYPE_CHECKING, Any

# ONNX Runtime reports to its vendor unless it finds this as it is loaded, so before anything that may load it. Where it is set
# already the environment is not touched: another thread may be reading it.
if os.environ.get("ORT_DISABLE_TELEMETRY") != "1":
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from parlo._native import BundleError, FileError, ParloError, __version__
from parlo.codec import Codec, Decoder, Encoder
from parlo.files import Mark, Stream, TokenFile, Tokens, open, write

if TYPE_CHECKING:
    from parlo.feed import Frame, feed  # type: ignore[import-not-found, unused-ignore]

__all__ = [
    "BundleError",
    "Codec",
    "Decoder",
    "Encoder",
    "FileError",
    "Frame",
    "Mark",
    "ParloError",
    "Stream",
    "TokenFile",
    "Tokens",
    "__version__",
    "feed",
    "open",
    "write",
]


def __getattr__(name: str) -> Any:
    # Only who listens to a daemon needs what listening takes.
    if name in ("feed", "Frame"):
        from importlib import import_module

        module = import_module("parlo.feed")
        # The function takes the place of the module of the same name.
        globals().update(feed=module.feed, Frame=module.Frame)
        return globals()[name]
    raise AttributeError(f"module 'parlo' has no attribute {name!r}")
