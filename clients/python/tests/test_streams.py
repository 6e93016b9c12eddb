"""Streams: what comes piece by piece is what comes at once."""

import numpy as np
import pytest


def alike(some, others):
    """Whether codes are the same, but for near ties: the last bit of a sum can depend on how many frames are summed at once."""
    return some.shape == others.shape and (some == others).mean() > 0.99


def pieces(random, samples):
    """The samples in pieces of any lengths, some of none."""
    ends = np.sort(random.integers(0, len(samples) + 1, 40))
    return np.split(samples, ends)


def test_pushed_in_any_pieces_it_is_the_same(codec, clip):
    random = np.random.default_rng(3)
    samples, rate = clip[0][:60000], clip[1]
    for sr in (16000, rate):
        whole = codec.encode(samples, sr, 4)[0]
        encoder = codec.encoder(4, sr)
        for _ in range(2):
            parts = [encoder.push(piece) for piece in pieces(random, samples)]
            assert all(part.dtype == np.int64 and part.shape[0] == 4 for part in parts)
            assert encoder.num_samples == codec.num_samples(len(samples), sr)
            parts.append(encoder.flush())
            assert alike(np.concatenate(parts, axis=1), whole)
            # After a flush it is as if new.
            assert encoder.num_samples == 0

    sound = codec.decode(whole)[0, 0]
    decoder = codec.decoder()
    for step in (1, 7, 1000):
        parts = [decoder.push(whole[:, at : at + step]) for at in range(0, whole.shape[1], step)]
        assert decoder.num_frames == whole.shape[1]
        assert all(part.dtype == np.float32 for part in parts)
        assert len(sound) == sum(map(len, parts)) and np.allclose(np.concatenate(parts), sound, atol=1e-4)
        decoder.reset()


def test_frames_come_as_soon_as_they_are_whole(codec, wav):
    encoder = codec.encoder(3)
    assert encoder.push(wav[:319]).shape == (3, 0)
    assert encoder.push(wav[319:320]).shape == (3, 1)
    assert encoder.push(wav[:0]).shape == (3, 0)
    assert encoder.push(wav[None, None, 320:1000].astype(np.float64)).shape == (3, 2)
    # 40 samples are left, and the decoder is a frame behind.
    assert encoder.flush().shape == (3, 2)
    assert encoder.flush().shape == (3, 0)


def test_a_reset_forgets(codec, wav, codes):
    encoder, decoder = codec.encoder(), codec.decoder()
    encoder.push(wav[1000:5000])
    encoder.reset()
    assert alike(encoder.push(wav), codes[:, :100])
    decoder.push(codes[:, 50:])
    decoder.reset()
    assert np.allclose(decoder.push(codes), codec.decode(codes)[0, 0], atol=1e-4)


def test_the_depth_can_change(codec, wav):
    encoder = codec.encoder(6)
    first = encoder.push(wav[:6400])
    encoder.depth = 2
    second = encoder.push(wav[6400:12800])
    assert (first.shape, second.shape, encoder.depth) == ((6, 20), (2, 20), 2)
    for depth in (0, 13):
        with pytest.raises(ValueError, match=f"depth {depth} is not possible"):
            encoder.depth = depth
    decoder = codec.decoder()
    assert len(decoder.push(first)) == 19 * 320 and len(decoder.push(second)) == 20 * 320


def test_what_did_not_come_is_made_up(codec, codes):
    one, other = codec.decoder(), codec.decoder()
    one.push(codes[:, :50])
    other.push(codes[:, :50])
    concealed = one.conceal(12)
    assert len(concealed) == 12 * 320 and np.abs(concealed[:320]).max() > 0
    assert (concealed[10 * 320 :] == 0).all()
    assert np.allclose(other.push(np.full((6, 12), -1)), concealed, atol=1e-4)
    assert len(one.conceal(0)) == 0


def test_the_end_of_a_stream(codec, codes):
    decoder = codec.decoder()
    assert len(decoder.flush()) == 0
    decoder.push(codes[:, 0])
    assert len(decoder.flush()) == 320
    # 50 frames are 50 frames of sound, the decoder's delay included.
    sound = np.concatenate([decoder.push(codes[:, :50]), decoder.flush()])
    assert len(sound) == 50 * 320
    assert np.allclose(sound[: 49 * 320], codec.decode(codes[:, :50])[0, 0], atol=1e-4)
    assert decoder.num_frames == 0


def test_refusals_leave_the_stream_as_it_was(codec, wav, codes):
    encoder, decoder = codec.encoder(), codec.decoder()
    parts = [encoder.push(wav[:10000])]
    for bad in (np.array([0.1, np.nan], np.float32), np.zeros((2, 5)), np.zeros(5, int), None, "talk"):
        with pytest.raises((ValueError, TypeError)):
            encoder.push(bad)
    parts += [encoder.push(wav[10000:]), encoder.flush()]
    assert alike(np.concatenate(parts, axis=1), codes)

    sound = [decoder.push(codes[:, :30])]
    bad_code = codes[:, 30:35].copy()
    bad_code[2, 3] = 1024
    for bad in (bad_code, codes[:0], np.zeros((13, 1), int), codes[None], codes * 1.0, None):
        with pytest.raises((ValueError, TypeError)):
            decoder.push(bad)
    for bad in (-1, 1.5, 10**6):
        with pytest.raises((ValueError, TypeError)):
            decoder.conceal(bad)
    sound.append(decoder.push(codes[:, 30:]))
    assert np.allclose(np.concatenate(sound), codec.decode(codes)[0, 0], atol=1e-4)


def test_encoders_that_cannot_be(codec):
    for arguments in (dict(depth=13), dict(sr=1), dict(beam=0), dict(depth="6")):
        with pytest.raises((ValueError, TypeError)):
            codec.encoder(**arguments)
    assert repr(codec.encoder()) == "Encoder(depth=6, 0 samples)" and repr(codec.decoder()) == "Decoder(0 frames)"
