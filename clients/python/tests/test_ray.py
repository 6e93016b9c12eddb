"""A corpus through Ray: a local cluster of two workers, killed workers, runs that are started again."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import parlo
from parlo import manifests
from speech import codec, wave  # noqa: F401

ray = pytest.importorskip("ray")
soundfile = pytest.importorskip("soundfile")
pytest.importorskip("ray.data")

import parlo.ray  # noqa: E402

CLIPS = 12


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, wave):
    """Pieces of the clip, in two folders."""
    root = tmp_path_factory.mktemp("corpus")
    for clip in range(CLIPS):
        path = root / "ab"[clip % 2] / f"{clip:02}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, wave[clip * 8000 : clip * 8000 + 12000], 24000, subtype="FLOAT")
    return root


@pytest.fixture(scope="module")
def expected(corpus, codec, tmp_path_factory):
    """What there should be: each clip encoded here, without Ray."""
    folder, files = tmp_path_factory.mktemp("expected"), {}
    for path in sorted(corpus.rglob("*.wav")):
        sound, rate = parlo.ray.read_sound(path)
        parlo.write(folder / "x.ptk", codec.encode(sound, rate)[0], codec, samples=codec.num_samples(len(sound), rate))
        files[path.relative_to(corpus).with_suffix("").as_posix()] = (folder / "x.ptk").read_bytes()
    return files


def written(out: Path) -> dict[str, bytes]:
    assert not [left for left in out.rglob(".*") if left.is_file()], "something half-written is left"
    return {path.relative_to(out).with_suffix("").as_posix(): path.read_bytes() for path in out.rglob("*.ptk")}


def test_two_workers_encode_what_one_codec_does(corpus, expected, tmp_path):
    seen = []
    summary = parlo.ray.encode(corpus, tmp_path, concurrency=2, batch=2, progress=lambda *both: seen.append(both))
    assert (summary.encoded, summary.present, summary.failed) == (CLIPS, 0, {})
    assert written(tmp_path) == expected
    assert summary.audio_seconds == pytest.approx(CLIPS / 2) and summary.core_seconds > 0 and summary.work_seconds > 0
    assert seen == [(done, CLIPS) for done in range(1, CLIPS + 1)]
    rows = manifests.read_jsonl(summary.manifest)
    assert [row["id"] for row in rows] == sorted(expected)
    assert all(Path(row["path"]).is_file() and row["source"].endswith(f"{row['id']}.wav") for row in rows)

    # Started again, it has nothing to do; with a file gone and one cut short, those.
    (tmp_path / "a" / "00.ptk").unlink()
    (tmp_path / "b" / "01.ptk").write_bytes(expected["b/01"][:-9])
    again = parlo.ray.encode(corpus, tmp_path, concurrency=2)
    assert (again.encoded, again.present, again.failed) == (2, CLIPS - 2, {})
    assert written(tmp_path) == expected
    assert manifests.read_jsonl(again.manifest) == rows


def reader(folder: Path, victim: str, deadly: bool):
    """Reads sound, but with `victim` waits for the test to kill its process: the first time, or each time."""

    def read(path: Path):
        if path.name == victim:
            tries = len(list(folder.iterdir()))
            if deadly or tries == 0:
                with (folder / f".{tries}").open("w") as file:
                    file.write(str(os.getpid()))
                (folder / f".{tries}").rename(folder / str(tries))
                while True:
                    time.sleep(60)
        return parlo.ray.read_sound(path)

    return read


class Killer(threading.Thread):
    """Kills each process that tells its number in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.killed, self.over = folder, [], threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.05):
            for told in self.folder.glob("[0-9]*"):
                if told.name not in self.killed:
                    os.kill(int(told.read_text()), signal.SIGKILL)
                    self.killed.append(told.name)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *raised) -> None:
        self.over.set()
        self.join()


