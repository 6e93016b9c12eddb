"""Lists of token files for the libraries that train: Hugging Face `datasets`, and `lhotse`.

A list is made of a folder of `.ptk` files, at any depth, in the order of their names. An id is a file's path in the folder
without its ending, with `/`. Nothing here needs the libraries it writes for.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shlex
import sys
import wave
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

import parlo
from parlo._whole import need, whole
from parlo.codec import NO_CODE, Codec
from parlo.files import Tokens

if TYPE_CHECKING:
    import datasets

# What `datasets` calls the types of `rows`.
_TYPES = {
    "id": "string",
    "path": "string",
    "duration": "float64",
    "sampling_rate": "int32",
    "frame_rate": "float64",
    "depth": "int32",
    "bundle": "string",
    "bundle_name": "string",
    "created": "string",
    "metadata": "string",
    "text": "string",
    "speaker": "string",
}

Failed = Callable[[Path, Exception], None]


def rows(
    folder: str | os.PathLike[str],
    *,
    texts: Mapping[str, str] | None = None,
    speakers: Mapping[str, str] | None = None,
    failed: Failed | None = None,
) -> Iterator[dict[str, Any]]:
    """One row for each token file, of what its header and index tell; the tokens stay where they are.

    Parameters
    ----------
    folder
        Where the files are.
    texts, speakers
        By id, what is said and by whom, as far as known.
    failed
        Called with a file that cannot be opened and why; such a file has no row. If not given, its error is raised.

    Yields
    ------
    `id`; `path`, absolute; `duration`, seconds (see `length`); `sampling_rate`, Hz; `frame_rate`, frames a second; `depth`, the most
    codes of a frame; `streams`, names; `bundle`, 64 hexadecimal digits; `bundle_name`; `created`, ISO 8601, or None; `metadata`,
    JSON; `text` and `speaker`, or None.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    """
    for id, path in files(folder):
        try:
            yield row(path, id, texts=texts, speakers=speakers)
        except (parlo.ParloError, OSError) as error:
            if failed is None:
                raise
            failed(path, error)


def row(
    path: str | os.PathLike[str],
    id: str,
    *,
    texts: Mapping[str, str] | None = None,
    speakers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The row of one file: see `rows`."""
    file = parlo.open(path)
    return {
        "id": id,
        "path": str(Path(path).absolute()),
        "duration": length(file),
        "sampling_rate": int(file.sampling_rate),
        "frame_rate": float(file.frame_rate),
        "depth": int(file.depth),
        "streams": list(file.streams),
        "bundle": file.tokens_id,
        "bundle_name": file.bundle_name,
        "created": file.created.isoformat() if file.created else None,
        "metadata": json.dumps(dict(file.metadata), sort_keys=True, ensure_ascii=False),
        "text": (texts or {}).get(id),
        "speaker": (speakers or {}).get(id),
    }


def files(folder: str | os.PathLike[str]) -> list[tuple[str, Path]]:
    """Ids and paths of the token files in a folder, by id; hidden ones are left out.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is no folder")
    found = (path for path in root.rglob("*.ptk") if path.is_file())
    inside = ((path.relative_to(root), path) for path in found)
    return sorted(
        (place.with_suffix("").as_posix(), path)
        for place, path in inside
        if not any(part.startswith(".") for part in place.parts)
    )


def length(file: parlo.TokenFile) -> float:
    """Seconds of the sound that a file was made of, where it tells; else until its last frame ends."""
    return file.duration if file.num_samples is None else file.num_samples / file.sampling_rate


def write_jsonl(out: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> int:
    """Writes rows as JSON, one a line: `datasets.load_dataset("json", data_files=...)` reads them.

    Paths are written relative to the list's own folder, so that folder and list can be moved together.

    Returns
    -------
    How many rows there were.
    """
    count = 0
    with whole(out) as partial, partial.open("w", encoding="utf-8") as file:
        for entry in rows:
            file.write(json.dumps(_moved(entry, out), ensure_ascii=False) + "\n")
            count += 1
    return count


def write_parquet(out: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> int:
    """The same as Parquet: `datasets.load_dataset("parquet", data_files=...)` reads it."""
    pa = need("pyarrow", "pyarrow>=16", "writing Parquet")
    parquet = need("pyarrow.parquet", "pyarrow>=16", "writing Parquet")
    kinds = {"string": pa.string(), "float64": pa.float64(), "int32": pa.int32()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in _TYPES.items()] + [("streams", pa.list_(pa.string()))])
    table = pa.Table.from_pylist([_moved(entry, out) for entry in rows], schema=schema)
    with whole(out) as partial:
        parquet.write_table(table, partial, compression="zstd")
    return int(table.num_rows)


def read_jsonl(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of `write_jsonl`, with absolute paths again."""
    rows = [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]
    return [{**entry, "path": os.path.normpath(Path(path).absolute().parent / entry["path"])} for entry in rows]


