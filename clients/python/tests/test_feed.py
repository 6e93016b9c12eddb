"""Live feeds: against a WebSocket server that plays the daemon."""

import asyncio
import gc
import json
import random
from contextlib import asynccontextmanager

import numpy as np
import pytest

import parlo
from parlo.feed import Feed, Frame, _State

pytest.importorskip("websockets")
from websockets.asyncio.server import serve, unix_serve  # noqa: E402

START = {
    "type": "start",
    "call": 4,
    "peer": "ada",
    "bundle": "5a" * 32,
    "bundle_name": "small",
    "sample_rate": 16000,
    "frame_samples": 320,
    "sizes": [1024] * 12,
    "created_ms": 1795000000000,
}
END = {"type": "end"}
LONG = 60


def frame(number, stream="heard", mark="real", codes=(1, 2, 3)):
    return {"type": "frame", "stream": stream, "number": number, "time_ms": 20 * (number or 0), "mark": mark, "codes": list(codes)}


def run(work):
    """Runs it, but not forever."""
    return asyncio.run(asyncio.wait_for(work, LONG))


class Daemon:
    """One that is played. `play` gets each connection."""

    def __init__(self, play, calls=(4,), token=None):
        self.play, self.token, self.asked = play, token, []
        self.calls = [{"id": number, "state": "active"} for number in calls] + [{"id": 1, "state": "ended"}]
        self.refusal = None

    def _answer(self, connection, request):
        self.asked.append(request.path)
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return connection.respond(401, json.dumps({"error": "this needs the daemon's token"}))
        if request.path == "/api/v1/calls":
            return connection.respond(200, json.dumps(self.calls))
        if self.refusal is not None:
            return connection.respond(409, json.dumps({"error": self.refusal}))
        return None

    @asynccontextmanager
    async def at(self, path):
        async with unix_serve(self.play, str(path), process_request=self._answer, compression=None):
            yield self

    @asynccontextmanager
    async def over_tcp(self):
        async with serve(self.play, "127.0.0.1", 0, process_request=self._answer, compression=None) as server:
            yield server.sockets[0].getsockname()[1]


def plays(*messages):
    async def play(connection):
        for message in messages:
            await connection.send(message if isinstance(message, str) else json.dumps(message))
        # The daemon closes once the call is over.
        await connection.close()

    return play


def everything(path, *messages, **options):
    """All frames that a daemon with these messages leads to, and the feed."""

    async def work():
        async with Daemon(plays(*messages)).at(path) as daemon:
            async with parlo.feed(socket=path, **options) as feed:
                return [item async for item in feed], feed, daemon

    return run(work())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "control.sock"


def test_frames_come_as_they_were(path):
    messages = [START, frame(811, "said", "unsent"), frame(None, mark="held", codes=()), frame(812, codes=(7, 1023)), END]
    frames, feed, daemon = everything(path, *messages, side="both")
    assert daemon.asked == ["/api/v1/calls", "/api/v1/calls/4/feed?side=both"]
    assert [(item.stream, item.number, item.mark, item.missed) for item in frames] == [
        ("said", 811, parlo.Mark.UNSENT, 0),
        ("heard", None, parlo.Mark.HELD, 0),
        ("heard", 812, parlo.Mark.REAL, 0),
    ]
    assert frames[2].time == 16.24 and isinstance(frames[2], parlo.Frame)
    assert all(item.codes.dtype == np.int64 for item in frames)
    assert [item.codes.tolist() for item in frames] == [[1, 2, 3], [], [7, 1023]]
    assert (feed.start.call, feed.start.peer, feed.start.created) == (4, "ada", 1795000000.0)
    assert (feed.start.sampling_rate, feed.start.frame_samples, feed.start.codebook_sizes) == (16000, 320, (1024,) * 12)
    assert feed.missed == 0


def test_every_mark_of_the_daemon_is_known(path):
    marks = ["real", "unsent", "coarse", "predicted", "faded", "silent", "held"]
    frames, _, _ = everything(path, START, *[frame(n, mark=mark) for n, mark in enumerate(marks)], END, call=4)
    assert [item.mark.name.lower() for item in frames] == marks


def test_a_call_that_is_named_is_not_looked_for_and_what_is_new_is_skipped(path):
    frames, _, daemon = everything(path, START, {"type": "weather"}, {**frame(1), "colour": "red"}, END, call=9)
    assert daemon.asked == ["/api/v1/calls/9/feed?side=heard"] and [item.number for item in frames] == [1]


def test_what_the_daemon_dropped_is_counted_where_it_is_missing(path):
    told = []
    messages = [START, frame(0), {"type": "missed", "frames": 37}, frame(38), frame(39), {"type": "missed", "frames": 2}, END]
    frames, feed, _ = everything(path, *messages, on_missed=told.append)
    assert [(item.number, item.missed) for item in frames] == [(0, 0), (38, 37), (39, 0)]
    assert (feed.missed, told) == (39, [37, 2])


def test_who_is_slow_has_the_newest_and_is_told_what_is_missing(path):
    total, room = 1000, 16

    async def work():
        told = []
        async with Daemon(plays(START, *map(frame, range(total)), END)).at(path):
            async with parlo.feed(4, socket=path, buffer=room, on_missed=told.append) as feed:
                # All has come, and nothing was read.
                await asyncio.gather(feed._reading)
                return [(item.number, item.missed) async for item in feed], feed.missed, sum(told)

    frames, missed, told = run(work())
    assert frames == [(total - room, total - room), *((n, 0) for n in range(total - room + 1, total))]
    assert missed == told == total - room


