"""Whole recordings, in batches."""

import _thread
import pickle
import signal
import sys
import threading
import time

import numpy as np
import pytest

import parlo
from parlo import _arrays


def test_what_it_says_of_itself(codec):
    assert (codec.name, codec.sampling_rate, codec.frame_rate) == ("parlo-16k", 16000, 50.0)
    assert (codec.num_codebooks, codec.codebook_size, codec.codebook_sizes) == (12, 1024, (1024,) * 12)
    assert (codec.frame_samples, codec.delay_samples) == (320, 320)
    assert len(codec.bundle_id) == 64 and codec.bundle_id[:8] in repr(codec) and codec.tokens_id[:8] in repr(codec)
    assert codec.speaks(codec.tokens_id) and codec.speaks(codec.tokens_id[:32]) and not codec.speaks(codec.tokens_id[:8])
    assert (codec.folder / "manifest.toml").is_file()


def test_shapes_and_types_are_those_that_are_promised(codec, wav, codes):
    assert codes.dtype == np.int64 and codes.shape == (6, 101) and codes.flags.c_contiguous
    assert (0 <= codes.min()) and (codes.max() < 1024) and len(np.unique(codes)) > 100
    for same in (wav[None], wav[None, None], wav.astype(np.float64), wav.tolist()):
        assert (codec.encode(same, 16000) == codes).all()
    sound = codec.decode(codes)
    assert sound.dtype == np.float32 and sound.shape == (1, 1, 100 * 320)
    for same in (codes[None], codes.astype(np.uint16), codes.tolist(), np.asfortranarray(codes)):
        assert (codec.decode(same) == sound).all()


def test_sound_comes_back_in_line_with_what_went_in(codec, wav, codes):
    back = codec.decode(codes, length=len(wav))[0, 0]
    assert len(back) == len(wav)
    loudness = lambda samples: np.sqrt((samples[: 199 * 160].reshape(-1, 160) ** 2).mean(1))  # noqa: E731
    likeness = [np.corrcoef(loudness(wav)[4:-4], np.roll(loudness(back), shift)[4:-4])[0, 1] for shift in range(-4, 5)]
    assert np.argmax(likeness) == 4 and likeness[4] > 0.95, likeness


def test_int16_and_floats_are_the_same_sound(codec, wav):
    whole = (wav * 32767).astype(np.int16)
    expected = codec.encode(whole.astype(np.float32) / 32768, 16000)
    assert (codec.encode(whole, 16000) == expected).all()
    assert (codec.encode(whole.astype(np.float64) / 32768, 16000) == expected).all()
    assert (codec.encode((whole.astype(np.float32) / 32768).astype(">f4"), 16000) == expected).all()
    # What lies beyond full scale is brought there.
    assert (codec.encode(wav * 1000, 16000) == codec.encode((wav * 1000).clip(-1, 1), 16000)).all()


def test_arrays_are_taken_as_they_lie(codec, wav, codes):
    assert np.shares_memory(_arrays.samples(wav, "wav"), wav)
    assert np.shares_memory(_arrays.codes(codes, "codes"), codes)
    every_second = np.zeros(2 * len(wav), np.float32)
    every_second[::2] = wav
    read_only = wav.copy()
    read_only.flags.writeable = False
    misaligned = np.frombuffer(b"\0" + wav.tobytes(), np.uint8)[1:].view(np.float32)
    assert not misaligned.flags.aligned
    for same in (every_second[::2], read_only, misaligned, np.stack([wav, wav], axis=1)[:, 0]):
        assert (codec.encode(same, 16000) == codes).all()
    assert codec.decode(codes).flags.writeable


@pytest.mark.parametrize("depth", [1, 3, 12])
def test_depth(codec, wav, depth):
    codes = codec.encode(wav, 16000, depth)
    assert codes.shape == (1, depth, 101)
    assert codec.decode(codes).shape == (1, 1, 32000)


def test_the_beam_changes_codes(codec, wav, codes):
    assert (codec.encode(wav, 16000, beam=4) == codes).all()
    assert (codec.encode(wav, 16000, beam=1) != codes).any()


def test_a_batch_is_what_its_members_are_on_any_number_of_threads(codec, wav):
    batch = np.stack([np.roll(wav, 777 * n) * (1 - 0.1 * n) for n in range(5)])
    alone = [codec.encode(one, 16000)[0] for one in batch]
    sounds = [codec.decode(one)[0] for one in alone]
    for threads in (1, 3, None):
        codes = codec.encode(batch, 16000, threads=threads)
        assert codes.shape == (5, 6, 101) and (codes == np.stack(alone)).all()
        assert (codec.decode(codes, threads=threads) == np.stack(sounds)).all()