def features() -> datasets.Features:
    """The types of the rows, for `load_dataset(..., features=...)`: then columns that are all None have theirs too."""
    package = need("datasets", "datasets", "features of datasets")
    kinds = {name: package.Value(kind) for name, kind in _TYPES.items()}
    return package.Features({**kinds, "streams": package.List(package.Value("string"))})


def write_lhotse(
    out: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    codec: Codec,
    *,
    texts: Mapping[str, str] | None = None,
    speakers: Mapping[str, str] | None = None,
    audio: Mapping[str, str | os.PathLike[str]] | None = None,
    language: str | None = None,
    failed: Failed | None = None,
) -> int:
    """Writes `recordings.jsonl.gz`, `supervisions.jsonl.gz` and `cuts.jsonl.gz` for lhotse, and `codes/` beside them.

    A cut is one stream of a file. Its field `codes` is an array int32 [T, K] (time first, as lhotse cuts along it) with a row
    for each frame of the clock and -1 where there is no code: `cut.load_codes()` gives those of the cut's own span. Its
    recording is the sound that it was made of, where `audio` tells that; else a command that decodes the stream
    (`python -m parlo.manifests`), which lhotse runs when sound is asked for.

    Parameters
    ----------
    out
        A folder; what it holds of an earlier run is replaced.
    folder, texts, speakers, failed
        As for `rows`. The ids of several streams of a file end with `-` and the stream's name.
    codec
        The model that made the files.
    audio
        By id, the sound that a file was made of, mono, of the codec's rate.
    language
        What is spoken, if it is the same everywhere.

    Returns
    -------
    How many cuts were written.
    """
    out = Path(out).absolute()
    count = 0
    with ExitStack() as stack:
        lists = {
            name: stack.enter_context(_gzip(out / f"{name}.jsonl.gz")) for name in ("recordings", "supervisions", "cuts")
        }
        for id, path in files(folder):
            try:
                file = parlo.open(path, codec)
                streams = {name: file[name][:] for name in file.streams}
            except (parlo.ParloError, OSError) as error:
                if failed is None:
                    raise
                failed(path, error)
                continue
            for name, tokens in streams.items():
                own = id if len(streams) == 1 else f"{id}-{name}"
                codes = on_clock(tokens, codec.frame_rate).T.astype(np.int32)
                with whole(out / "codes" / f"{own}.npy") as partial, partial.open("wb") as array:
                    np.save(array, np.ascontiguousarray(codes))
                recording = _recording(own, file, name, codec, (audio or {}).get(own))
                told = {"text": (texts or {}).get(own), "speaker": (speakers or {}).get(own), "language": language}
                supervision = {"id": own, "recording_id": own, "start": 0.0, "duration": length(file), "channel": 0}
                supervision |= {key: value for key, value in told.items() if value}
                for kind, entry in (
                    ("recordings", recording),
                    ("supervisions", supervision),
                    ("cuts", _cut(recording, supervision, codes.shape, codec, out)),
                ):
                    lists[kind].write((json.dumps(entry, ensure_ascii=False) + "\n").encode())
                count += 1
    return count


