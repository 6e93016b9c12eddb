"""Sound files: WAV, FLAC, MP3 and Ogg (Opus, Vorbis, FLAC), read as ``parlo encode`` reads them."""

import os
import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parlo import _native


class AudioWarning(UserWarning):
    """Something of a sound file was damaged or missing; what was there was read."""


class Sound(NamedTuple):
    """One channel of sound."""

    samples: NDArray[np.float32]
    """[N], -1 to 1."""
    rate: int
    """Hz."""


def read_audio(path: str | os.PathLike[str], channel: str | int = "auto") -> Sound:
    """Reads all of a sound file, its channels as one.

    Parameters
    ----------
    path
        The file.
    channel
        ``"auto"``: by what is in the channels, so that a voice in one of them, or inverted in another, is as loud as it was;
        ``"mix"``: their mean; ``"left"``, ``"right"``, or a number from 1 on.

    Returns
    -------
    Samples, float32 [N], and their rate, Hz. What is known to be missing in the middle is silence.

    Warns
    -----
    AudioWarning
        Of what was damaged or missing.

    Raises
    ------
    OSError
        If the file cannot be read.
    FileError
        If it is no sound file, or holds no sound.
    ValueError
        If there is no such channel, or its rate or channels are not possible.
    """
    samples, rate, told = _native.read_audio(os.fspath(path), str(channel))
    for sentence in told:
        warnings.warn(f"{os.fspath(path)!r}: {sentence}", AudioWarning, stacklevel=2)
    return Sound(samples, rate)
