"""One item a file: NumPy's npz, and safetensors."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

from parlo._whole import need, whole
from parlo.interchange.items import Codecs, InterchangeError, Item, about_text, check_model, item_of

# The one key of a safetensors file's metadata that is ours.
KEY = "parlo"


def write_npz(path: str | os.PathLike[str], item: Item) -> None:
    """Writes an item as `codes`, `times`, `marks` and `about` (JSON), compressed. Same item, same bytes."""
    tokens = item.tokens
    with whole(path) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file, codes=tokens.codes, times=tokens.times, marks=tokens.marks, about=np.array(about_text(item))
        )


def read_npz(path: str | os.PathLike[str], expect: Codecs | str | None = None) -> Item:
    """The item that `write_npz` wrote.

    Raises
    ------
    InterchangeError
        If the file is no such file, damaged, or of another model than `expect`.
    """
    try:
        # Never objects: what unpickles can run code.
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in ("about", "codes", "times", "marks")}
    except FileNotFoundError:
        raise
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise InterchangeError(f"{path} is no npz file of tokens, or damaged: {error}") from error
    except Exception as error:  # zlib.error and others that are no ValueError
        raise InterchangeError(f"{path} is damaged: {error}") from error
    about = str(arrays.pop("about"))
    return check_model(item_of(about, **arrays, where=path), expect, path)


def write_safetensors(path: str | os.PathLike[str], item: Item) -> None:
    """Writes an item as the tensors `codes`, `times` and `marks`, the rest as metadata. Same item, same bytes."""
    package = need("safetensors.numpy", "safetensors>=0.4.3", "writing safetensors")
    tokens = item.tokens
    tensors = {
        name: np.ascontiguousarray(array)
        for name, array in (("codes", tokens.codes), ("times", tokens.times), ("marks", tokens.marks))
    }
    with whole(path) as partial:
        package.save_file(tensors, partial, metadata={KEY: about_text(item)})


def read_safetensors(path: str | os.PathLike[str], expect: Codecs | str | None = None) -> Item:
    """The item that `write_safetensors` wrote.

    Raises
    ------
    InterchangeError
        If the file is no such file, damaged, or of another model than `expect`.
    """
    package = need("safetensors", "safetensors>=0.4.3", "reading safetensors")
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is not there")
    try:
        with package.safe_open(path, framework="numpy") as held:
            about = (held.metadata() or {})[KEY]
            arrays = {name: held.get_tensor(name) for name in ("codes", "times", "marks")}
    except (package.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InterchangeError(f"{path} is no safetensors file of tokens, or damaged: {error}") from error
    return check_model(item_of(about, **arrays, where=path), expect, path)
