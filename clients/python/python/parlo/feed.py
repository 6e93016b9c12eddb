"""Live tokens of a call, from the daemon that has it.

>>> async def listen():
...     async with parlo.feed() as frames:           # the only call, what is heard  # doctest: +SKIP
...         async for frame in frames:
...             print(frame.number, frame.time, frame.mark.name, frame.codes)

The daemon sends each frame as it is heard or said, over its Unix socket or over loopback TCP (``docs/control.md``, "Live tokens").
Nobody waits for this program: if it is too slow, the oldest frames are dropped, and it is told how many.
"""

import asyncio
import http.client
import json
import os
import socket as sockets
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from parlo._native import ParloError
from parlo.files import Mark

SIDES = ("heard", "said", "both")

# Longest wait for the daemon to answer, seconds.
_PATIENCE = 30


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """A frame that was heard or said.

    Attributes
    ----------
    stream
        "heard" or "said".
    number
        Its number, the sender's. None if play-out held: what was due may still come. Numbers that are left out although nothing was
        missed were never there: the call was held.
    time
        When it begins, seconds since the call's beginning. A recording of the call counts by the same clock, from its own beginning.
    mark
        What it was made of. Of what is said, `Mark.REAL` or `Mark.UNSENT`.
    codes
        int64 [k], coarsest first, as many as came: k is 0 for a frame without any.
    missed
        How many frames were dropped right before this one, because this program did not take them.
    """

    stream: str
    number: int | None
    time: float
    mark: Mark
    codes: NDArray[np.int64]
    missed: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    """What there is to know of a feed's codes.

    Attributes
    ----------
    call
        Number of the call.
    peer
        Who is there: a contact's name, else an address.
    bundle, bundle_name
        The bundle that the call is made with: its identity, 64 digits of hexadecimal, and its name.
    sampling_rate, frame_samples
        Samples per second, and of a frame.
    codebook_sizes
        Codes that each codebook has, coarsest first. Frames may have codes of fewer books.
    created
        When the call began, seconds since 1970-01-01 UTC: add a frame's `time` for its own.
    tokens
        Which tokens the codes are, 64 digits of hexadecimal: see `Codec.tokens_id`.
    """

    call: int
    peer: str
    bundle: str
    bundle_name: str
    sampling_rate: int
    frame_samples: int
    codebook_sizes: tuple[int, ...]
    created: float
    tokens: str = ""


def feed(
    call: int | None = None,
    side: str = "heard",
    *,
    socket: str | os.PathLike[str] | None = None,
    url: str | None = None,
    token: str | None = None,
    buffer: int = 256,
    on_missed: Callable[[int], None] | None = None,
) -> "Feed":
    """Live tokens of a call, from now on; of one that is not answered yet, from its beginning.

    Parameters
    ----------
    call
        Its number, as ``parlo calls`` shows it. None: the only call that there is.
    side
        "heard" (what comes from the peer), "said" (what is said here) or "both".
    socket
        The daemon's Unix socket. None: the usual place, ``$XDG_RUNTIME_DIR/parlo/control.sock``.
    url
        Instead of the socket, the daemon's address on this machine, such as ``http://127.0.0.1:7276``.
    token
        What opens that address. None: what stands in the file ``token`` beside the usual socket.
    buffer
        Frames that are kept while this program is busy; then the oldest go.
    on_missed
        Called with the number of frames that were dropped, each time that some were.

    Returns
    -------
    Feed
        To be read with ``async for``. It connects when it is first read, or entered with ``async with``.

    Raises
    ------
    ValueError
        An argument that cannot be.

    Reading raises `ParloError` if no daemon runs, there is no such call, or the daemon ends before the call does; and `ImportError`
    without the package ``websockets``.
    """
    return Feed(call, side, socket=socket, url=url, token=token, buffer=buffer, on_missed=on_missed)


