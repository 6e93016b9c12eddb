"""Loss: patterns, what strategies may know, repair after late packets, the command."""

from __future__ import annotations

import csv

import numpy as np
import pytest

torch = pytest.importorskip("torch")
for package in ("onnxruntime", "safetensors", "soundfile", "soxr"):
    pytest.importorskip(package)

from dataclasses import asdict

from parlo_training import conceal
from parlo_training.bundle import BundleCodec
from parlo_training.conceal import (
    DEPTH,
    PACKET,
    PATTERNS,
    STRATEGIES,
    Case,
    Receiver,
    Scene,
    lost,
    scene_of,
    trials,
)
from parlo_training.entropy import EntropyConfig, EntropyModel
from parlo_training.entropy_data import known
from parlo_training.errors import UserError
from parlo_training.evaluate import load
from support import BUNDLES, CLIP, options

# A bench that "measures" how often it was asked.
SCORER = """
import numpy as np
asked = []
class Stoi:
    def __call__(self, clip, heard, stem):
        assert clip.shape == heard.shape
        asked.append(stem)
        return {"estoi": len(asked)}
class LogMel:
    def power(self, audio):
        return np.ones((len(audio) // 160 + 1, 80))
"""


@pytest.fixture(scope="module")
def receiver():
    """The bundle that ships, and a small model of its codes with every weight at work."""
    codec = BundleCodec(BUNDLES[0])
    books, entries, size = len(codec.books), *codec.books[0].shape
    own = EntropyConfig(
        books=books, entries=entries, embedding=size, width=16, heads=2, layers=2, hidden=16,
        modelled=5, fine_from=2, book_hidden=16, fine_hidden=8, content_hidden=16, reach=40,
    )
    torch.manual_seed(1)
    model = EntropyModel(own, torch.from_numpy(np.stack(codec.books)))
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.05 * torch.randn_like(value))
    return Receiver(codec, model.eval())


@pytest.fixture(scope="module")
def codes(receiver):
    """Codes [50, 6] of a second of speech."""
    rate = receiver.codec.sample_rate
    latents = receiver.codec.latents(load(CLIP, rate)[rate : 2 * rate])
    return receiver.codec.codes(latents, [DEPTH])[DEPTH][:50]


def gone_of(frames: int, *gaps: tuple[int, int]) -> np.ndarray:
    gone = np.zeros(frames, bool)
    for start, end in gaps:
        gone[start:end] = True
    return gone


