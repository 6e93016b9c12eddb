"""Sets of items as WebDataset shards: tar files that training reads from front to back.

An item is four members in a row, `KEY.codes.npy` (int32 [K, T], -1 where a frame has no code), `KEY.times.npy` (float64 [T]),
`KEY.marks.npy` (uint8 [T]) and `KEY.json` (the rest). The `webdataset` package reads them as they are; neither writing
nor reading here needs it.
"""

from __future__ import annotations

import io
import itertools
import os
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from parlo._whole import whole
from parlo.interchange.items import Codecs, InterchangeError, Item, about_text, check_model, check_same, item_of

_ENDINGS = ("codes.npy", "times.npy", "marks.npy", "json")


def write_shards(
    folder: str | os.PathLike[str], items: Iterable[Item], *, rows: int = 1000, prefix: str = "tokens"
) -> list[Path]:
    """Writes items of one model as `PREFIX-000000.tar` and so on, `rows` in each. Same items, same bytes.

    Keys are the items' ids with what is special in tar members replaced by `_`; the id itself is in the JSON.

    Returns
    -------
    The shards, in order.

    Raises
    ------
    InterchangeError
        If the folder has such shards, two items have one key, or the items are of more than one model.
    """
    if rows < 1:
        raise InterchangeError(f"a shard has at least one item, not {rows}")
    folder = Path(folder)
    if old := sorted(folder.glob(f"{prefix}-*.tar")):
        raise InterchangeError(f"{folder} has shards already, such as {old[0].name}: choose another folder or prefix")
    written: list[Path] = []
    model, keys, rest = None, set[str](), iter(items)
    while group := list(itertools.islice(rest, rows)):
        path = folder / f"{prefix}-{len(written):06}.tar"
        with whole(path) as partial, tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
            for item in group:
                model = check_same(item, model, path)
                key = re.sub(r"[^A-Za-z0-9_-]", "_", item.id)
                if key in keys:
                    raise InterchangeError(f"two items have the key {key!r}, one of them is {item.id!r}: give them other ids")
                keys.add(key)
                _add(tar, key, item)
        written.append(path)
    return written


def read_shards(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], expect: Codecs | str | None = None
) -> Iterator[Item]:
    """The items of shards, one in memory at once.

    Parameters
    ----------
    paths
        A shard, several, or a folder of them (then all `*.tar` in it, by name).

    Raises
    ------
    InterchangeError
        If a shard is damaged or not as `write_shards` wrote it, or an item is of another model than `expect`.
    """
    if isinstance(paths, (str, os.PathLike)):
        single = Path(paths)
        paths = sorted(single.glob("*.tar")) if single.is_dir() else [single]
    for path in paths:
        yield from _read(path, expect)


def _read(path: str | os.PathLike[str], expect: Codecs | str | None) -> Iterator[Item]:
    try:
        with tarfile.open(path, "r|") as tar:
            for key, members in itertools.groupby(_members(tar), lambda member: member[0]):
                parts = {ending: content for _, ending, content in members}
                if set(parts) != set(_ENDINGS):
                    raise InterchangeError(f"{path}: {key} has {', '.join(sorted(parts))} instead of {', '.join(_ENDINGS)}")
                codes, times, marks = (_array(parts[ending], f"{path}: {key}.{ending}") for ending in _ENDINGS[:3])
                try:
                    about = parts["json"].decode()
                except UnicodeDecodeError as error:
                    raise InterchangeError(f"{path}: {key}.json is damaged: {error}") from error
                yield check_model(item_of(about, codes, times, marks, f"{path}: {key}"), expect, path)
    except tarfile.TarError as error:
        raise InterchangeError(f"{path} is no tar file, or damaged: {error}") from error


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, str, bytes]]:
    """Key, ending and content of the files, as WebDataset splits names."""
    for member in tar:
        if member.isfile():
            held = tar.extractfile(member)
            content = held.read() if held else b""
            if len(content) != member.size:
                raise tarfile.ReadError(f"{member.name} is cut short")
            key, _, ending = member.name.partition(".")
            yield key, ending, content


def _add(tar: tarfile.TarFile, key: str, item: Item) -> None:
    tokens = item.tokens
    contents = [_bytes(tokens.codes.astype(np.int32)), _bytes(tokens.times), _bytes(tokens.marks), about_text(item).encode()]
    for ending, content in zip(_ENDINGS, contents, strict=True):
        # A fresh member has no time, owner or rights of this machine.
        member = tarfile.TarInfo(f"{key}.{ending}")
        member.size, member.mode = len(content), 0o644
        tar.addfile(member, io.BytesIO(content))


def _bytes(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def _array(content: bytes, where: str) -> np.ndarray:
    try:
        array: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
        return array
    except Exception as error:  # Headers are parsed as Python, which fails in many ways.
        raise InterchangeError(f"{where} is damaged: {error}") from error