class Feed:
    """Frames of a call as they come. See `feed`."""

    def __init__(
        self,
        call: int | None,
        side: str,
        *,
        socket: str | os.PathLike[str] | None,
        url: str | None,
        token: str | None,
        buffer: int,
        on_missed: Callable[[int], None] | None,
    ) -> None:
        if side not in SIDES:
            raise ValueError(f'side is {side!r}; say "heard", "said" or "both"')
        if buffer < 1:
            raise ValueError(f"buffer is {buffer}; at least one frame must have room")
        if socket is not None and url is not None:
            raise ValueError("say a socket or a url, not both")
        if call is not None and (isinstance(call, bool) or not isinstance(call, int) or call < 0):
            raise ValueError(f"call is {call!r}; calls have numbers, as `parlo calls` shows them")
        self._call, self._side = call, side
        self._place = _Place.of(socket, url, token)
        self._state = _State(buffer, on_missed)
        self._reading: asyncio.Task[None] | None = None

    @property
    def start(self) -> Start | None:
        """What the codes are; None before the call has begun."""
        return self._state.start

    @property
    def missed(self) -> int:
        """Frames that were dropped so far because this program did not take them, by the daemon or here."""
        return self._state.missed

    async def open(self) -> Self:
        """Connects, if that is not done yet. Raises as reading does."""
        if self._reading is None:
            call = self._call if self._call is not None else await asyncio.to_thread(self._place.only_call)
            connection = await self._place.connect(f"/api/v1/calls/{call}/feed?side={self._side}")
            # It knows the state, not this object, so that whoever just drops the feed ends it too.
            self._reading = asyncio.create_task(_read(connection, self._state))
        return self

    async def close(self) -> None:
        """Ends the feed. What was not read is gone."""
        self._state.frames.clear()
        self._state.over = True
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Frame:
        state = self._state
        if not (state.frames or state.over):
            await self.open()
        while not state.frames:
            if state.failure is not None:
                raise ParloError(state.failure)
            if state.over:
                raise StopAsyncIteration
            state.news.clear()
            await state.news.wait()
        return state.take()

    def __del__(self) -> None:
        reading = getattr(self, "_reading", None)
        if reading is not None and not reading.done() and not reading.get_loop().is_closed():
            reading.get_loop().call_soon_threadsafe(reading.cancel)