def test_whatever_happens_every_frame_is_there_or_counted_before_the_next():
    rng = random.Random(7)
    for _ in range(200):
        state = _State(rng.randint(1, 6), None)
        sent = expected = 0
        for _ in range(rng.randint(0, 80)):
            step = rng.random()
            if step < 0.5:
                state.put(frame(sent))
                sent += 1
            elif step < 0.6:
                gap = rng.randint(1, 5)
                state.put({"type": "missed", "frames": gap})
                sent += gap
            elif state.frames:
                taken = state.take()
                assert taken.number == expected + taken.missed
                expected = taken.number + 1
            assert len(state.frames) <= state.room
        while state.frames:
            taken = state.take()
            assert taken.number == expected + taken.missed
            expected = taken.number + 1
        # What was dropped after the last frame is only in the sum.
        assert expected + state.after == sent


def test_over_tcp_the_token_opens_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

    async def work():
        daemon = Daemon(plays(START, frame(1), END), token="secret")
        async with daemon.over_tcp() as port:
            url = f"http://127.0.0.1:{port}"
            given = [item.number async for item in parlo.feed(url=url, token="secret")]
            with pytest.raises(parlo.ParloError, match="token"):
                await anext(parlo.feed(4, url=url, token="open"))
            with pytest.raises(parlo.ParloError, match="token"):
                await anext(parlo.feed(url=url, token="open"))
            with pytest.raises(parlo.ParloError, match="cannot read the daemon's token"):
                await anext(parlo.feed(4, url=url))
            (tmp_path / "parlo").mkdir()
            (tmp_path / "parlo" / "token").write_text("secret\n")
            return given, [item.number async for item in parlo.feed(url=url)]

    assert run(work()) == ([1], [1])


def test_without_a_daemon_it_says_what_to_do(path, monkeypatch):
    for feed in (parlo.feed(socket=path), parlo.feed(4, socket=path), parlo.feed(4, url="http://127.0.0.1:9", token="x")):
        with pytest.raises(parlo.ParloError, match="parlo daemon start"):
            run(anext(feed))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path.parent))
    with pytest.raises(parlo.ParloError, match=f"{path.parent}/parlo/control.sock"):
        run(anext(parlo.feed(4)))


def test_without_the_one_call_it_says_so(path):
    async def work(calls):
        async with Daemon(plays(START, END), calls).at(path):
            await anext(parlo.feed(socket=path))

    with pytest.raises(parlo.ParloError, match="there is no call; `parlo calls`"):
        run(work(()))
    with pytest.raises(parlo.ParloError, match=r"several calls could be meant \(2, 3\)"):
        run(work((2, 3)))


def test_a_refusal_has_the_daemons_own_words(path):
    async def work():
        daemon = Daemon(plays())
        daemon.refusal = "call 4 is in Opus: it has no tokens to feed"
        async with daemon.at(path):
            await anext(parlo.feed(4, socket=path))

    with pytest.raises(parlo.ParloError, match="in Opus"):
        run(work())


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ((START, frame(1)), "the daemon has ended"),
        ((START, frame(1), "not JSON"), "does not understand"),
        ((START, frame(1), {"type": "start"}), "does not understand"),
        ((START, frame(1), "[]"), "does not understand"),
        ((START, frame(1), frame(2, mark="odd")), "does not understand"),
        ((START, frame(1), {"type": "frame"}), "does not understand"),
    ],
)
def test_an_end_that_is_none_is_an_error_after_what_came(path, messages, said):
    async def work():
        async with Daemon(plays(*messages)).at(path):
            feed = parlo.feed(4, socket=path)
            assert (await anext(feed)).number == 1
            with pytest.raises(parlo.ParloError, match=said):
                await anext(feed)

    run(work())


def test_a_callback_that_fails_is_told(path):
    def fail(_):
        raise RuntimeError("too many")

    with pytest.raises(parlo.ParloError, match="too many"):
        everything(path, START, {"type": "missed", "frames": 1}, frame(1), END, on_missed=fail)


def test_a_feed_that_is_left_or_forgotten_is_closed(path):
    async def work():
        gone = asyncio.Semaphore(0)

        async def play(connection):
            await connection.send(json.dumps(START))
            await connection.send(json.dumps(frame(1)))
            await connection.wait_closed()
            gone.release()

        async with Daemon(play).at(path):
            async with parlo.feed(4, socket=path) as feed:
                assert (await anext(feed)).number == 1
            await gone.acquire()
            with pytest.raises(StopAsyncIteration):
                await anext(feed)
            forgotten = parlo.feed(4, socket=path)
            assert (await anext(forgotten)).number == 1
            del forgotten
            gc.collect()
            await gone.acquire()

    run(work())


def test_arguments_that_cannot_be_are_refused(path):
    for options in ({"side": "left"}, {"buffer": 0}, {"call": -1}, {"call": "ada"}, {"socket": path, "url": "http://127.0.0.1:1"}):
        with pytest.raises(ValueError, match="."):
            parlo.feed(**options)
    for url in ("127.0.0.1", "https://127.0.0.1:7276", "http://", ""):
        with pytest.raises(ValueError, match="url is"):
            parlo.feed(url=url)


def test_the_function_is_there_whoever_imported_the_module():
    import importlib

    module = importlib.import_module("parlo.feed")
    assert isinstance(parlo.feed(4), Feed) and isinstance(module(4), Feed) and module.Frame is Frame
