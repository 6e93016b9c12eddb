"""Entropy-coded payloads against docs/entropy.md."""

import hashlib
import itertools
import re
from pathlib import Path

import numpy as np
import pytest

import ptk
from entropy import BITS, Reader, Writer
from ptk import Damaged, TokenFile


def tables(random, count):
    """Bounds of intervals, some of a single number."""
    for _ in range(count):
        inner = random.choice([random.integers(1, 2**BITS, 9), random.integers(1, 12, 9)])
        yield np.unique([0, *inner, 2**BITS])


def coded(message):
    writer = Writer()
    for bounds, symbol in message:
        writer.push(bounds, symbol)
    return writer.payload()


def test_a_payload_is_the_shortest_and_least_that_stands_for_its_symbols():
    random = np.random.default_rng(3)
    for count in range(40):
        message = [(bounds, int(random.integers(len(bounds) - 1))) for bounds in tables(random, count)]
        payload = coded(message)

        def stands(other):
            reader = Reader(other)
            try:
                return all(reader.take(bounds) == symbol for bounds, symbol in message)
            except Damaged:
                return False

        assert stands(payload) and stands(payload + bytes(9))
        number, length = int.from_bytes(payload, "big"), len(payload)
        # The last two enclose the payload: if neither stands for the message, nothing does that is a byte shorter.
        for other, length in ((number - 1, length), (number >> 8, length - 1), ((number >> 8) + 1, length - 1)):
            if payload and other < 256**length:
                assert not stands(other.to_bytes(length, "big"))


def test_a_number_beyond_the_last_interval_is_refused():
    with pytest.raises(Damaged):
        Reader(b"\xff" * 8).take(np.array([0, 2**BITS]))
    assert coded([]) == b"" and coded([(np.array([0, 2**23, 2**24]), 1)]) == b"\x80"


def test_the_same_codes_as_plain_and_the_same_bytes(bundle, coder, tokens, plain):
    frames = bundle.frames(tokens[1])
    assert frames == bundle.frames(plain[1])
    for count, payload in tokens[1].blocks:
        assert payload == coder.encode(frames[:count])
        frames = frames[count:]


def test_packets_that_begin_with_copies_have_the_same_bytes(coder):
    golden = Path(__file__).resolve().parents[2] / "model/tests"
    codes = np.fromfile(golden / "golden/tokens.u16le", "<u2").reshape(-1, 12)[:, :6].tolist()
    told = re.search(r'COPIES_HASH: &str = "(\w+)"', (golden / "golden.rs").read_text())[1]
    made, first = hashlib.sha256(), 12
    for count, copied, depth in itertools.cycle([(3, 3, 1), (3, 6, 3), (1, 12, 2), (12, 1, 4), (6, 5, 2), (2, 0, 1)]):
        if first + count > len(codes):
            break
        copies = [frame[:depth] for frame in codes[first - copied : first]]
        payload = coder.encode(copies + codes[first : first + count])
        made.update(len(payload).to_bytes(4, "big") + payload)
        first += count
    assert made.hexdigest() == told


def both_codings(bundle, coder, codes, counts):
    """Files of these codes in blocks of these lengths, in either coding."""
    head = (bundle.tokens, bundle.sample_rate, bundle.frame_samples, codes.shape[1], bundle.manifest["name"])
    parts = np.split(codes, np.cumsum(counts)[:-1])
    for coding in (ptk.PLAIN, ptk.TRANSFORMER):
        file = TokenFile(*head, coding, samples=(len(codes) - bundle.delay_frames) * bundle.frame_samples)
        for frames in map(np.ndarray.tolist, parts):
            payload = ptk.pack(frames, bundle.sizes) if coding == ptk.PLAIN else coder.encode(frames)
            file.blocks.append((len(frames), payload))
        yield file


def test_any_codes_decode_to_the_same_sound_as_plain(parlo, bundle, coder, plain, tmp_path):
    """Codes that no encoder chose, deep and shallow, and speech for longer than the model looks back."""
    random = np.random.default_rng(4)
    speech = np.array(bundle.frames(plain[1]))
    wild = np.stack([random.integers(0, size, 30) for size in bundle.sizes], 1)
    for codes, counts in ((wild, [1, 2, 27]), (wild[:, :1], [30]), (np.tile(speech, (2, 1))[:310, :2], [300, 10])):
        heard = []
        for file in both_codings(bundle, coder, codes, counts):
            assert bundle.frames(file) == codes.tolist()
            tokens, sound = tmp_path / f"{file.coding}.ptk", tmp_path / f"{file.coding}.wav"
            tokens.write_bytes(file.to_bytes())
            parlo.run("decode", "--force", "--bundle", bundle.folder, tokens, sound)
            heard.append(sound.read_bytes())
        assert heard[0] == heard[1]


def test_payloads_that_no_encoder_makes_are_refused(parlo, bundle, coder, tokens, tmp_path):
    """What of them is sure: most bytes stand for some codes, and none for all of them 0. Checksums guard the others."""
    file = TokenFile.parse(tokens[0].read_bytes())
    count, payload = file.blocks[-1]
    others = {
        "zeros at the end": (count, payload + b"\0"),
        "more than is read": (count, payload + bytes(16) + b"\1"),
        "more than the frames take": (count // 2, payload),
        "beyond all codes": (count, b"\xff" * len(payload)),
    }
    for name, other in others.items():
        file.blocks[-1] = other
        with pytest.raises(Damaged):
            bundle.frames(file)
        (tmp_path / "bad.ptk").write_bytes(file.to_bytes())
        said = parlo.refuses("decode", "--bundle", bundle.folder, tmp_path / "bad.ptk", tmp_path / "out.wav")
        assert "bad.ptk" in said, f"{name}: {said}"
