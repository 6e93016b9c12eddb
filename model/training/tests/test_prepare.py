"""Caches: what goes in, what is left out, what is refused, and the labels."""

from __future__ import annotations

import errno
import json

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")
pytest.importorskip("tqdm")
pytest.importorskip("pyworld")

from parlo_training import prepare
from parlo_training.errors import UserError
from support import options, pulse_train

RATE = 16000


def write(path, audio=None, rate=RATE, **more):
    """A recording (a second of a voice if none is given) at `path`, whose folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, pulse_train(120, 1.0, rate) if audio is None else audio, rate, **more)
    return path


def run(cache, *folders, **more):
    words = [word for name, value in more.items() for word in (f"--{name}", value)]
    return prepare.run(options(prepare, *folders, "--cache", cache, "--jobs", 1, *words))


def index_of(cache):
    return json.loads((cache / "index.json").read_text())


def test_a_cache_adds_up(tmp_path, capfd):
    write(tmp_path / "in/ann/1.wav")
    write(tmp_path / "in/ann/2.flac", pulse_train(200, 0.5, 24000), 24000)
    stereo = np.stack([pulse_train(100, 0.4, RATE)] * 2, 1)
    write(tmp_path / "in/bob/1.ogg", stereo, format="OGG")
    assert run(tmp_path / "cache", tmp_path / "in") == 0
    index = index_of(tmp_path / "cache")
    assert (index["format"], index["rate"], index["left_out"]) == (2, RATE, 0)
    assert [clip["speaker"] for clip in index["clips"]] == ["ann", "ann", "bob"]
    lengths = [clip["samples"] for clip in index["clips"]]
    assert lengths == [RATE, RATE // 2, RATE * 4 // 10]
    assert [clip["start"] for clip in index["clips"]] == [0, RATE, RATE + RATE // 2]
    sizes = {name: (tmp_path / "cache" / name).stat().st_size
             for name in ("audio.i16", "pitch.f16", "pulse.u16", "active.u8")}
    seconds = sum(lengths) / RATE
    assert index["samples"] == sum(lengths)
    assert sizes == {"audio.i16": 2 * sum(lengths), "pitch.f16": round(400 * seconds),
                     "pulse.u16": round(400 * seconds), "active.u8": round(100 * seconds)}
    said = capfd.readouterr()
    assert "3 clips, 0.00 hours, 2 speakers" in said.out and "only one" not in said.err


def test_one_speaker_is_warned_of(tmp_path, capfd):
    write(tmp_path / "in/1.wav")
    run(tmp_path / "cache", tmp_path / "in")
    assert "only one speaker" in capfd.readouterr().err


def test_what_cannot_be_used_is_left_out_and_named(tmp_path, capfd):
    folder = tmp_path / "in"
    write(folder / "good.wav")
    (folder / "broken.wav").write_bytes(b"RIFF, or so it says")
    (folder / "empty.mp3").touch()
    write(folder / "silent.wav", np.zeros(RATE))
    write(folder / "short.wav", pulse_train(120, 0.2, RATE))
    write(folder / "nothing.wav", np.zeros(0))
    not_numbers = pulse_train(120, 1.0, RATE)
    not_numbers[100] = np.nan
    write(folder / "nan.wav", not_numbers, subtype="FLOAT")
    (folder / "notes.txt").write_text("not audio, and not looked at")
    (folder / "folder.wav").mkdir()
    run(tmp_path / "cache", folder)
    said = capfd.readouterr().err
    for name, why in (("broken.wav", "unreadable"), ("empty.mp3", "unreadable"),
                      ("silent.wav", "silent"), ("short.wav", "shorter than 0.3 s"),
                      ("nothing.wav", "shorter"),
                      ("nan.wav", "holds samples that are not numbers")):
        assert f"{name}: {why}" in said
    assert "notes.txt" not in said and "folder.wav" not in said
    index = index_of(tmp_path / "cache")
    assert [clip["path"] for clip in index["clips"]] == ["good.wav"] and index["left_out"] == 6


def test_files_of_other_formats_need_ffmpeg(tmp_path, monkeypatch):
    (tmp_path / "voice.m4a").write_bytes(b"no audio")
    monkeypatch.setattr(prepare.shutil, "which", lambda _: None)
    why = prepare.prepare_clip((tmp_path / "voice.m4a", "x", RATE))
    assert why == "unreadable: .m4a files need the program ffmpeg"
    # one that fails without a word
    monkeypatch.setattr(prepare.shutil, "which", lambda _: "ffmpeg")
    silent = prepare.subprocess.CompletedProcess([], 3, b"", b"")
    monkeypatch.setattr(prepare.subprocess, "run", lambda *_, **__: silent)
    why = prepare.prepare_clip((tmp_path / "voice.m4a", "x", RATE))
    assert why == "unreadable: ffmpeg ended with 3"


def test_what_is_louder_than_full_scale_is_brought_down(tmp_path):
    write(tmp_path / "loud.wav", 10 * pulse_train(120, 1.0, RATE), subtype="FLOAT")
    clip = prepare.prepare_clip((tmp_path / "loud.wav", "x", RATE))
    assert np.abs(clip.audio).max() == 32767


def test_folders_without_speech_are_refused(tmp_path):
    with pytest.raises(UserError, match=f"there is no folder {tmp_path}/no"):
        run(tmp_path / "cache", tmp_path / "no")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/readme.txt").touch()
    with pytest.raises(UserError, match=f"no audio in {tmp_path}/in"):
        run(tmp_path / "cache", tmp_path / "in")
    write(tmp_path / "in/silent.wav", np.zeros(RATE))
    with pytest.raises(UserError, match="none of the 1 audio files could be used .*: silent"):
        run(tmp_path / "cache", tmp_path / "in")
    assert not (tmp_path / "cache/index.json").exists()


def test_speech_that_is_held_out_is_refused(tmp_path):
    held = write(tmp_path / "speech/heldout/set/ann/1.wav")
    write(tmp_path / "speech/train/set/bob/1.wav")
    for folder in ("heldout", "heldout/set/ann"):
        with pytest.raises(UserError, match="is held out for measuring"):
            prepare.find([tmp_path / "speech" / folder])
    with pytest.raises(UserError, match="contains heldout, which is held out"):
        prepare.find([tmp_path / "speech"])
    assert len(prepare.find([tmp_path / "speech/train"])) == 1
    # the same voice in both
    write(tmp_path / "speech/train/set/ann/2.wav")
    with pytest.raises(UserError, match="ann in .* is also in"):
        prepare.find([tmp_path / "speech/train"])
    (tmp_path / "speech/train/set/ann/2.wav").unlink()
    (tmp_path / "speech/train/set/bob/2.wav").symlink_to(held)
    with pytest.raises(UserError, match="2.wav is a link to a recording that is held out"):
        prepare.find([tmp_path / "speech/train"])


def test_a_finished_cache_is_left_alone(tmp_path):
    write(tmp_path / "in/1.wav")
    run(tmp_path / "cache", tmp_path / "in")
    before = {path.name: path.read_bytes() for path in (tmp_path / "cache").iterdir()}
    write(tmp_path / "in/2.wav")
    with pytest.raises(UserError, match="is a finished cache already"):
        run(tmp_path / "cache", tmp_path / "in")
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "cache").iterdir()}


@pytest.mark.parametrize("rate", [0, -16000, 22050, 4000, 96000])
def test_rates_that_a_model_cannot_have_are_refused_at_once(rate, tmp_path):
    with pytest.raises(UserError, match="must be a multiple of 400 from 8000 to 48000"):
        run(tmp_path / "cache", tmp_path, rate=rate)


class Full:
    """A file on a disk that is full after a kilobyte."""

    def __init__(self, file):
        self.file, self.left = file, 1024

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        self.left -= len(data)
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.file.write(data)


def test_a_full_disk_is_said_and_leaves_no_finished_cache(tmp_path, monkeypatch):
    for number in range(30):
        write(tmp_path / f"in/{number}.wav", pulse_train(120, 0.4, RATE))
    monkeypatch.setattr(prepare, "open", lambda *args: Full(open(*args)), raising=False)
    with pytest.raises(UserError, match="the disk that holds .* is full: make room"):
        run(tmp_path / "cache", tmp_path / "in")
    assert not (tmp_path / "cache/index.json").exists()
    # ... and the same command works when there is room
    monkeypatch.undo()
    run(tmp_path / "cache", tmp_path / "in")
    assert len(index_of(tmp_path / "cache")["clips"]) == 30


def test_a_cache_that_cannot_be_written_is_said(tmp_path):
    write(tmp_path / "in/1.wav")
    (tmp_path / "cache").touch()
    with pytest.raises(UserError, match="cannot write the cache"):
        run(tmp_path / "cache", tmp_path / "in")


def test_noise_and_rooms_are_kept_beside_the_speech(tmp_path):
    pytest.importorskip("torch")
    write(tmp_path / "in/1.wav")
    write(tmp_path / "noise/hum.wav", np.full(RATE, 0.5))
    click = np.zeros(RATE)
    click[100] = 0.9
    write(tmp_path / "rooms/hall.wav", click)
    run(tmp_path / "cache", tmp_path / "in", noise=tmp_path / "noise", rooms=tmp_path / "rooms")
    noise = np.fromfile(tmp_path / "cache/noise.i16", np.int16)
    assert len(noise) == RATE and abs(noise.mean() / 32768 - 0.5) < 1e-3
    rooms = np.load(tmp_path / "cache/rooms.npy")
    assert rooms.shape == (1, RATE * 4 // 10) and rooms[0].argmax() == 0
    # a later try without them, in a folder that was left unfinished
    (tmp_path / "cache/index.json").unlink()
    run(tmp_path / "cache", tmp_path / "in")
    assert not list((tmp_path / "cache").glob("noise*")) + list((tmp_path / "cache").glob("rooms*"))


def test_a_folder_of_noise_that_is_not_there_is_said_before_the_work(tmp_path, monkeypatch):
    write(tmp_path / "in/1.wav")
    monkeypatch.setattr(prepare, "_write", lambda *_: pytest.fail("decoded first"))
    with pytest.raises(UserError, match="there is no folder .*hum"):
        run(tmp_path / "cache", tmp_path / "in", noise=tmp_path / "hum")


# Labels.


@pytest.mark.parametrize("hertz", [80, 120, 233, 400])
@pytest.mark.parametrize("rate", [16000, 24000])
def test_the_pitch_of_a_pulse_train_is_found(hertz, rate):
    pitch = prepare.track_pitch(pulse_train(hertz, 1.0, rate), rate).astype(float)
    assert len(pitch) == 200
    inner = pitch[10:-10]
    assert (inner > 0).mean() > 0.98
    assert np.abs(np.abs(inner) / hertz - 1).max() < 0.03


def test_pitch_is_held_where_nothing_is_voiced():
    voices = [pulse_train(hertz, 0.6, RATE) for hertz in (120, 240)]
    audio = np.concatenate([voices[0], np.zeros(RATE // 2, np.float32), voices[1]])
    pitch = prepare.track_pitch(audio, RATE).astype(float)
    gap = pitch[140:200]
    assert (gap < 0).all()
    assert (np.diff(-gap) >= 0).all() and 115 < -gap[0] < -gap[-1] < 250
    assert (prepare.track_pitch(np.zeros(RATE), RATE) == 0).all()


def test_pauses_are_told_from_speech(tmp_path):
    quiet = np.random.default_rng(1).normal(size=RATE // 2) * 1e-4
    write(tmp_path / "1.wav", np.concatenate([pulse_train(120, 0.5, RATE), quiet]))
    active = prepare.prepare_clip((tmp_path / "1.wav", "x", RATE)).active
    assert len(active) == 100 and active[:49].all() and not active[51:].any()
