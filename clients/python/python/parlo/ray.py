"""Whole corpora to token files with Ray Data, on one machine or many.

>>> import parlo.ray
>>> summary = parlo.ray.encode("corpus", "tokens", concurrency=2)  # doctest: +SKIP

Each worker is a Ray actor that holds one `Codec` and uses one core. Outputs are written whole or not at all, so whatever is
killed, a worker, a machine or the whole run, nothing is lost: Ray starts the worker anew with the files it was at, and a run
that is started again goes on with what is not there yet.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import parlo
from parlo import manifests
from parlo._whole import PARTIAL, need, whole
from parlo.codec import DEFAULT_BEAM, DEFAULT_DEPTH, Codec

if TYPE_CHECKING:
    import ray.data

# Endings of sound files, where a folder is given.
SOUND = (".wav", ".flac", ".ogg", ".opus", ".oga", ".mp3")
# How often a file may take its worker down with it before it is left out.
RETRIES = 2

# Sound, float32 [N] or [N, channels], and its rate, Hz.
Sound = tuple[np.ndarray, int]
Source = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


@dataclass
class Summary:
    """What became of a corpus.

    Attributes
    ----------
    encoded
        Files that this run wrote.
    present
        Files that were there already, whole and of the same model and depth.
    failed
        Recordings without a file, by id, and why.
    audio_seconds
        Of the sound that this run encoded.
    core_seconds
        Processor time of the workers for it: reading, resampling, encoding, writing.
    work_seconds
        From the first file's begin to the last one's end.
    manifest
        The list of all files that there are now, as `parlo.manifests.write_jsonl` writes it, with `source`, the recording.
    """

    encoded: int = 0
    present: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    audio_seconds: float = 0.0
    core_seconds: float = 0.0
    work_seconds: float = 0.0
    manifest: Path = Path()

    @property
    def x_real_time_per_core(self) -> float:
        """Seconds of sound for each second of a core; 0 if nothing was encoded."""
        return self.audio_seconds / self.core_seconds if self.core_seconds else 0.0


def encode(
    source: Source | ray.data.Dataset,
    out: str | os.PathLike[str],
    *,
    codec: str | os.PathLike[str] | None = None,
    depth: int | None = None,
    beam: int = DEFAULT_BEAM,
    concurrency: int | tuple[int, int] | None = None,
    batch: int = 16,
    read: Callable[[Path], Sound] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Encodes recordings to `OUT/ID.ptk`, and lists them in `OUT/manifest.jsonl` and `OUT/failures.jsonl`.

    Parameters
    ----------
    source
        A folder (all `SOUND` files in it, at any depth; the id is the path in it without ending), paths (ids likewise, from
        the folder they have in common), or a Ray dataset with the columns `id` and `path`. Every machine of the cluster must
        see the files under these paths.
    out
        A folder that every machine sees.
    codec
        The bundle, as for `parlo.Codec`; every machine must have it.
    depth, beam
        As for `Codec.encode`.
    concurrency
        Workers, or the least and most of them; as many as the cluster has cores if not given.
    batch
        Recordings that a worker takes at once, and does again if it dies meanwhile (those that are written are not).
    read
        How sound is read, for what `soundfile` does not read. It runs in the workers.
    progress
        Called with how many recordings are done, and how many there are.

    Returns
    -------
    What became of them. One recording that fails, whatever the reason, does not stop the others.

    Raises
    ------
    FileNotFoundError
        If the folder is not there.
    ValueError
        If there is nothing to encode, two recordings have the same id, or the model has no such depth.
    BundleError
        If there is no such bundle here.
    ImportError
        If Ray is not installed.

    Notes
    -----
    The program that calls this holds a row for each recording, some 1 kB: encode very large corpora in parts, each into a folder
    of its own. Two runs at once into one folder disturb each other.
    """
    data = need("ray.data", "ray[data]>=2.30", "encoding a corpus with Ray")
    engine = need("ray", "ray[data]>=2.30", "encoding a corpus with Ray")
    # What no worker could do is told at once, and by one.
    books = Codec(codec).num_codebooks
    if depth is not None and not 1 <= depth <= books:
        raise ValueError(f"depth {depth} is not possible: the model has {books} codebooks")
    todo = dict(_recordings(source))
    if not todo:
        raise ValueError("there is nothing to encode")
    folder = Path(out).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if not engine.is_initialized():
        engine.init()
    workers = concurrency or max(1, int(engine.cluster_resources().get("CPU", 1)))
    least, most = (workers, workers) if isinstance(workers, int) else workers
    arguments = (str(folder), None if codec is None else os.fspath(codec), depth, beam, read or read_sound)

    summary, listed, total = Summary(manifest=folder / "manifest.jsonl"), {}, len(todo)
    first, last = float("inf"), 0.0
    # A batch whose workers died again and again is taken apart, to find the recording that does it.
    for size in (batch, 1):
        items = [{"id": id, "path": path} for id, path in todo.items()]
        blocks = data.from_items(items, override_num_blocks=-(-len(items) // size))
        blocks.context.max_errored_blocks = -1
        done = blocks.map_batches(
            _Worker,
            batch_size=size,
            fn_constructor_args=arguments,
            # Alone in its worker when its turn comes again: what waits for a worker that dies has died with it, for Ray.
            compute=data.ActorPoolStrategy(
                min_size=least, max_size=most, max_tasks_in_flight_per_actor=1 if size == 1 else 2
            ),
            num_cpus=1,
            ray_remote_args_fn=lambda: {"max_restarts": -1, "max_task_retries": RETRIES},
        )
        for result in done.iter_rows():
            if todo.pop(result["id"], None) is None:
                continue
            if result["error"]:
                summary.failed[result["id"]] = result["error"]
            else:
                listed[result["id"]] = json.loads(result["row"])
                summary.present += result["seconds"] == 0
                summary.encoded += result["seconds"] > 0
            if result["seconds"] > 0:
                summary.audio_seconds += result["seconds"]
                summary.core_seconds += result["core_seconds"]
                first, last = min(first, result["begun"]), max(last, result["ended"])
            if progress:
                progress(total - len(todo), total)
        if not todo:
            break
    for id in todo:
        summary.failed[id] = f"its worker died each of {RETRIES + 1} times: out of memory, or a fault of a library"
    summary.work_seconds = max(last - first, 0.0)
    for left in folder.rglob(f".*{PARTIAL}*"):
        left.unlink(missing_ok=True)
    manifests.write_jsonl(summary.manifest, (listed[id] for id in sorted(listed)))
    with whole(folder / "failures.jsonl") as partial, partial.open("w", encoding="utf-8") as file:
        for id, reason in sorted(summary.failed.items()):
            file.write(json.dumps({"id": id, "error": reason}, ensure_ascii=False) + "\n")
    return summary


def read_sound(path: Path) -> Sound:
    """Sound of a file that libsndfile reads: WAV, FLAC, Ogg (Vorbis, Opus), MP3. Float32 [N], channels mixed, and its rate."""
    soundfile = need("soundfile", "soundfile>=0.12", "reading sound")
    with soundfile.SoundFile(path) as file:
        # Mixed piece by piece, so that only one channel is held.
        parts = [block.mean(axis=1) for block in file.blocks(1 << 20, dtype="float32", always_2d=True)]
        return np.concatenate(parts or [np.zeros(0, np.float32)]), int(file.samplerate)


def _recordings(source: Any) -> Iterator[tuple[str, str]]:
    """Ids and absolute paths, of whatever names recordings."""
    if hasattr(source, "iter_rows"):
        pairs = [(str(row["id"]), str(row["path"])) for row in source.select_columns(["id", "path"]).iter_rows()]
    else:
        if isinstance(source, (str, os.PathLike)):
            root = Path(source).absolute()
            if not root.is_dir():
                raise FileNotFoundError(f"{root} is no folder")
            found = sorted(path for path in root.rglob("*") if path.suffix.lower() in SOUND and path.is_file())
        else:
            found = [Path(path).absolute() for path in source]
            root = Path(os.path.commonpath([path.parent for path in found])) if found else Path()
        pairs = [(path.relative_to(root).with_suffix("").as_posix(), str(path)) for path in found]
    seen: dict[str, str] = {}
    for id, path in pairs:
        if not id or Path(id).is_absolute() or ".." in Path(id).parts:
            raise ValueError(f"{id!r} cannot be an id: it names the file to write, inside the folder")
        if id in seen:
            raise ValueError(f"{seen[id]} and {path} would both be {id}.ptk: rename one, or encode them apart")
        seen[id] = path
    yield from seen.items()


class _Worker:
    """A Ray actor: takes ids and paths, gives what became of them."""

    def __init__(self, out: str, bundle: str | None, depth: int | None, beam: int, read: Callable[[Path], Sound]) -> None:
        self.out, self.beam, self.read = Path(out), beam, read
        self.codec = Codec(bundle)
        self.depth = min(DEFAULT_DEPTH, self.codec.num_codebooks) if depth is None else depth

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        results = [self._one(str(id), str(path)) for id, path in zip(batch["id"], batch["path"], strict=True)]
        return {name: [result[name] for result in results] for name in results[0]}

    def _one(self, id: str, path: str) -> dict[str, Any]:
        begun, core = time.time(), time.process_time()
        target = self.out / f"{id}.ptk"
        seconds, row, error = 0.0, "", ""
        try:
            if not self._present(target):
                seconds = self._encode(path, target)
            row = json.dumps({**manifests.row(target, id), "source": path})
        except MemoryError:
            raise
        except Exception as raised:  # noqa: BLE001 - one recording, whatever is wrong with it, must not stop the others
            seconds, error = 0.0, f"{path}: {raised or type(raised).__name__}"
        core = time.process_time() - core
        return {
            "id": id, "row": row, "error": error, "seconds": seconds, "core_seconds": core, "begun": begun, "ended": time.time()
        }  # fmt: skip

    def _present(self, target: Path) -> bool:
        """Whether an earlier run wrote this file."""
        if not target.exists():
            return False
        try:
            file = parlo.open(target)
        except parlo.FileError:
            return False
        if not self.codec.speaks(file.tokens_id) or file.depth != self.depth:
            raise ValueError(
                f"{target} is there already, of the model {file.bundle_name} at depth {file.depth}: "
                f"choose another folder, or remove what is in this one"
            )
        return file.damage is None

    def _encode(self, path: str, target: Path) -> float:
        sound, rate = self.read(Path(path))
        if sound.ndim == 2:
            sound = sound.mean(axis=1)
        codes = self.codec.encode(sound, rate, self.depth, beam=self.beam, threads=1)
        with whole(target) as partial:
            parlo.write(partial, codes[0], self.codec, samples=self.codec.num_samples(len(sound), rate))
        return len(sound) / rate
