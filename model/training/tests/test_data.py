"""Crops: drawn alike from the same state, whole, and with the pitch that is in them."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("soxr")
pytest.importorskip("tqdm")

from parlo_training.config import Config
from parlo_training.data import Corpus
from parlo_training.errors import UserError
from support import pulse_train, setting, write_cache

RATE = 16000
CPU = torch.device("cpu")
PLAIN = [f"augment.{name}=0" for name in ("equalise", "band_limit", "noise", "talkers", "clip")]


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def corpus(folder, clips, *changes):
    return Corpus(write_cache(folder, clips, RATE), setting("tiny", *PLAIN, *changes), CPU)


@pytest.fixture
def voices(tmp_path):
    """Two voices of two clips each."""
    hertz = (110, 150, 200, 300)
    clips = [(f"voice{i // 2}", pulse_train(f, 1.5, RATE), f) for i, f in enumerate(hertz)]
    return write_cache(tmp_path / "voices", clips, RATE)


def test_a_batch_has_the_shapes_that_training_takes(voices):
    config = setting("tiny")
    batch = Corpus(voices, config, CPU).draw(seeded())
    samples = round(config.training.seconds * RATE)
    assert batch.input.shape == batch.target.shape == (2, samples)
    assert batch.pitch.shape == (2, samples // config.audio.frame)
    assert batch.pitch_known.shape == (2,) and batch.pitch_known.dtype == torch.bool
    assert batch.input.abs().max() < 1 and batch.target.abs().max() < 1


def test_the_generator_alone_decides_about_a_batch(voices):
    first, again = (Corpus(voices, setting("tiny"), CPU) for _ in range(2))
    for seed in range(6):
        one, other = first.draw(seeded(seed)), again.draw(seeded(seed))
        assert all(torch.equal(a, b) for a, b in zip(vars(one).values(), vars(other).values()))
    states = seeded()
    assert not torch.equal(first.draw(states).input, first.draw(states).input)


def test_short_clips_are_filled_up_with_silence(tmp_path):
    clips = [("short", pulse_train(120, 0.2, RATE), 120), ("loud", np.full(160, 0.99), 400)]
    speech = corpus(tmp_path, clips, "training.speeds=[1.0]")
    speech._place = lambda samples, random: (0, 0)  # the first clip, from its start
    batch = speech.draw(seeded())
    inside = RATE // 5
    assert (batch.target[:, : inside].abs().amax(1) > 0.01).all()
    assert (batch.target[:, inside:] == 0).all() and (batch.input[:, inside:] == 0).all()
    assert (batch.pitch[:, :10] == 120).all() and (batch.pitch[:, 10:] == 0).all()


def test_crops_may_end_with_the_corpus(tmp_path):
    speech = corpus(tmp_path, [("a", pulse_train(120, 0.3, RATE), 120)], "training.speeds=[1.2]")
    for seed in range(4):
        assert torch.isfinite(speech.draw(seeded(seed)).input).all()


def found_pitch(audio):
    """Pitch in Hz of a steady voice [samples]: the comb of ten harmonics that holds the most."""
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)), n=2**16))
    candidates = np.arange(60, 500, 0.5)
    bins = np.round(candidates[:, None] * np.arange(1, 11) * 2**16 / RATE).astype(int)
    between = np.round(candidates[:, None] * (np.arange(10) + 0.5) * 2**16 / RATE).astype(int)
    return candidates[(spectrum[bins] - spectrum[between]).sum(1).argmax()]


@pytest.mark.parametrize("speed", sorted({*Config().training.speeds, 0.5, 2.0}))
def test_the_pitch_is_that_of_the_audio_at_every_speed(speed, tmp_path):
    clips = [("a", pulse_train(150, 2.0, RATE), 150)]
    batch = corpus(tmp_path, clips, f"training.speeds=[{speed}]", "training.seconds=0.8").draw(
        seeded()
    )
    # speeds are rounded so that crops are whole frames
    assert batch.pitch.unique().numel() == 1
    labelled = float(batch.pitch[0, 0])
    assert labelled == pytest.approx(150 * speed, rel=0.02)
    assert found_pitch(batch.target[0].numpy()) == pytest.approx(labelled, rel=0.01)


def test_unvoiced_pitch_keeps_its_sign(tmp_path):
    speech = corpus(tmp_path, [("a", pulse_train(150, 1.0, RATE), -150)], "training.speeds=[1.0]")
    assert (speech.draw(seeded()).pitch == -150).all()


def test_labels_are_those_of_their_time_hours_into_a_corpus(tmp_path):
    hours, step = 5, RATE // 200
    steps = hours * 3600 * 200
    with open(tmp_path / "audio.i16", "wb") as audio:
        audio.truncate(2 * steps * step)  # no bytes on the disk, and silent
    pitch = (100 + np.arange(steps) % 64).astype(np.float16)
    pitch.tofile(tmp_path / "pitch.f16")
    np.zeros(steps, np.uint16).tofile(tmp_path / "pulse.u16")
    np.ones(steps // 2, np.uint8).tofile(tmp_path / "active.u8")
    clips = [{"path": "long.wav", "speaker": "a", "start": 0, "samples": steps * step,
              "sharper": 1.0}]
    (tmp_path / "index.json").write_text(
        json.dumps({"format": 2, "rate": RATE, "samples": steps * step, "clips": clips})
    )
    speech = Corpus(tmp_path, setting("tiny", *PLAIN, "training.speeds=[1.0]"), CPU)
    random = np.random.default_rng(1)
    for _ in range(20):
        start = steps * step - int(random.integers(RATE, 2 * RATE))
        speech._place = lambda samples, random: (0, start)
        middles = start + np.arange(20) * 320 + 160
        expected = pitch[(middles / step).round().astype(int)]
        assert np.array_equal(speech.draw(seeded()).pitch[0].numpy(), expected)


def test_a_label_is_never_of_the_next_clip(tmp_path):
    clips = [("a", pulse_train(120, 0.2, RATE), 120), ("b", pulse_train(400, 1.0, RATE), 400)]
    speech = corpus(tmp_path, clips, "training.speeds=[1.0]")
    for start in range(0, 320, 10):
        speech._place = lambda samples, random, start=start: (0, start)
        assert set(speech.draw(seeded()).pitch.flatten().tolist()) <= {0.0, 120.0}


def test_voices_with_little_speech_are_drawn_more_often_than_their_share(tmp_path):
    clips = [("long", np.zeros(RATE * 9), 0), ("short", np.zeros(RATE), 0)]
    assert corpus(tmp_path, clips).shares == pytest.approx([0.75])
    halves = [("long", np.zeros(RATE * 9 // 2), 0)] * 2 + [("short", np.zeros(RATE), 0)]
    assert corpus(tmp_path, halves).shares == pytest.approx([0.375, 0.75])


def test_pauses_are_avoided(tmp_path):
    loud = pulse_train(150, 1.0, RATE)
    cache = write_cache(tmp_path, [("a", np.concatenate([np.zeros(4 * RATE), loud]), 150)], RATE)
    np.concatenate([np.zeros(400, np.uint8), np.ones(100, np.uint8)]).tofile(cache / "active.u8")
    speech = Corpus(cache, setting("tiny", *PLAIN), CPU)
    random = np.random.default_rng(1)
    starts = [speech._place(RATE // 2, random)[1] for _ in range(50)]
    # a crop that is drawn blindly is speech for the most part one time in six
    assert np.mean(np.array(starts) >= 3.8 * RATE) > 0.5


def test_caches_that_do_not_fit_are_refused(tmp_path):
    config = setting("tiny")
    with pytest.raises(UserError, match="is not a finished cache: run `prepare`"):
        Corpus(tmp_path / "none", config, CPU)
    cache = write_cache(tmp_path / "cache", [("a", np.zeros(RATE), 0)], RATE)
    with pytest.raises(UserError, match="was prepared for 16000 samples a second, and .* 24000"):
        Corpus(cache, setting("tiny", "audio.rate=24000"), CPU)
    index = (cache / "index.json").read_text()
    for name, size in (("audio.i16", 2), ("pitch.f16", 2), ("active.u8", 1)):
        whole = (cache / name).read_bytes()
        for damaged in (whole[:-size], b""):
            (cache / name).write_bytes(damaged)
            with pytest.raises(UserError, match="prepare it again|prepare the cache again"):
                Corpus(cache, config, CPU)
        (cache / name).write_bytes(whole)
    (cache / "index.json").write_text(index[: len(index) // 2])
    with pytest.raises(UserError, match="index.json is damaged"):
        Corpus(cache, config, CPU)
    (cache / "index.json").write_text(index)
    assert Corpus(cache, config, CPU).hours == pytest.approx(1 / 3600)


# Where the pulses are.


def test_the_track_is_where_the_pulses_of_the_crop_are(tmp_path):
    """The voices' pulses lie at whole cycles: at each of them the crop has a peak."""
    speech = corpus(tmp_path, [("a", pulse_train(125, 2.0, RATE), 125)], "augment.room=0")
    hop = speech.config.audio.hop
    for seed in range(6):
        batch = speech.draw(seeded(seed))
        assert batch.track.shape == (2, 4 * batch.pitch.shape[1] + 1)
        assert (batch.track.diff(dim=1) > 0).all()
        for target, track in zip(batch.target, batch.track):
            at = torch.arange(len(track)) * (hop / 2) - hop
            cycles = np.interp(np.arange(len(target)), at.numpy(), track.numpy())
            whole = np.flatnonzero(np.floor(cycles[1:]) > np.floor(cycles[:-1])) + 1
            whole = whole[(whole > 200) & (whole < len(target) - 200)]
            for place in whole:
                around = target[place - 40 : place + 40].numpy()
                assert abs(int(around.argmax()) - 40) <= 2


def test_a_voice_recorded_upside_down_is_turned(tmp_path):
    clips = [("a", -pulse_train(125, 1.0, RATE), 125), ("b", pulse_train(125, 1.0, RATE), 125)]
    folder = write_cache(tmp_path, clips, RATE)
    index = json.loads((folder / "index.json").read_text())
    index["clips"][0]["sharper"] = -2.0
    (folder / "index.json").write_text(json.dumps(index))
    batch = Corpus(folder, setting("tiny", *PLAIN, "training.batch=8"), CPU).draw(seeded())
    assert (batch.target.amax(1) > -1.5 * batch.target.amin(1)).all()
