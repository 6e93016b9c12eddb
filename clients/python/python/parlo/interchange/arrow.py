"""Sets of items as Arrow tables and Parquet files: one row a recording.

Columns: `id`, `codes` (list of K lists of T uint16, null where a frame has no code), `times` (list of double,
seconds), `marks` (list of uint8), `duration` (seconds), `text`, `bundle`, `bundle_name`, `sampling_rate`, `frame_rate`,
`codebook_sizes`, `metadata` (JSON), `format`, `crc32` (of all of a row; rows that were changed on purpose may have none). Each row says all of itself, so that rows may be filtered, shuffled and
joined by any program and still be read back.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parlo._whole import need, whole
from parlo.codec import NO_CODE
from parlo.interchange.items import Codecs, InterchangeError, Item, Model, check_model, check_same, checksum, item_of

if TYPE_CHECKING:
    import pyarrow


# Under this key Parquet's own metadata have the number of rows.
_COUNT = "parlo_rows"


def schema() -> pyarrow.Schema:
    """The columns, as Arrow has them."""
    pa = _arrow()
    return pa.schema(
        [
            ("format", pa.int32()),
            ("id", pa.string()),
            ("codes", pa.list_(pa.list_(pa.uint16()))),
            ("times", pa.list_(pa.float64())),
            ("marks", pa.list_(pa.uint8())),
            ("duration", pa.float64()),
            ("text", pa.string()),
            ("bundle", pa.string()),
            ("bundle_name", pa.string()),
            ("sampling_rate", pa.int32()),
            ("frame_rate", pa.float64()),
            ("codebook_sizes", pa.list_(pa.int32())),
            ("metadata", pa.string()),
            ("crc32", pa.uint32()),
        ]
    )


def to_table(items: Iterable[Item]) -> pyarrow.Table:
    """Items of one model as a table with `schema()`.

    Raises
    ------
    InterchangeError
        If the items are of more than one model.
    """
    return _table(items, None)[0]


def from_table(table: pyarrow.Table, expect: Codecs | str | None = None) -> Iterator[Item]:
    """The items of a table that `to_table` made, whatever became of its rows since.

    Raises
    ------
    InterchangeError
        If a column is missing or of another type, or a row of another model than `expect`.
    """
    for batch in table.to_batches():
        yield from _items(batch, expect, "the table")


def write_parquet(path: str | os.PathLike[str], items: Iterable[Item], *, rows: int = 1000) -> int:
    """Writes items of one model; holds `rows` of them in memory at once, a row group.

    Returns
    -------
    How many there were.
    """
    _arrow()
    parquet = need("pyarrow.parquet", "pyarrow>=16", "writing Parquet")
    count, model, rest = 0, None, iter(items)
    with whole(path) as partial, parquet.ParquetWriter(partial, schema(), compression="zstd") as writer:
        while group := list(itertools.islice(rest, rows)):
            table, model = _table(group, model)
            writer.write_table(table)
            count += len(group)
        # Rows have checksums; this tells whether all of them are there.
        writer.add_key_value_metadata({_COUNT: str(count)})
    return count


def read_parquet(path: str | os.PathLike[str], expect: Codecs | str | None = None) -> Iterator[Item]:
    """The items of a Parquet file, a few in memory at once.

    Raises
    ------
    InterchangeError
        If it is no such file, damaged, or has a row of another model than `expect`.
    """
    pa = _arrow()
    parquet = need("pyarrow.parquet", "pyarrow>=16", "reading Parquet")
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is not there")
    try:
        with parquet.ParquetFile(path) as file:
            count, told = 0, (file.metadata.metadata or {}).get(_COUNT.encode())
            for batch in file.iter_batches(batch_size=64):
                yield from _items(batch, expect, path)
                count += batch.num_rows
            if count != int(file.metadata.num_rows if told is None else told):
                raise InterchangeError(f"{path} is damaged: of its rows only {count} are there")
    except InterchangeError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InterchangeError(f"{path} is no Parquet file, or damaged: {error}") from error


def _table(items: Iterable[Item], model: Model | None) -> tuple[pyarrow.Table, Model | None]:
    """A table, and the one model of its items and those before."""
    pa = _arrow()
    rows = list(items)
    for item in rows:
        model = check_same(item, model, "Arrow")
    columns: dict[str, Any] = {name: [] for name in schema().names}
    for item in rows:
        about = {**item.about(), "crc32": checksum(item.about(), item.tokens)}
        about["metadata"] = json.dumps(about["metadata"], sort_keys=True, ensure_ascii=False)
        for name, value in about.items():
            columns[name].append(value)
    tokens = [item.tokens for item in rows]
    columns["codes"] = _codes([token.codes for token in tokens])
    columns["times"] = _lists([token.times for token in tokens], pa.float64())
    columns["marks"] = _lists([token.marks for token in tokens], pa.uint8())
    arrays = [pa.array(columns[name], kind) for name, kind in zip(schema().names, schema().types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema()), model


def _codes(codes: list[np.ndarray]) -> pyarrow.Array:
    """Arrays [K, T] as lists of K lists of uint16."""
    pa = _arrow()
    rows = _lists([row for array in codes for row in array], pa.uint16())
    ends = np.cumsum([0, *(len(array) for array in codes)], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), rows)


def _lists(arrays: list[np.ndarray], kind: pyarrow.DataType) -> pyarrow.Array:
    """Arrays [T] as lists; what is below 0 becomes null where only codes can be."""
    pa = _arrow()
    ends = np.cumsum([0, *(len(array) for array in arrays)])
    if ends[-1] > np.iinfo(np.int32).max:
        raise InterchangeError(f"{ends[-1]} codes are too many for one table: write fewer rows at once")
    flat = np.concatenate(arrays) if arrays else np.zeros(0)
    missing = flat < 0 if pa.types.is_uint16(kind) else None
    values = flat if missing is None else np.where(missing, 0, flat).astype(np.uint16)
    return pa.ListArray.from_arrays(pa.array(ends.astype(np.int32)), pa.array(values, kind, mask=missing))


def _items(batch: pyarrow.RecordBatch, expect: Codecs | str | None, where: object) -> Iterator[Item]:
    pa = _arrow()
    lacking = set(schema().names) - set(batch.schema.names) - {"crc32"}
    if lacking:
        raise InterchangeError(f"{where} has no tokens as Parlo writes them: it lacks {', '.join(sorted(lacking))}")
    for row in range(batch.num_rows):
        told = {name: batch.column(name)[row] for name in schema().names if name in batch.schema.names}
        arrays = [told.pop(name) for name in ("codes", "times", "marks")]
        about = {name: value.as_py() for name, value in told.items()}
        try:
            about["metadata"] = json.loads(about["metadata"] or "{}")
            books = [_flat(book, pa.int64(), NO_CODE) for book in arrays[0].values]
            if len({len(book) for book in books}) > 1:
                raise InterchangeError("its codebooks are of unequal length")
            codes = np.stack(books) if books else np.zeros((0, 0), np.int64)
            times, marks = (_flat(list_, kind) for list_, kind in zip(arrays[1:], (pa.float64(), pa.uint8()), strict=True))
        except InterchangeError as error:
            raise InterchangeError(f"{where}: row {about['id']!r}: {error}") from error
        except (pa.ArrowException, AttributeError, TypeError, json.JSONDecodeError) as error:
            raise InterchangeError(f"{where}: row {about['id']!r} is not as Parlo writes it: {error}") from error
        yield check_model(item_of(about, codes, times, marks, where), expect, where)


def _flat(value: pyarrow.ListScalar, kind: pyarrow.DataType, missing: int | None = None) -> np.ndarray:
    """The numbers of a list; null becomes `missing`."""
    pa = _arrow()
    held = value.values
    if pa.types.is_floating(held.type) and not pa.types.is_floating(kind):
        raise InterchangeError(f"codes and marks are whole numbers, not {held.type}")
    held = held.cast(kind)
    if missing is not None:
        held = held.fill_null(missing)
    if held.null_count:
        raise InterchangeError("a time or a mark is missing")
    return np.array(held.to_numpy(zero_copy_only=False))


def _arrow() -> Any:
    return need("pyarrow", "pyarrow>=16", "Arrow")
