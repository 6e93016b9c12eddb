"""Where in its cycle a voice is: the phase of the glottal pulses, every 5 ms, and their polarity.

Pitch says how long a cycle is; this says where one begins. The decoder's oscillator is driven by
it in training, so that a distance that sees phase has something to say about each harmonic
relative to the pulse (docs/training.md).

The pulses are found in the residual of a linear prediction, in which the vocal tract's phases are
mostly undone: the harmonics of a window of 30 ms, turned back by a candidate for the pulse's
place, add up where the candidate is right. A Viterbi search follows the best candidate through
each voiced stretch. Sign: the residual's strong peaks point down or up, by the microphone; the
sign that gives the sharper pulses over a whole clip is the polarity.
"""

from __future__ import annotations

import numpy as np

STEPS = 200  # phases a second
CANDIDATES = 64  # places in a cycle that are tried
TOP = 4000.0  # Hz: harmonics up to here count
ORDER = 18  # of the linear prediction, at 16 kHz
WINDOW = 0.03  # seconds of residual that a phase is read from
STIFFNESS = 20.0  # cost of a phase that moves against the pitch by an eighth of a cycle
UNVOICED = 0.02  # that cost where there is no voice, relative to it


def residual(audio: np.ndarray, rate: int) -> np.ndarray:
    """The linear prediction's residual [samples] of audio [samples], in frames of 25 ms."""
    hop, size = rate // STEPS, rate // 40
    order = ORDER * rate // 16000
    count = len(audio) // hop + 1
    padded = np.pad(audio, (size // 2, size))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[: count * hop : hop]
    coefficients = np.empty((len(windows), order + 1))
    for at in range(0, len(windows), 1024):
        part = windows[at : at + 1024] * np.hanning(size)
        power = np.abs(np.fft.rfft(part, 2 * size)) ** 2
        correlation = np.fft.irfft(power)[:, : order + 1]
        coefficients[at : at + 1024] = _levinson(correlation)
    past = np.pad(audio, (order + hop // 2, 2 * hop))
    # each stretch of a hop by the prediction around it
    rows = np.lib.stride_tricks.sliding_window_view(past, hop + order)[::hop][: len(windows)]
    taps = np.lib.stride_tricks.sliding_window_view(rows, order + 1, axis=1)
    found = np.einsum("rhk,rk->rh", taps, coefficients[:, ::-1], optimize=True)
    return found.reshape(-1)[hop // 2 :][: len(audio)]


def _levinson(correlation: np.ndarray) -> np.ndarray:
    """Prediction filters [rows, order + 1], the first tap 1, of autocorrelations, row by row."""
    rows, taps = correlation.shape
    error = correlation[:, 0] * 1.0001 + 1e-9
    filters = np.zeros((rows, taps))
    filters[:, 0] = 1
    for i in range(1, taps):
        inner = (filters[:, 1:i] * correlation[:, i - 1 : 0 : -1]).sum(1)
        reflection = -(correlation[:, i] + inner) / error
        filters[:, 1:i] += reflection[:, None] * filters[:, i - 1 : 0 : -1].copy()
        filters[:, i] = reflection
        error = error * (1 - reflection**2)
    return filters


def track(audio: np.ndarray, hertz: np.ndarray, rate: int) -> tuple[np.ndarray, float]:
    """Phases of the pulses in cycles, 0..1, every 5 ms, and how much sharper the pulses are with
    the audio's own sign than turned over (below 0: they point the other way).

    audio: float [samples]; hertz: pitch every 5 ms, below 0 where it is only held. A pulse is where
    the phase passes a whole number. The phases are those of the sharper sign.
    """
    hop, count = rate // STEPS, len(hertz)
    if count == 0 or not (hertz > 0).any():
        return np.zeros(count), 0.0
    pitch = np.abs(hertz).astype(np.float64).clip(50, 600)
    samples = count * hop
    audio = np.pad(audio.astype(np.float64), (0, max(0, samples - len(audio))))[:samples]
    at = np.arange(samples) / hop
    cycles = np.cumsum(np.exp(np.interp(at, np.arange(count), np.log(pitch)))) / rate
    scores = _scores(residual(audio, rate), cycles, pitch, rate)
    voiced = hertz > 0
    sharper = float(scores[voiced].max(1).sum() + scores[voiced].min(1).sum())
    places = _viterbi(scores if sharper >= 0 else -scores, voiced)
    return np.mod(cycles[::hop][:count] - places, 1.0), sharper


def _scores(found: np.ndarray, cycles: np.ndarray, pitch: np.ndarray, rate: int) -> np.ndarray:
    """How well a pulse at each candidate place fits [steps, CANDIDATES]; places are in cycles of
    the steady oscillator `cycles`, so that they hardly move while the pitch is right."""
    hop, half = rate // STEPS, int(WINDOW * rate) // 2
    window = np.hanning(2 * half + 1)[:-1]
    sound = np.pad(found, (half, half))
    turns = np.pad(np.mod(cycles, 1.0), (half, half), mode="edge")
    view = np.lib.stride_tricks.sliding_window_view
    sound, turns = (view(x, 2 * half)[::hop][: len(pitch)] for x in (sound, turns))
    scores = np.zeros((len(pitch), CANDIDATES))
    for at in range(0, len(pitch), 128):
        part = slice(at, at + 128)
        back = np.exp(-2j * np.pi * turns[part]).astype(np.complex64)
        seen = (sound[part] * window).astype(np.complex64)
        most = int(TOP / pitch[part].min())
        spectrum = np.zeros((len(seen), most + 1), np.complex64)
        for harmonic in range(1, most + 1):
            seen *= back
            spectrum[:, harmonic] = seen.sum(1)
        number = np.arange(most + 1)
        spectrum *= (number > 0) & (number * pitch[part, None] < TOP)
        used = np.maximum((np.abs(spectrum) > 0).sum(1, keepdims=True), 1)
        level = np.sqrt((np.abs(spectrum) ** 2).sum(1, keepdims=True) / used) + 1e-9
        spectrum /= level
        # magnitudes to the power of a half: phases of weak harmonics count too
        spectrum /= np.sqrt(np.abs(spectrum) + 1e-3)
        turned = np.exp(2j * np.pi * number[:, None] * np.arange(CANDIDATES) / CANDIDATES)
        scores[part] = (spectrum @ turned).real / used
    return scores


def _viterbi(scores: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """Places in cycles [steps]: the candidates' best path, refined between them."""
    count = len(scores)
    place = np.arange(CANDIDATES) / CANDIDATES
    apart = np.abs(place[:, None] - place)
    apart = np.minimum(apart, 1 - apart)
    stiff = STIFFNESS * (8 * apart) ** 2
    weight = np.where(voiced, 1.0, 0.05)
    best = np.zeros((count, CANDIDATES), np.int64)
    total = weight[0] * scores[0]
    for step in range(1, count):
        cost = stiff if voiced[step] and voiced[step - 1] else UNVOICED * stiff
        reach = total[None] - cost
        best[step] = reach.argmax(1)
        total = reach.max(1) + weight[step] * scores[step]
    path = np.zeros(count, np.int64)
    path[-1] = total.argmax()
    for step in range(count - 1, 0, -1):
        path[step - 1] = best[step, path[step]]
    row = np.arange(count)
    left, middle = scores[row, path - 1], scores[row, path]
    right = scores[row, (path + 1) % CANDIDATES]
    bend = left - 2 * middle + right
    shift = np.where(bend < -1e-9, 0.5 * (left - right) / np.where(bend < -1e-9, bend, 1.0), 0.0)
    found = np.unwrap((path + shift.clip(-0.5, 0.5)) / CANDIDATES, period=1.0)
    smooth = np.hanning(7)[1:-1]
    smooth /= smooth.sum()
    return np.convolve(np.pad(found, 2, mode="edge"), smooth, mode="valid")
