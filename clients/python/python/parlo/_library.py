"""Where the ONNX Runtime library and the bundles are that come with Python packages."""

import os
from importlib.util import find_spec
from pathlib import Path

# By system: Linux, macOS, Windows.
_NAMES = ("libonnxruntime.so*", "libonnxruntime*.dylib", "onnxruntime.dll")


def onnxruntime_library() -> str | None:
    """The library in the package ``onnxruntime``, which is not imported for it.

    None if the environment variable ``ORT_DYLIB_PATH`` names another, or the package is not there: then the library is
    looked for as Parlo's programs do.
    """
    if os.environ.get("ORT_DYLIB_PATH"):
        return None
    package = find_spec("onnxruntime")
    for folder in (package.submodule_search_locations if package else None) or ():
        for name in _NAMES:
            for library in sorted(Path(folder, "capi").glob(name)):
                return str(library)
    return None


def packaged_bundles() -> str:
    """The folder of the bundles in this package."""
    return str(Path(__file__).parent / "bundles")