def test_a_killed_worker_loses_nothing(corpus, expected, tmp_path):
    (tmp_path / "pids").mkdir()
    with Killer(tmp_path / "pids") as killer:
        summary = parlo.ray.encode(
            corpus, tmp_path / "out", concurrency=2, batch=3, read=reader(tmp_path / "pids", "05.wav", deadly=False)
        )
    assert killer.killed == ["0"]
    assert (summary.encoded + summary.present, summary.failed) == (CLIPS, {})
    assert written(tmp_path / "out") == expected
    assert len(manifests.read_jsonl(summary.manifest)) == CLIPS


def test_a_recording_that_kills_every_worker_is_left_out(corpus, expected, tmp_path):
    (tmp_path / "pids").mkdir()
    with Killer(tmp_path / "pids") as killer:
        summary = parlo.ray.encode(
            corpus, tmp_path / "out", concurrency=2, batch=3, read=reader(tmp_path / "pids", "05.wav", deadly=True)
        )
    assert len(killer.killed) > parlo.ray.RETRIES
    assert list(summary.failed) == ["b/05"] and "worker died" in summary.failed["b/05"]
    assert written(tmp_path / "out") == {id: content for id, content in expected.items() if id != "b/05"}


def test_bad_recordings_are_told_and_the_others_encoded(corpus, expected, tmp_path, wave):
    root = tmp_path / "corpus"
    root.mkdir()
    (root / "text.wav").write_text("no sound at all")
    soundfile.write(root / "empty.wav", np.zeros(0, np.float32), 16000)
    soundfile.write(root / "nan.wav", np.array([0.0, np.nan] * 800, np.float32), 16000, subtype="FLOAT")
    soundfile.write(root / "two.flac", np.stack([wave[:12000]] * 2, axis=1), 24000)
    summary = parlo.ray.encode(root, tmp_path / "out", concurrency=1)
    # What is no number becomes silence, as for `parlo encode`.
    assert summary.encoded == 2 and sorted(summary.failed) == ["empty", "text"]
    assert all(f"{id}.wav" in reason for id, reason in summary.failed.items())
    told = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()]
    assert [one["id"] for one in told] == ["empty", "text"]
    assert sorted(written(tmp_path / "out")) == ["nan", "two"]


def test_files_of_another_depth_are_not_taken_for_ones_own(corpus, tmp_path):
    paths = sorted(corpus.rglob("*.wav"))[:2]
    assert parlo.ray.encode(paths, tmp_path, depth=3, concurrency=1).encoded == 2
    summary = parlo.ray.encode(paths, tmp_path, depth=4, concurrency=1)
    assert summary.encoded == 0 and all("at depth 3" in reason for reason in summary.failed.values())


def test_a_dataset_names_recordings_too(corpus, expected, tmp_path):
    rows = [{"id": f"x/{place}", "path": str(corpus / "a" / f"{place}.wav"), "more": 1} for place in ("00", "02")]
    summary = parlo.ray.encode(ray.data.from_items(rows), tmp_path, concurrency=1)
    assert summary.encoded == 2
    assert written(tmp_path) == {"x/00": expected["a/00"], "x/02": expected["a/02"]}


def test_what_cannot_work_is_refused_at_once(corpus, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is no folder"):
        parlo.ray.encode(tmp_path / "nowhere", tmp_path)
    with pytest.raises(parlo.BundleError, match="nowhere"):
        parlo.ray.encode(corpus, tmp_path, codec=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="depth 99 is not possible"):
        parlo.ray.encode(corpus, tmp_path, depth=99)
    with pytest.raises(ValueError, match="nothing to encode"):
        parlo.ray.encode(tmp_path, tmp_path)
    twins = [tmp_path / "a.wav", tmp_path / "a.flac"]
    with pytest.raises(ValueError, match="would both be a.ptk"):
        parlo.ray.encode(twins, tmp_path)
    with pytest.raises(ValueError, match="cannot be an id"):
        parlo.ray.encode(ray.data.from_items([{"id": "../x", "path": "x.wav"}]), tmp_path)
