"""What several tests need: the model, the clip that ships, and a recording of a call."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

import parlo

CLIP = Path(__file__).parents[3] / "assets" / "speech.flac"
# The clip's rate, Hz.
RATE = 24000


@pytest.fixture(scope="session")
def codec():
    return parlo.Codec()


@pytest.fixture(scope="session")
def wave():
    """The clip, float32 [N] at 24 kHz."""
    soundfile = pytest.importorskip("soundfile")
    return soundfile.read(CLIP, dtype="float32")[0]


def write_call(path: Path, codec: parlo.Codec, streams: dict[str, tuple[float, np.ndarray]]) -> None:
    """Writes a token file of version 2, which the package reads but does not write, as docs/file.md says.

    `streams` are names, with the second that the first frame begins at and codes [K, T]; up to 500 frames each.
    """
    depth = max(len(codes) for _, codes in streams.values())
    frame = codec.frame_samples
    fields = bytes.fromhex(codec.bundle_id) + struct.pack(">IIBBB", codec.sampling_rate, frame, depth, 0, len(codec.name))
    fields += codec.name.encode() + _field(1, struct.pack(">Q", 1_800_000_000_000))
    for number, name in enumerate(streams):
        fields += _field(2, bytes([number]) + name.encode())
    out = _sealed(bytes.fromhex("8950544B0D0A1A0A") + struct.pack(">BH", 2, len(fields)) + fields)
    count = end = 0
    for number, (start, codes) in enumerate(streams.values()):
        frames = codes.shape[1]
        bits = "".join(f"{code:010b}" for column in codes.T for code in column)
        packed = int(bits.ljust(-len(bits) // 8 * -8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
        payload = struct.pack(">BI", number, round(start * 1000))
        # Runs, as long as their codes' length may be told in two bytes.
        payload += bytes([0x80]) + _number(frames) + bytes([len(codes)]) + _number(len(packed)) + packed
        out += _sealed(struct.pack(">BHI", 1, frames, len(payload)) + payload)
        count, end = count + frames, max(end, round(start * 1000 + frames * 1000 / codec.frame_rate))
    out += _sealed(struct.pack(">BHIQIQ", 2, 0, 20, count, end, 0))
    path.write_bytes(out)


def _field(tag: int, content: bytes) -> bytes:
    return struct.pack(">BH", tag, len(content)) + content


def _number(value: int) -> bytes:
    return bytes([value]) if value < 128 else struct.pack(">H", 0x8000 | value)


def _sealed(content: bytes) -> bytes:
    """With its CRC32C."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return content + struct.pack(">I", crc ^ 0xFFFFFFFF)