def test_recordings_of_several_lengths(codec, wav):
    lengths = [32000, 1, 320, 12345]
    waves = [np.roll(wav, n)[:length] for n, length in enumerate(lengths)]
    listed = codec.encode(waves, 16000)
    assert [codes.shape for codes in listed] == [(6, codec.num_frames(length, 16000)) for length in lengths]
    assert [(codec.encode(one, 16000)[0] == codes).all() for one, codes in zip(waves, listed)] == [True] * 4

    batch = np.zeros((4, 1, 32000), np.float32)
    mask = np.zeros((4, 32000), np.int64)
    for n, wave in enumerate(waves):
        batch[n, 0, : len(wave)], mask[n, : len(wave)] = wave, 1
    padded = codec.encode(batch, 16000, padding_mask=mask)
    assert (codec.encode(batch, 16000, padding_mask=mask[:, None].astype(bool)) == padded).all()
    assert (codec.encode(batch, 16000, lengths=np.array(lengths)) == padded).all()
    for codes, row in zip(listed, padded):
        assert (row[:, : codes.shape[1]] == codes).all() and (row[:, codes.shape[1] :] == -1).all()

    sounds = codec.decode(listed, length=lengths)
    assert [sound.shape for sound in sounds] == [(1, length) for length in lengths]
    together = codec.decode(padded, length=lengths)
    for sound, row, length in zip(sounds, together, lengths):
        assert (row[:, :length] == sound).all() and (row[:, length:] == 0).all()


