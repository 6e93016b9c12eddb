"""Sound files as libsndfile writes them and as the world bends them: samples out against a count that is not Parlo's."""

import io
import json
import struct

import numpy as np
import pytest
import soundfile

RATE = 16000


def voice(seconds, rate=RATE, seed=3):
    """A buzz through a resonance: something in every frame."""
    rng = np.random.default_rng(seed)
    n = int(seconds * rate)
    x = (np.arange(n) % (rate // 120) == 0) + 0.01 * rng.standard_normal(n)
    y = np.zeros(n)
    for k in range(2, n):
        y[k] = x[k] + 1.6 * y[k - 1] - 0.81 * y[k - 2]
    return (0.4 * y / np.abs(y).max()).astype(np.float32)


def encoded(samples, rate, kind, subtype=None):
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=kind, subtype=subtype)
    return out.getvalue()


def pages(data):
    at, found = 0, []
    while at < len(data):
        count = data[at + 26]
        size = 27 + count + sum(data[at + 27 : at + 27 + count])
        found.append(bytearray(data[at : at + size]))
        at += size
    return found


def sealed(page):
    page[22:26] = bytes(4)
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7) & 0xFFFFFFFF if crc & 0x80000000 else crc << 1
    page[22:26] = struct.pack("<I", crc)
    return bytes(page)


def renumbered(data, serial):
    out = b""
    for page in pages(data):
        page[14:18] = struct.pack("<I", serial)
        out += sealed(page)
    return out


def without(data, lost):
    return b"".join(bytes(page) for n, page in enumerate(pages(data)) if n != lost)


def without_granules(data):
    found = pages(data)
    for n, page in enumerate(found):
        if 3 <= n < len(found) - 1 and n % 2:
            page[6:14] = b"\xff" * 8
    return b"".join(sealed(page) for page in found)


def id3v2(size):
    body = bytes(np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)) + b"\xff\xf3\x84\xc4" * 50
    return b"ID3\4\0\0" + bytes(len(body) >> shift & 127 for shift in (21, 14, 7, 0)) + body


LONG = voice(4.0)
WIDE = voice(4.0, 48000)


@pytest.fixture(scope="module")
def made():
    """Files by name: bytes, samples at 16 kHz that there are, exit code."""
    opus = encoded(WIDE, 48000, "OGG", "OPUS")
    vorbis, flac, mp3 = (encoded(LONG, RATE, *kind) for kind in (("OGG", "VORBIS"), ("FLAC",), ("MP3",)))
    slow = encoded(voice(2.0, 8000), 8000, "MP3")
    n = len(LONG)
    middle = {"opus": len(pages(opus)) // 2, "ogg": len(pages(vorbis)) // 2}
    files = {
        "plain.opus": (opus, n, 0), "plain.ogg": (vorbis, n, 0), "plain.flac": (flac, n, 0), "plain.mp3": (mp3, n, 0),
        "joined.mp3": (mp3 + mp3, 2 * n, 0), "tagged.mp3": (id3v2(1_200_000) + mp3 + b"TAG" + bytes(125), n, 0),
        "changes.mp3": (mp3 + slow, n + 32000, 0), "joined.flac": (flac + flac, 2 * n, 0),
        "tagged.flac": (id3v2(70_000) + flac + b"TAG" + bytes(125), n, 0),
        "chained.opus": (renumbered(opus, 1) + renumbered(opus, 2), 2 * n, 0),
        "chained.ogg": (renumbered(vorbis, 1) + renumbered(vorbis, 2), 2 * n, 0),
        "kinds.ogg": (renumbered(vorbis, 1) + renumbered(opus, 2), 2 * n, 0),
        "lost.opus": (without(opus, middle["opus"]), n, 3), "lost.ogg": (without(vorbis, middle["ogg"]), n, 3),
        "timeless.opus": (without_granules(opus), n, 0), "timeless.ogg": (without_granules(vorbis), n, 0),
    }  # fmt: skip
    five = np.zeros((len(LONG), 6), np.float32)
    five[:, 2] = LONG
    files["surround.flac"] = (encoded(five, RATE, "FLAC"), n, 0)
    # Vorbis and Opus of libsndfile take many channels too.
    files["surround.ogg"] = (encoded(five, RATE, "OGG", "VORBIS"), n, 0)
    files["surround.opus"] = (encoded(np.repeat(WIDE[:, None], 6, 1), 48000, "OGG", "OPUS"), n, 0)
    for kind in ("AIFF", "W64"):
        files[f"other.{kind.lower()}"] = (encoded(LONG, RATE, kind, "PCM_16"), None, 1)
    for kind, subtype in (("RF64", "PCM_16"), ("WAVEX", "PCM_24"), ("WAV", "ULAW"), ("WAV", "ALAW"), ("WAV", "DOUBLE")):
        files[f"{kind}-{subtype}.wav"] = (encoded(LONG, RATE, kind, subtype), n, 0)
    return files


def test_as_many_samples_come_in_as_there_are(parlo, made, tmp_path):
    for name, (data, samples, code) in made.items():
        (tmp_path / name).write_bytes(data)
        tokens = tmp_path / (name + ".ptk")
        done = parlo.result("encode", "--beam", 1, tmp_path / name, tokens)
        assert done.returncode == code, f"{name}: {done.stderr}"
        assert bool(done.stderr) == (code != 0), f"{name}: {done.stderr}"
        if samples is None:
            assert not tokens.exists()
            continue
        found = json.loads(parlo.run("info", "--json", tokens))["samples"]
        assert found == samples, f"{name}: {found}, not {samples}"
