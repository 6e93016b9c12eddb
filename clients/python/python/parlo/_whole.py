"""Files that are there whole or not at all, and packages that not everybody needs."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

# The end of the names of files that are being written. One that outlives its writer is rubbish.
PARTIAL = ".partial"


@contextlib.contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A place to write to, in the folder of `path`, that takes the name `path` when the block ends well.

    Folders are made as needed. If the block raises, nothing is left of it and what was at `path` stays.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}{PARTIAL}")
    try:
        yield partial
        # On the disk before it has the name, so that a power cut cannot leave a name without content.
        descriptor = os.open(partial, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def need(module: str, install: str, purpose: str) -> ModuleType:
    """Imports a package that only some need; `install` is what brings it, as pip and `pyproject.toml` have it.

    Raises
    ------
    ImportError
        Saying what to install, if it is not there.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{purpose} needs {module} ({error}): pip install '{install}'") from error