def test_sound_of_other_rates(codec, clip):
    samples, rate = clip
    codes = codec.encode(samples, rate)
    assert codec.num_samples(len(samples), rate) == -(-len(samples) * 16000 // rate)
    assert codes.shape[-1] == codec.num_frames(len(samples), rate)
    assert (codec.encode(samples, float(rate)) == codes).all()
    assert (codec.encode(samples, 44100) != codes[..., :1]).any()


def test_lost_frames_are_made_up(codec, codes):
    lossy = codes.copy()
    lossy[:, 40:44] = -1
    lossy[3:, 60:70] = -1
    sound = codec.decode(lossy)[0, 0]
    decoder = codec.decoder()
    parts = [decoder.push(codes[:, :40]), decoder.conceal(4), decoder.push(codes[:, 44:60])]
    parts += [decoder.push(codes[:3, 60:70]), decoder.push(codes[:, 70:])]
    assert np.allclose(np.concatenate(parts), sound, atol=1e-4)
    # At the end they are padding.
    lossy[:, 90:] = -1
    sound = codec.decode(lossy)[0, 0]
    assert len(sound) == 32000 and (sound[89 * 320 :] == 0).all() and np.abs(sound[: 89 * 320]).max() > 0.01
    assert (codec.decode(np.full((2, 4, 3), -1)) == np.zeros((2, 1, 640))).all()


def test_one_frame_is_only_the_delay(codec, codes):
    assert codec.decode(codes[:, :1]).shape == (1, 1, 0)
    assert codec.decode([codes[:, :1], codes[:, :2]], length=[0, 5])[1].shape == (1, 5)


NAN = float("nan")


@pytest.mark.parametrize(
    ("error", "said", "arguments"),
    [
        (ValueError, "wav[0] holds NaN at sample 1", dict(wav=[0.0, NAN])),
        (ValueError, "wav[1] holds inf at sample 2", dict(wav=np.array([[0, 0, 0], [0, 0, np.inf]]))),
        (ValueError, "wav[0] holds inf at sample 0", dict(wav=[1e300])),
        (ValueError, "wav is empty", dict(wav=np.zeros(0))),
        (ValueError, "wav is empty", dict(wav=np.zeros((0, 100)))),
        (ValueError, "wav is empty", dict(wav=np.zeros((3, 1, 0)))),
        (ValueError, "wav[1] is empty", dict(wav=[np.zeros(5), np.zeros(0)])),
        (ValueError, "[B, 1, N]", dict(wav=np.float32(1))),
        (ValueError, "[B, 1, N]", dict(wav=np.zeros((1, 1, 1, 5)))),
        (ValueError, "2 channels", dict(wav=np.zeros((1, 2, 100)))),
        (ValueError, "samples, channels", dict(wav=np.zeros((16_000, 2)))),
        (ValueError, "samples, channels", dict(wav=np.zeros((16_000, 1)))),
        (ValueError, "samples, channels", dict(wav=np.zeros((3, 300, 6)))),
        (ValueError, "wav[0] has shape [2, 100]", dict(wav=[np.zeros((2, 100))])),
        (TypeError, "wav has dtype int64", dict(wav=np.zeros(100, int))),
        (TypeError, "wav has dtype complex128", dict(wav=np.zeros(100, complex))),
        (TypeError, "wav[0] has dtype bool", dict(wav=[np.zeros(100, bool)])),
        (TypeError, "wav has dtype <U4", dict(wav="talk")),
        (TypeError, "not NoneType", dict(wav=None)),
        (ValueError, "wav is no array", dict(wav=[[0.0], [0.0, 1.0]])),
        (ValueError, "depth 13 is not possible: this model has 1 to 12", dict(depth=13)),
        (ValueError, "depth 0 is not possible", dict(depth=0)),
        (ValueError, "depth is -1", dict(depth=-1)),
        (TypeError, "depth must be a whole number, not 2.5", dict(depth=2.5)),
        (TypeError, "depth must be a whole number, not True", dict(depth=True)),
        (ValueError, "beam 0 is not possible", dict(beam=0)),
        (ValueError, "beam 33 is not possible", dict(beam=33)),
        (ValueError, "sr is 3999 Hz", dict(sr=3999)),
        (ValueError, "sr is 1000000 Hz", dict(sr=10**6)),
        (ValueError, "not possible", dict(sr=10**30)),
        (TypeError, "sr must be a whole number", dict(sr=16000.5)),
        (TypeError, "sr must be a whole number", dict(sr=None)),
        (ValueError, "threads is 0", dict(threads=0)),
        (ValueError, "must be the same", dict(padding_mask=np.ones((1, 99)))),
        (ValueError, "only its end can be padded", dict(padding_mask=np.arange(100)[None])),
        (ValueError, "wav 0 has length 0", dict(padding_mask=np.zeros((1, 100)))),
        (ValueError, "wav 0 has length 101", dict(lengths=101)),
        (ValueError, "2 numbers for a batch of 1", dict(lengths=[5, 5])),
        (TypeError, "whole numbers", dict(lengths=[5.5])),
        (ValueError, "give one of them", dict(lengths=5, padding_mask=np.ones((1, 100)))),
        (ValueError, "a list holds what is real", dict(wav=[np.zeros(5)], lengths=5)),
    ],
)
def test_sound_that_cannot_be_encoded(codec, error, said, arguments):
    with pytest.raises(error) as raised:
        codec.encode(**{"wav": np.zeros(100, np.float32), "sr": 16000, **arguments})
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("error", "said", "arguments"),
    [
        (ValueError, "code 1024 in codebook 0 of frame 2", dict(codes=np.array([[0, 1, 1024, 3]]))),
        (ValueError, "codes[1]: code -2 in codebook 1 of frame 0", dict(codes=np.array([[[0], [0]], [[0], [-2]]]))),
        (ValueError, "frame 0 has no code (-1) in codebook 0, and 5 in codebook 1", dict(codes=[[-1], [5]])),
        (ValueError, "13 codebooks; this model has 1 to 12", dict(codes=np.zeros((13, 4), int))),
        (ValueError, "0 codebooks", dict(codes=np.zeros((0, 4), int))),
        (ValueError, "no frames", dict(codes=np.zeros((6, 0), int))),
        (ValueError, "empty", dict(codes=np.zeros((0, 6, 5), int))),
        (ValueError, "[B, K, T] or [K, T]", dict(codes=np.zeros(6, int))),
        (ValueError, "[B, K, T] or [K, T]", dict(codes=np.zeros((1, 1, 6, 5), int))),
        (ValueError, "codes[0] has shape [6]", dict(codes=[np.zeros(6, int)])),
        (TypeError, "codes has dtype float64", dict(codes=np.zeros((6, 5)))),
        (TypeError, "codes has dtype bool", dict(codes=np.zeros((6, 5), bool))),
        (ValueError, "no code", dict(codes=np.full((6, 5), 2**64 - 1, np.uint64))),
        (TypeError, "not NoneType", dict(codes=None)),
        (ValueError, "length 1281 is not possible: 5 frames render 1280 samples", dict(length=1281)),
        (ValueError, "length is -1", dict(length=-1)),
        (TypeError, "length must be", dict(length=1.5)),
        (ValueError, "3 numbers for a batch of 1", dict(length=[1, 2, 3])),
        (ValueError, "threads is 2000", dict(threads=2000)),
    ],
)
def test_codes_that_cannot_be_decoded(codec, error, said, arguments):
    with pytest.raises(error) as raised:
        codec.decode(**{"codes": np.zeros((6, 5), np.int64), **arguments})
    assert said in str(raised.value)


