"""What several tests need: the model, the clip that ships, and a recording of a call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import parlo
import ptk

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
    """Writes a token file of streams, which the package reads but does not write.

    `streams` are names, with the second that the first frame begins at and codes [K, T]; up to 500 frames each.
    """
    tokens = ptk.TokenFile(
        bytes.fromhex(codec.tokens_id),
        codec.sampling_rate,
        codec.frame_samples,
        max(len(codes) for _, codes in streams.values()),
        codec.name,
    )
    blocks = []
    for number, (start, codes) in enumerate(streams.values()):
        payload = ptk.pack(codes.T.tolist(), [codec.codebook_size] * len(codes))
        blocks.append((number, round(start * 1000), [ptk.Run("real", codes.shape[1], len(codes), payload)]))
    file = ptk.StreamsFile(tokens, 1_800_000_000_000, dict(enumerate(streams)), {}, blocks)
    path.write_bytes(file.to_bytes())