class _State:
    """What has come and was not read."""

    def __init__(self, room: int, on_missed: Callable[[int], None] | None) -> None:
        self.room, self.on_missed = room, on_missed
        self.frames: deque[Frame] = deque()
        self.news = asyncio.Event()
        self.start: Start | None = None
        self.missed = 0
        self.over = False
        self.failure: str | None = None
        # Frames that are missing before the oldest one here, and after the newest.
        self.before = self.after = 0

    def put(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind == "frame":
            frame = Frame(
                stream=message["stream"],
                number=message["number"],
                time=message["time_ms"] / 1000,
                mark=Mark[message["mark"].upper()],
                codes=np.array(message["codes"], dtype=np.int64),
                missed=self.after,
            )
            self.after = 0
            if len(self.frames) >= self.room:
                self.before += self.frames.popleft().missed + 1
                self.count(1)
            self.frames.append(frame)
        elif kind == "missed":
            self.after += message["frames"]
            self.count(message["frames"])
        elif kind == "start":
            self.start = Start(
                call=message["call"],
                peer=message["peer"],
                bundle=message["bundle"],
                bundle_name=message["bundle_name"],
                sampling_rate=message["sample_rate"],
                frame_samples=message["frame_samples"],
                codebook_sizes=tuple(message["sizes"]),
                created=message["created_ms"] / 1000,
                # A daemon of the first version has one name for both.
                tokens=message.get("tokens", message["bundle"]),
            )
        elif kind == "end":
            self.over = True
        # Others are a later daemon's.
        self.news.set()

    def count(self, frames: int) -> None:
        self.missed += frames
        if self.on_missed is not None:
            try:
                self.on_missed(frames)
            except Exception as error:
                raise _CallbackFailed(f"on_missed failed: {error!r}") from error

    def take(self) -> Frame:
        frame = self.frames.popleft()
        missed, self.before = self.before + frame.missed, 0
        return replace(frame, missed=missed)


class _CallbackFailed(Exception):
    """What the caller gave us went wrong, not the feed."""


async def _read(connection: Any, state: _State) -> None:
    """Takes what comes as fast as it comes, so that what is kept is the newest."""
    from websockets.exceptions import ConnectionClosed

    try:
        async for text in connection:
            state.put(json.loads(text))
            if state.over:
                return
        state.failure = "the daemon has ended, and the call with it"
    except ConnectionClosed as error:
        state.failure = f"the connection to the daemon broke: {error}"
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        state.failure = f"the daemon says what this version of parlo does not understand ({error!r}); install both of one version"
    except _CallbackFailed as error:
        state.failure = str(error)
    finally:
        state.over = True
        state.news.set()
        await connection.close()


@dataclass(frozen=True)
class _Place:
    """Where the daemon is."""

    socket: str | None
    host: str
    port: int
    token: str | None

    @classmethod
    def of(cls, socket: str | os.PathLike[str] | None, url: str | None, token: str | None) -> "_Place":
        if url is None:
            return cls(os.fspath(socket) if socket is not None else str(_folder() / "control.sock"), "localhost", 0, None)
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "ws") or not parts.hostname or not parts.port:
            raise ValueError(f"url is {url!r}; say http://127.0.0.1:PORT, as [control] tcp has it")
        return cls(None, parts.hostname, parts.port, token)

    def __str__(self) -> str:
        return self.socket or f"{self._host()}:{self.port}"

    def _host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def _headers(self) -> dict[str, str]:
        if self.socket is not None:
            return {}
        token = self.token
        if token is None:
            file = _folder() / "token"
            try:
                token = file.read_text()
            except OSError as error:
                raise ParloError(f"cannot read the daemon's token {file}: {error.strerror}; give the token, or use its socket") from None
        return {"Authorization": f"Bearer {token.strip()}"}

    def _not_there(self, error: Exception) -> ParloError:
        if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
            return ParloError(f"no daemon runs (nobody answers at {self}); start one with `parlo daemon start`")
        return ParloError(f"cannot reach the daemon at {self}: {error}; is it another user's?")

    def only_call(self) -> int:
        """The number of the only call that is not over."""
        connection = _Unix(self.socket) if self.socket is not None else http.client.HTTPConnection(self.host, self.port, _PATIENCE)
        try:
            connection.request("GET", "/api/v1/calls", headers=self._headers())
            answer = connection.getresponse()
            calls = json.loads(answer.read())
        except (OSError, http.client.HTTPException) as error:
            raise self._not_there(error) from None
        except ValueError as error:
            raise ParloError(f"what answers at {self} is no parlod: {error}") from None
        finally:
            connection.close()
        if answer.status != 200:
            raise ParloError(calls["error"])
        numbers = [call["id"] for call in calls if call["state"] != "ended"]
        if len(numbers) != 1:
            which = f"several calls could be meant ({', '.join(map(str, numbers))}); say which" if numbers else "there is no call"
            raise ParloError(f"{which}; `parlo calls` shows what there is")
        return int(numbers[0])

    async def connect(self, path: str) -> Any:
        """A WebSocket."""
        try:
            from websockets.asyncio.client import connect, unix_connect
            from websockets.exceptions import InvalidHandshake, InvalidStatus
        except ImportError:
            raise ImportError("live feeds need the package websockets: pip install 'websockets>=15'") from None
        # The daemon asks whether we are here, and closes if we are not: nothing to be asked from this side.
        options: dict[str, Any] = {
            "additional_headers": self._headers(),
            "compression": None,
            "ping_interval": None,
            "open_timeout": _PATIENCE,
            "close_timeout": 1,
        }
        try:
            if self.socket is not None:
                return await unix_connect(self.socket, f"ws://localhost{path}", **options)
            return await connect(f"ws://{self._host()}:{self.port}{path}", proxy=None, **options)
        except InvalidStatus as error:
            raise ParloError(_reason(error.response)) from None
        except (OSError, TimeoutError) as error:
            raise self._not_there(error) from None
        except InvalidHandshake as error:
            raise ParloError(f"what answers at {self} is no parlod: {error}") from None


def _reason(response: Any) -> str:
    try:
        return str(json.loads(response.body)["error"])
    except (KeyError, TypeError, ValueError):
        return f"the daemon does not know feeds (status {response.status_code}); install parlo and parlod of one version"


class _Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _folder() -> Path:
    """Where the socket and the token are, unless the configuration says otherwise."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return Path(runtime) / "parlo" if os.path.isabs(runtime) else Path(f"/tmp/parlo-{os.geteuid()}")


class _CallableModule(ModuleType):
    """`parlo.feed` is the function, but importing this module puts the module in that place: then it does what the function does."""

    def __call__(self, *arguments: Any, **options: Any) -> Feed:
        return feed(*arguments, **options)


sys.modules[__name__].__class__ = _CallableModule