def runs(gone: np.ndarray) -> list[int]:
    """Lengths of the gaps."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], gone, [0]])))
    return list(edges[1::2] - edges[::2])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_lose_what_they_say_and_the_same_each_time(pattern):
    kind, number = pattern.split("-")
    gone = lost(pattern, 30000, 3)
    assert np.array_equal(gone, lost(pattern, 30000, 3))
    assert not np.array_equal(gone, lost(pattern, 30000, 4))
    if kind == "burst":
        assert set(runs(gone)[:-1]) == {int(number) // 20}
        assert len(runs(gone)) == pytest.approx(30000 / 50, rel=0.03)
        return
    assert gone.mean() == pytest.approx(int(number) / 100, rel=0.1)
    if kind == "packet":
        packets = gone.reshape(-1, PACKET)
        assert (packets.all(1) == packets.any(1)).all()


@pytest.mark.parametrize("pattern", ["bursts-10", "packet", "single-x"])
def test_a_pattern_that_is_none_is_refused(pattern):
    with pytest.raises(UserError, match="is not a pattern"):
        lost(pattern, 10, 1)


def test_copies_come_with_the_packet_after():
    gone = gone_of(14, (3, 6), (9, 12))
    assert np.flatnonzero(conceal.copied(gone)).tolist() == [3, 4, 5, 9, 10, 11]
    assert not conceal.copied(gone_of(14, (3, 9)))[3:6].any()
    assert not conceal.copied(gone_of(14, (12, 14))).any()
    assert np.flatnonzero(conceal.copied(gone_of(9, (3, 6)), 1)).tolist() == [5]


def test_a_scene_holds_nothing_but_what_is_known(codes):
    gone = gone_of(50, (0, 2), (10, 13))
    scene = Scene.of(codes, np.where(gone, 0, DEPTH))
    assert (scene.codes[gone] == 0).all() and np.array_equal(scene.codes[~gone], codes[~gone])
    assert scene.missing.tolist() == [10, 11, 12]
    assert scene.gap[9:14].tolist() == [0, 1, 2, 3, 0]
    assert scene.last[[0, 9, 12, 13]].tolist() == [-1, 9, 9, 13]


@pytest.mark.parametrize("name", STRATEGIES)
def test_without_loss_a_strategy_is_plain_decoding(receiver, codes, name):
    part = codes[:8]
    sound = STRATEGIES[name].sound(receiver, Scene.of(part, np.full(8, DEPTH)))
    # Other runs of the graph, other sums: the last bits differ.
    assert np.abs(receiver.decode(sound) - receiver.codec.decode(part)).max() < 1e-6


@pytest.mark.parametrize("name", STRATEGIES)
def test_no_strategy_knows_lost_or_later_frames(receiver, codes, name):
    strategy, gone = STRATEGIES[name], gone_of(50, (0, 2), (10, 13), (20, 34), (40, 41))

    def sound(values):
        there = conceal.copied(gone)
        known_codes = np.where(gone, np.where(there, strategy.copies, 0), DEPTH)
        return strategy.sound(receiver, Scene.of(values, known_codes))

    base = sound(codes)
    assert np.isfinite(base.latents).all() and base.gains[9] == 1 and base.gains[32] == 0
    assert (base.depths[:2] == strategy.copies).all() and (base.depths[2:10] == DEPTH).all()
    other = codes.copy()
    # what a copy holds of a lost frame may be used
    other[gone, strategy.copies :] = (other[gone, strategy.copies :] + 5) % 1024
    changed = sound(other)
    for one, two in zip(vars(base).values(), vars(changed).values()):
        assert np.array_equal(one, two)
    other = codes.copy()
    other[34:] = (other[34:] + 5) % 1024
    assert np.allclose(base.latents[:34], sound(other).latents[:34], atol=1e-5)


def test_a_glide_holds_then_ends_and_the_decoder_rests(receiver, codes):
    scene = Scene.of(codes, np.where(gone_of(50, (10, 20)), 0, DEPTH))
    sound = STRATEGIES["repeat"].sound(receiver, scene)
    assert np.allclose(sound.gains[9:16], [1, 0.8, 0.6, 0.4, 0.2, 0, 0])
    assert sound.depths[9:17].tolist() == [6] * 6 + [0, 0]
    audio = receiver.decode(sound).reshape(50, -1)
    assert np.abs(audio[14]).max() > 0 and (audio[15:20] == 0).all()
    held = STRATEGIES["repeat 160 ms"].sound(receiver, scene).gains
    assert np.allclose(held[10:18], 1 - np.arange(8) / 7)


def test_probabilities_are_those_that_the_coder_uses(receiver, codes):
    values = torch.from_numpy(codes[:12])
    may = torch.from_numpy(known("file", 12))[None, None]
    with torch.no_grad():
        expected = receiver.model.bits(values[None], torch.tensor([DEPTH]), may)
    answer = receiver.answers(values[None], torch.full((1, 12), DEPTH))[0]
    for k in range(DEPTH):
        shares = receiver.shares(k, answer, values)
        bits = -shares.gather(1, values[:, k : k + 1]).log2()[:, 0]
        assert torch.allclose(bits, expected[k][1][0], atol=1e-3)


def test_a_decoder_that_goes_back_ends_where_one_without_loss_is(receiver, codes):
    comes = np.arange(50)
    comes[9:12] = 14
    strategy, absent = STRATEGIES["repeat"], comes > np.arange(50)
    truth = strategy.sound(receiver, Scene.of(codes, np.full(50, DEPTH)))
    sound = strategy.sound(receiver, Scene.of(codes, np.where(absent, 0, DEPTH)))
    plain, left = (receiver.decode(each).reshape(50, -1) for each in (truth, sound))
    repaired = conceal.play_repairing(receiver, sound, truth, comes, []).reshape(50, -1)
    assert np.array_equal(repaired[:14], left[:14])
    assert np.array_equal(repaired[14:], plain[14:])
    assert not np.array_equal(left[14:], plain[14:])
    kept = conceal.play_repairing(receiver, sound, truth, comes, ["tail"]).reshape(50, -1)
    assert not np.array_equal(kept[14], plain[14])
    faded = conceal.play_repairing(receiver, sound, truth, comes, [], True).reshape(50, -1)
    assert np.array_equal(faded[15:], plain[15:]) and np.array_equal(faded[:14], left[:14])
    assert np.allclose(faded[14, [0, -1]], [left[14, 0], plain[14, -1]], atol=1e-3)


def test_late_packets_come_within_the_stated_time():
    comes = conceal.late(30000, 10, 1)
    by = (comes - np.arange(30000)).reshape(-1, PACKET)
    assert set(by[:, 0]) == {0, *range(conceal.LATE[0], conceal.LATE[1] + 1)}
    assert (by[:, 0] > 0).mean() == pytest.approx(0.1, rel=0.15)
    assert (by >= 0).all()


def test_finer_codes_are_added_to_what_came(receiver, codes):
    coarse = codes[:10, :3]
    plain = receiver.codec.dequantize(coarse)
    for how in ("likeliest", "expected", "drawn"):
        sound = conceal.refined(receiver, coarse, DEPTH, how)
        assert sound.latents.shape == plain.shape and (sound.depths == DEPTH).all()
        assert not np.allclose(sound.latents, plain)


def test_copies_cost_more_the_more_they_hold(receiver, codes):
    bits = [conceal.copy_bits(receiver, codes, copies) for copies in (1, 2, 3)]
    assert 0 < bits[0] < bits[1] < bits[2]


def test_trials_of_each_kind_give_audio_or_bits(receiver, codes):
    case = Case(receiver, {3: codes[:20, :3], DEPTH: codes[:20]}, 1)
    for pattern in ("packet-20", "late-30", "fine", "copies"):
        for trial in trials(pattern, ["repeat", "blend .8^n"]).values():
            outcome = trial.course(case)
            assert outcome.bits or outcome.audio.shape == (20 * receiver.codec.frame_samples,)
            assert (outcome.judged is not None) == pattern.startswith("late")
    scene = scene_of(codes, "single-30", 1, 1)
    assert set(scene.known) == {0, 1, DEPTH}


@pytest.fixture
def place(tmp_path, receiver):
    """A bench, half a second of speech, and the model's state."""
    import soundfile

    bench, heldout = tmp_path / "bench", tmp_path / "speech/heldout/voice"
    bench.mkdir()
    heldout.mkdir(parents=True)
    (bench / "score.py").write_text(SCORER)
    (bench / "heldout.txt").write_text("voice/clip-0.flac\n")
    audio, rate = soundfile.read(CLIP)
    soundfile.write(heldout / "clip-0.flac", audio[rate : rate * 3 // 2], rate)
    state = {"config": asdict(receiver.model.own), "model": receiver.model.state_dict()}
    torch.save(state, tmp_path / "entropy.pt")
    return tmp_path


def command(place, *words):
    own = options(
        conceal, "--bundle", BUNDLES[0], "--state", place / "entropy.pt",
        "--out", place / "table.csv", "--bench", place / "bench", "--speech", place / "speech",
        "--metrics", "estoi", *words,
    )
    assert conceal.run(own) == 0
    with open(place / "table.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_measures_what_the_table_lacks(place, capsys):
    chosen = ("--strategies", "repeat;likeliest 1")
    rows = command(place, "--patterns", "packet-20", *chosen)
    assert [(row["strategy"], row["estoi"]) for row in rows] == [("repeat", "1"),
                                                                 ("likeliest 1", "2")]
    assert rows[0]["state"] == "" and rows[1]["state"] != ""
    rows = command(place, "--patterns", "packet-20,late-20,copies", *chosen)
    assert [row["estoi"] for row in rows[:4]] == ["1", "2", "1", "2"]
    assert all(row["apart_mel_db"] for row in rows if row["pattern"] == "late-20")
    assert [bool(row["bits"]) for row in rows[-3:]] == [True] * 3
    assert "packet-20  repeat" in capsys.readouterr().out


def test_what_is_not_there_is_named(place):
    with pytest.raises(UserError, match="no such strategy: hope"):
        command(place, "--strategies", "hope")
    with pytest.raises(UserError, match="no such metric: joy"):
        command(place, "--metrics", "joy")
    (place / "entropy.pt").write_bytes(b"")
    with pytest.raises(UserError, match="no state of an entropy model"):
        command(place)
