"""What goes wrong while a codec is imported, in words for the person who asked for it."""

from __future__ import annotations

import importlib
from types import ModuleType


class ImportFailure(Exception):
    """The codec cannot be imported; the message says why and, where there is one, the way out."""


def need(package: str, purpose: str) -> ModuleType:
    """Imports `package`, or raises ImportFailure that names it and how to get it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        name = package.split(".")[0]
        raise ImportFailure(
            f"{purpose} needs the Python package {name}, which cannot be imported ({error}): "
            f"pip install {name}"
        ) from error


def is_there(*packages: str) -> bool:
    """Whether all of `packages` can be imported."""
    try:
        for package in packages:
            importlib.import_module(package)
    except ImportError:
        return False
    return True