def on_clock(tokens: Tokens, frame_rate: float) -> np.ndarray:
    """Codes int64 [K, T] with a column for each frame of the clock from 0 s on, -1 where none began.

    Files made of sound have all frames in a row, and are given back as they are. Recordings of calls have gaps; what began
    nearest to a column is in it.
    """
    places = np.rint(tokens.times * frame_rate).astype(np.int64)
    if np.array_equal(places, np.arange(len(places))):
        return tokens.codes
    clock = np.full((tokens.codes.shape[0], int(places.max(initial=-1)) + 1), NO_CODE, np.int64)
    clock[:, places[places >= 0]] = tokens.codes[:, places >= 0]
    return clock


def write_wav(out: IO[bytes], path: str | os.PathLike[str], stream: str, codec: Codec) -> None:
    """Decodes one stream of a file to a WAV file (16-bit, mono), as long as the file, at its place on the file's clock."""
    file = parlo.open(path, codec)
    codes = on_clock(file[stream][:], codec.frame_rate)
    # Frames that did not come at the start are silence, and not for the decoder to make up for.
    first = int((codes[0] != NO_CODE).argmax()) if codes.size else 0
    sound = codec.decode(codes[:, first:])[0, 0] if codes.size else np.zeros(0, np.float32)
    samples = np.zeros(round(length(file) * codec.sampling_rate), np.float32)
    begin = first * codec.frame_samples
    samples[begin : begin + len(sound)] = sound[: max(len(samples) - begin, 0)]
    with wave.open(out, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(codec.sampling_rate)
        writer.writeframes(np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def _recording(
    id: str, file: parlo.TokenFile, stream: str, codec: Codec, sound: str | os.PathLike[str] | None
) -> dict[str, Any]:
    """Where a stream's sound is, as lhotse's class Recording writes it."""
    if sound:
        source = {"type": "file", "channels": [0], "source": str(Path(sound).absolute())}
    else:
        words = [sys.executable or "python3", "-m", "parlo.manifests", os.path.abspath(file.path), stream, str(codec.folder)]
        source = {"type": "command", "channels": [0], "source": shlex.join(words)}
    return {
        "id": id,
        "sources": [source],
        "sampling_rate": codec.sampling_rate,
        "num_samples": round(length(file) * codec.sampling_rate),
        "duration": length(file),
        "channel_ids": [0],
    }


def _cut(
    recording: dict[str, Any], supervision: dict[str, Any], shape: tuple[int, ...], codec: Codec, out: Path
) -> dict[str, Any]:
    """A whole recording as lhotse's class MonoCut writes it, the codes as its class TemporalArray."""
    array = {
        "storage_type": "numpy_files",
        "storage_path": str(out / "codes"),
        "storage_key": f"{recording['id']}.npy",
        "shape": list(shape),
    }
    codes = {"array": array, "temporal_dim": 0, "frame_shift": 1 / codec.frame_rate, "start": 0.0}
    return {
        "id": recording["id"],
        "start": 0.0,
        "duration": recording["duration"],
        "channel": 0,
        "supervisions": [supervision],
        "recording": recording,
        "custom": {"codes": codes, "bundle": codec.tokens_id},
        "type": "MonoCut",
    }


@contextmanager
def _gzip(path: Path) -> Iterator[gzip.GzipFile]:
    """A compressed file, whole or not at all, whose bytes do not tell when it was written, nor under which name."""
    with whole(path) as partial, partial.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        yield file


def _moved(entry: Mapping[str, Any], out: str | os.PathLike[str]) -> dict[str, Any]:
    """A row whose path is relative to the list's folder."""
    return {**entry, "path": Path(os.path.relpath(entry["path"], Path(out).absolute().parent)).as_posix()}


if __name__ == "__main__":
    # What `write_lhotse` names as the way to a recording's sound: FILE STREAM BUNDLE.
    made = io.BytesIO()
    write_wav(made, sys.argv[1], sys.argv[2], Codec(sys.argv[3]))
    sys.stdout.buffer.write(made.getvalue())