def test_lists_of_nothing(codec):
    with pytest.raises(ValueError, match="empty"):
        codec.encode([], 16000)
    with pytest.raises((TypeError, ValueError)):
        codec.decode([])


def anything(random):
    """An array of some type, shape and content, or something else."""
    kinds = [np.float16, np.float32, np.float64, np.int8, np.int16, np.int64, np.uint64, bool, complex, object, "U3", "M8[s]"]
    shape = tuple(random.integers(0, 5, random.integers(0, 5)))
    values = random.choice([0.0, 0.5, -1.0, 3.0, 7.0, 1e9, np.nan, np.inf], shape)
    with np.errstate(all="ignore"):
        array = np.array(values).astype(random.choice(np.array(kinds, dtype=object)), casting="unsafe")
    others = [None, "talk", 5, {}, [[]], [None], object(), slice(None), b"bytes", 1 << 70, float("nan"), -1, np.ma.masked]
    return others[random.integers(len(others))] if random.random() < 0.2 else array


@pytest.mark.filterwarnings("ignore")
def test_whatever_comes_in_is_taken_or_refused(codec):
    random = np.random.default_rng(7)
    outcomes = {"taken": 0, "refused": 0}
    encoder, decoder = codec.encoder(), codec.decoder()

    def some(chance, otherwise):
        return anything(random) if random.random() < chance else otherwise

    for _ in range(1500):
        value = [anything(random) for _ in range(random.integers(0, 3))] if random.random() < 0.2 else anything(random)
        calls = [
            lambda: codec.encode(value, some(0.1, 16000), some(0.2, None), lengths=some(0.2, None), padding_mask=some(0.1, None)),
            lambda: codec.encode(value, 24000, beam=some(0.1, 1), threads=some(0.1, 2)),
            lambda: codec.decode(value, length=some(0.3, None), threads=some(0.1, None)),
            lambda: encoder.push(value),
            lambda: decoder.push(value),
            lambda: decoder.conceal(some(0.5, 1)),
        ]
        try:
            calls[random.integers(len(calls))]()
            outcomes["taken"] += 1
        except (TypeError, ValueError):
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 100, outcomes


@pytest.fixture
def interruptible():
    """Ctrl-C as people have it: whoever starts the tests in the background has it ignored, and Python keeps to that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_interpreter_goes_on_and_can_stop_it(codec, wav, interruptible):
    batch = np.tile(wav, (4, 300))
    result = None

    def interrupt():
        # Runs only while the lock is not held: otherwise not before all is encoded.
        main = threading.main_thread().ident
        while sys._current_frames()[main].f_code.co_name != "encode" and not ended.is_set():
            time.sleep(0.001)
        # Once more if the machine was too busy to see it in time.
        while not ended.is_set():
            _thread.interrupt_main()
            ended.wait(2.0)

    ended = threading.Event()
    helper = threading.Thread(target=interrupt)
    helper.start()
    with pytest.raises(KeyboardInterrupt):
        try:
            result = codec.encode(batch, 16000)
        finally:
            ended.set()
    helper.join()
    assert result is None
    assert codec.encode(wav, 16000).shape == (1, 6, 101)


def test_one_codec_serves_several_threads(codec, wav, codes):
    results = [None] * 4

    def work(n):
        results[n] = codec.decode(codec.encode(wav, 16000, threads=1), threads=1)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    assert all((result == codec.decode(codes)).all() for result in results)


def test_it_can_be_pickled(codec, wav, codes):
    again = pickle.loads(pickle.dumps(codec))
    assert again.bundle_id == codec.bundle_id and (again.encode(wav, 16000) == codes).all()
    error = pickle.loads(pickle.dumps(parlo.BundleError("gone")))
    assert isinstance(error, parlo.ParloError) and str(error) == "gone"
