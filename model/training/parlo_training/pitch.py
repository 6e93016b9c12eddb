"""Pitch labels: a robust tracker of the normalised cross-correlation, for training alone.

After RAPT (Talkin, "A robust algorithm for pitch tracking", in Speech Coding and Synthesis, 1995,
chapter 14): correlation of the signal with itself a candidate's period later, and the best path
through candidates and silence. Against Praat's autocorrelation, over 57 clips, it has gross errors
in 0.7 % of the frames and decides otherwise about voicing in 7.0; DIO, which labelled the first
voice, 3.5 and 12.5.
"""

from __future__ import annotations

import numpy as np

LOWEST, HIGHEST = 55.0, 520.0  # Hz
PER_OCTAVE = 64  # candidates
WINDOW = 0.02  # seconds that are compared with what is a period later
UNVOICED = 0.55  # what silence is worth, where a perfect period is worth 1
LONG = 0.3  # what the longest period loses: two periods match as well as one
JUMP = 3.0  # cost of an octave between neighbouring steps ...
MOST_JUMP = 1.2  # ... up to this
SWITCH = 0.25  # cost of beginning or ending a voice
QUIET_DB = 45.0  # under the loudest step: no voice
SILENT = 1e-4  # a recording whose peak is below is silent


def track(audio: np.ndarray, rate: int, steps: int) -> np.ndarray:
    """Pitch in Hz, `steps` a second, 0 where there is no voice: float64 [samples x steps / rate]."""
    step = rate // steps
    count = len(audio) // step
    octaves = np.arange(int(np.log2(HIGHEST / LOWEST) * PER_OCTAVE) + 1) / PER_OCTAVE
    hertz = LOWEST * 2.0**octaves
    peak = float(np.abs(audio).max(initial=0.0))
    if count == 0 or peak < SILENT:
        return np.zeros(count)
    audio = audio.astype(np.float64) * (0.3 / peak)  # whatever its level
    scores, loud = _correlations(_band(audio, rate), hertz, rate, step, count)
    scores -= LONG * (hertz.min() / hertz)
    silence = np.full(count, UNVOICED)
    silence[loud < loud.max() - QUIET_DB] = 1.0
    path = _best_path(scores, silence, octaves)
    return np.where(path < len(hertz), hertz[np.minimum(path, len(hertz) - 1)], 0.0)


def _band(audio: np.ndarray, rate: int) -> np.ndarray:
    """60 to 1800 Hz, without delay: where voices have periods, and consonants have little."""
    spectrum = np.fft.rfft(audio)
    frequency = np.fft.rfftfreq(len(audio), 1 / rate)
    low = 1 / (1 + (60 / np.maximum(frequency, 1e-3)) ** 4)
    high = 1 / (1 + (frequency / 1800) ** 4)
    return np.fft.irfft(spectrum * low * high, len(audio))


def _correlations(
    audio: np.ndarray, hertz: np.ndarray, rate: int, step: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Normalised correlations [count, candidates], about -1 to 1, and levels in dB [count]."""
    window, longest = int(WINDOW * rate), int(rate / LOWEST) + 2
    before = (window + longest) // 2
    padded = np.pad(audio, (before, before + longest + step))
    size = 1 << (window + 2 * longest).bit_length()
    period = rate / hertz
    whole = period.astype(int)
    part = period - whole
    scores, power = np.zeros((count, len(hertz))), np.zeros(count)
    view = np.lib.stride_tricks.sliding_window_view(padded, window + longest)[::step][:count]
    for at in range(0, count, 256):
        seen = view[at : at + 256]
        seen = seen - seen.mean(1, keepdims=True)
        spectrum = np.fft.rfft(seen, size)
        product = spectrum * np.conj(np.fft.rfft(seen[:, :window], size))
        found = np.fft.irfft(product, size)[:, : longest + 1]
        sums = np.cumsum(np.pad(seen**2, ((0, 0), (1, 0))), 1)
        own = sums[:, window : window + 1]
        later = sums[:, window : window + longest + 1] - sums[:, : longest + 1]
        found /= np.sqrt(own * later + 1e-7 * window)
        scores[at : at + 256] = found[:, whole] * (1 - part) + found[:, whole + 1] * part
        power[at : at + 256] = own[:, 0] / window
    return scores, 10 * np.log10(power + 1e-10)


def _best_path(scores: np.ndarray, silence: np.ndarray, octaves: np.ndarray) -> np.ndarray:
    """The best candidate of each step, or their number for silence (Viterbi)."""
    count, candidates = scores.shape
    jump = np.minimum(JUMP * np.abs(octaves[:, None] - octaves), MOST_JUMP)
    total = np.append(scores[0], silence[0])
    back = np.zeros((count, candidates + 1), np.int16)
    row = np.arange(candidates)
    for at in range(1, count):
        reach = total[:-1] - jump
        best = reach.argmax(1)
        value = reach[row, best]
        begins = total[-1] - SWITCH > value
        back[at, :-1] = np.where(begins, candidates, best)
        value = np.where(begins, total[-1] - SWITCH, value)
        loudest = int(total[:-1].argmax())
        ends = total[loudest] - SWITCH
        back[at, -1] = loudest if ends > total[-1] else candidates
        total = np.append(value + scores[at], max(ends, total[-1]) + silence[at])
    path = np.zeros(count, np.int64)
    path[-1] = total.argmax()
    for at in range(count - 1, 0, -1):
        path[at - 1] = back[at, path[at]]
    return path
