"""Token files: what they hold, by stream and time."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parlo import _arrays, _native
from parlo._library import packaged_bundles
from parlo.codec import Codec

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Mark(IntEnum):
    """What became of a frame (``docs/file.md``). Later versions may have others, up to 63."""

    REAL = 0
    """It was said and sent, or came whole."""
    UNSENT = 1
    """It was said, but nobody spoke: it was not sent, unless with the word that followed."""
    COARSE = 2
    """Only a copy of the coarsest codes came."""
    PREDICTED = 3
    """It did not come: what was to be expected was heard."""
    FADED = 4
    """It did not come, nor did much before it: nothing was heard."""
    SILENT = 5
    """The sender said that nobody spoke: comfort noise was heard."""
    HELD = 6
    """Play-out waited for the next frame: what was to be expected was heard."""
    WAITING = 7
    """Nothing had come yet."""
    GAP = 8
    """Whoever recorded could not keep up: not known."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """Frames in a row.

    Attributes
    ----------
    codes
        int64 [K, T]. -1 where a frame has fewer codes than K, or none at all; `Codec.decode` takes them so.
    times
        float64 [T]: when each frame begins, seconds from the start of the file.
    marks
        uint8 [T]: what became of each, see `Mark`.
    """

    codes: NDArray[np.int64]
    times: NDArray[np.float64]
    marks: NDArray[np.uint8]

    def __len__(self) -> int:
        """T."""
        return int(self.codes.shape[1])

    def __repr__(self) -> str:
        span = f", {self.times[0]:.2f} to {self.times[-1]:.2f} s" if len(self) else ""
        return f"Tokens({len(self)} frames of {self.codes.shape[0]} codes{span})"


class Stream:
    """One stream of a file. ``stream[1.5:3.0]`` are the `Tokens` of its frames that begin from 1.5 s on and before 3 s."""

    def __init__(self, archive: _native.Archive, number: int, name: str, frames: int, duration: float) -> None:
        self._archive, self._number, self._name, self._frames, self._duration = archive, number, name, frames, duration

    @property
    def name(self) -> str:
        """What it is: "audio"; in recordings of calls "said" and "heard"."""
        return self._name

    def __len__(self) -> int:
        """How many frames it has."""
        return self._frames

    def __getitem__(self, span: slice) -> Tokens:
        """The frames that begin in [start, stop), seconds. Negative times count from the end of the file.

        Raises
        ------
        TypeError
            If it is no slice of numbers, or has a step.
        BundleError
            If the model is needed to read the codes and is not here (says which, and which are).
        FileError
            If what lies there is damaged.
        """
        if not isinstance(span, slice) or span.step is not None:
            raise TypeError(f'a stream is sliced by time in seconds, file["{self._name}"][1.5:3.0], not by {span!r}')
        start = self._milliseconds(span.start, 0.0)
        stop = self._milliseconds(span.stop, float("inf"))
        return Tokens(*self._archive.read(self._number, start, max(start, stop)))

    def _milliseconds(self, seconds: Any, otherwise: float) -> int:
        return _span_milliseconds(seconds, otherwise, self._duration)

    def __repr__(self) -> str:
        return f"Stream({self._name!r}, {self._frames} frames)"


def _span_milliseconds(seconds: Any, otherwise: float, duration: float) -> int:
    if seconds is None:
        seconds = otherwise
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float, np.integer, np.floating)):
        raise TypeError(f"times are seconds, numbers, not {seconds!r}")
    if seconds != seconds:
        raise ValueError("a time is NaN; times are seconds")
    if seconds < 0:
        seconds = max(0.0, duration + seconds)
    # Far beyond any file; 3.0000000001 is meant to be 3.
    return 1 << 62 if seconds > 1e12 else round(float(seconds) * 1000)


class TokenFile(Mapping[str, Stream]):
    """A token file that is open: its streams by name, and what it says of itself. `parlo.open` makes one."""

    def __init__(self, path: str | os.PathLike[str], codec: Codec | None = None) -> None:
        self._path = os.fspath(path)
        given = None if codec is None else codec._native
        self._archive = _native.Archive(self._path, given, packaged_bundles())
        self._header = self._archive.header()

    @property
    def path(self) -> str:
        """Where it lies."""
        return self._path

    @property
    def version(self) -> int:
        """Version of the format."""
        return self._header[0]

    @property
    def tokens_id(self) -> str:
        """Which tokens it holds: the first half, 32 digits, of their identity; see `Codec.tokens_id`."""
        return self._header[1]

    @property
    def bundle_id(self) -> str:
        """What `tokens_id` was called when a bundle and its tokens were one."""
        return self.tokens_id

    @property
    def bundle_name(self) -> str:
        """The name of the bundle that made it."""
        return self._header[2]

    @property
    def sampling_rate(self) -> int:
        """Hz of the sound that the frames stand for."""
        return self._header[3]

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self._header[3] / self._header[4]

    @property
    def depth(self) -> int:
        """The most codes that a frame has: K."""
        return self._header[5]

    @property
    def created(self) -> datetime | None:
        """When its clock began, UTC; None if it does not say."""
        created = self._archive.created_ms
        try:
            return None if created is None else _EPOCH + timedelta(milliseconds=created)
        except OverflowError:
            return None

    @cached_property
    def metadata(self) -> dict[str, str]:
        """Whatever else it says; of keys that are there twice, the last."""
        return dict(self._archive.metadata)

    @property
    def duration(self) -> float:
        """When the last frame ends, seconds."""
        return self._archive.duration_ms / 1000

    @property
    def num_samples(self) -> int | None:
        """Samples of the original at `sampling_rate`, if it says so: the `length` for `Codec.decode`."""
        return self._archive.samples

    @property
    def damage(self) -> str | None:
        """What is wrong with it; None if it is whole. What lies before the damage can be read."""
        return self._archive.damage

    def sound(
        self, codec: Codec, start: float | None = None, stop: float | None = None, *, side: str = "both"
    ) -> Iterator[NDArray[np.float32]]:
        """Its sound on its clock, as it was heard, in pieces of up to half a minute: no more is held, however long it is.

        Gaps, lost frames and told silence sound as they did in the call. `Codec.decode` gives the sound of frames alone.

        Parameters
        ----------
        codec
            The model to decode with: of the same tokens, and one that streams.
        start, stop
            Seconds; negative ones count from the end of the file. None: from its start, to its end.
        side
            "said", "heard", or both, mixed; of other files, "both" is all streams.

        Yields
        ------
        float32 [t] at the codec's rate.

        Raises
        ------
        BundleError
            If the codec is not of the file's tokens.
        FileError
            If the file is damaged, has nothing for more than 4 hours, or is longer than 4 GiB of 16-bit samples.
        ValueError
            If the side is none of the three, or the model takes whole recordings only.
        """
        begin = _span_milliseconds(start, 0.0, self.duration)
        end = _span_milliseconds(stop, float("inf"), self.duration)
        return _pieces(_native.Sound(self._path, codec._native, side, begin, max(begin, end)))

    @cached_property
    def streams(self) -> tuple[str, ...]:
        """The names of its streams, each once."""
        return tuple(self._streams)

    @cached_property
    def _streams(self) -> dict[str, Stream]:
        found: dict[str, Stream] = {}
        for number, name, frames in self._archive.streams:
            # Two of one name are told apart by their numbers.
            name = f"{name} {number}" if name in found else name
            found[name] = Stream(self._archive, number, name, frames, self.duration)
        return found

    def __getitem__(self, name: str) -> Stream:
        """The stream of this name.

        Raises
        ------
        KeyError
            If there is none (says which there are).
        """
        if isinstance(name, slice):
            raise TypeError(f'slice a stream: file["{next(iter(self._streams), "")}"][1.5:3.0]')
        try:
            return self._streams[name]
        except KeyError:
            raise KeyError(f"{self._path} has no stream {name!r}; it has {', '.join(map(repr, self.streams))}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._streams)

    def __len__(self) -> int:
        """How many streams there are."""
        return len(self._streams)

    def __repr__(self) -> str:
        streams = ", ".join(f"{name}: {len(stream)} frames" for name, stream in self._streams.items())
        damage = "" if self.damage is None else f", {self.damage}"
        return f"TokenFile({self._path!r}, {self.duration:.2f} s of {self.bundle_name}, {streams}{damage})"


def _pieces(sound: _native.Sound) -> Iterator[NDArray[np.float32]]:
    while (piece := sound.read()) is not None:
        yield piece


def open(path: str | os.PathLike[str], codec: Codec | None = None) -> TokenFile:  # noqa: A001
    """Opens a token file (``.ptk``). Nothing is decoded; only what is asked for is read.

    Parameters
    ----------
    path
        The file.
    codec
        The model that made it. None: it is looked for among those that are here, when codes are first read.

    Raises
    ------
    OSError
        If the file cannot be read.
    FileError
        If it is no token file. (One that breaks off or is damaged is opened: see `TokenFile.damage`.)
    BundleError
        If `codec` is not the one that made it.
    """
    return TokenFile(path, codec)


def write(
    path: str | os.PathLike[str],
    codes: Any,
    codec: Codec,
    *,
    samples: int | None = None,
    created: datetime | None = None,
    metadata: Mapping[str, str] | None = None,
    plain: bool = False,
) -> None:
    """Writes codes as a token file of one stream, the same bytes as ``parlo encode`` makes of the same sound and created time.

    The file has its name only once it is whole.

    Parameters
    ----------
    path
        The file. A token file that is there is replaced; anything else is left as it is.
    codes
        [K, T] or [1, K, T], any integers, all there (no -1).
    codec
        The model that made them.
    samples
        How many samples the original has at the codec's rate (`Codec.num_samples`), so that decoding gives just as many. None: as
        many as the frames hold, less the codec's delay.
    created
        When the sound was recorded. Without a time zone it counts as local time.
    metadata
        Whatever else to say: keys of up to 255 bytes, and values.
    plain
        Pack codes as they are, though the model knows how probable they are.

    Raises
    ------
    TypeError, ValueError
        If codes, samples or metadata are not possible, or the path's suffix is that of sound or of something else.
    FileExistsError
        If there is a file that is no token file.
    OSError
        If the file cannot be written. What was there is as before.
    """
    given = _arrays.codes(codes, "codes")
    if given.ndim == 3 and given.shape[0] == 1:
        given = given[0]
    if given.ndim != 2 or given.shape[1] == 0:
        raise ValueError(f"codes has shape {list(given.shape)}; [K, T] or [1, K, T] is expected, with a frame at least")
    count = max(0, given.shape[1] * codec.frame_samples - codec.delay_samples)
    length = count if samples is None else _arrays.whole_number(samples, "samples")
    milliseconds = None if created is None else _milliseconds(created)
    listed = [(str(key), str(value)) for key, value in (metadata or {}).items()]
    _native.write(os.fspath(path), given, codec._native, length, milliseconds, listed, plain)


def _milliseconds(created: datetime) -> int:
    if not isinstance(created, datetime):
        raise TypeError(f"created must be a datetime, not {created!r}")
    milliseconds = (created.astimezone(timezone.utc) - _EPOCH) // timedelta(milliseconds=1)
    if milliseconds < 0:
        raise ValueError(f"created is {created}; times from 1970 on are possible")
    return milliseconds
