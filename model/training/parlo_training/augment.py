"""What a batch of clean speech goes through before the codec hears it: levels, rooms, noise.

Everything is drawn from one CPU generator, with the same number of draws whatever the
configuration, and computed for the whole batch at once on the device the speech lies on.
Linear filters (equalisation, band limits, rooms) share one forward and one inverse FFT, taken
of the items that drew any of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor
from torch.nn.functional import pad

from .errors import UserError

SHARES = ("equalise", "band_limit", "room", "noise", "talkers", "alone", "tones", "clip")
PEAK = 0.99
EQUALISE_DB = 8.0
LOW_CUT_HZ = (50.0, 300.0)
HIGH_CUT_HZ = (3400.0, 7500.0)
TALKER_DB = (-10.0, 0.0)
CLIP_DB = (3.0, 12.0)
# Under this ratio of speech to noise, the clean speech's pitch is no longer what can be heard.
PITCH_SNR_DB = 10.0
# A crop of a pause must not become as loud as speech.
MOST_GAIN_DB = 24.0
# Noise quieter than this (RMS) is a gap in a recording, not noise to be brought up to a level.
LEAST_NOISE = 1e-4

# The slowest filter, a low cut at 50 Hz, has decayed by 120 dB after this time.
_TAIL_S = 1 / 16
_CURVE_TERMS = 5
TONES = 4  # at most, at once
TONE_HZ = (80.0, 5000.0)


@dataclass(frozen=True)
class AugmentConfig:
    """How often an item of a batch meets each augmentation (probabilities, 0..1), and how much.

    A second talker is in the target as well, whatever `clean_target` says.

    Raises UserError for a probability beyond 0..1, or a range that is not [low, high].
    """

    gain_db: tuple[float, float] = (-34.0, -16.0)  # level: RMS over active frames, dBFS
    equalise: float = 0.3  # a smooth random spectral curve, within +-8 dB
    band_limit: float = 0.1  # a low cut at 50..300 Hz and a high cut at 3.4..7.5 kHz
    room: float = 0.1  # a room's impulse response, its direct path undelayed
    noise: float = 0.15
    noise_snr_db: tuple[float, float] = (5.0, 30.0)  # the speech's level over the noise's RMS
    talkers: float = 0.03  # a second talker out of the same batch, at -10..0 dB
    alone: float = 0.0  # noise or music without speech, at the speech's level
    tones: float = 0.0  # a few steady or gliding tones instead of speech
    clip: float = 0.02  # hard clipping of the input alone, 3..12 dB under its peak
    clean_target: bool = False  # False: the target keeps noise and room, as a codec should

    def __post_init__(self):
        for name in SHARES:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UserError(f"augment.{name} must be 0 to 1, not {getattr(self, name)}")
        for name in ("gain_db", "noise_snr_db"):
            limits = getattr(self, name)
            if len(limits) != 2 or not limits[0] <= limits[1]:
                raise UserError(f"augment.{name} must be [low, high], not {list(limits)}")


@dataclass
class Augmented:
    """A batch after augmentation.

    input: [B, T], what the encoder hears; |x| < 1.
    target: [B, T], what the decoder is to say; |x| < 1.
    pitch_known: [B] bool, False where a second talker, or noise at a ratio under 10 dB, makes a
        pitch label of the clean speech untrue.
    tones: [B] bool, True where there are tones instead of speech.
    """

    input: Tensor
    target: Tensor
    pitch_known: Tensor
    tones: Tensor


class _Draws:
    """All that chance decides about a batch: columns [B] on the CPU, in 0..1 or bool."""

    _UNIFORM = (
        *("gain", "talker", "talker_shift", "talker_db", "equalise", "depth"),
        *("band_limit", "low_cut", "high_cut", "room", "room_index"),
        *("noise", "noise_start", "noise_snr", "clip", "clip_db"),
        *("alone", "alone_start", "tones"),
    )

    def __init__(
        self, config: AugmentConfig, batch: int, generator: torch.Generator, off: set[str]
    ):
        def uniform(rows: int) -> Tensor:
            # Doubles: a start within hours of noise needs more than the 24 bits of a float.
            return torch.rand(rows, batch, generator=generator, dtype=torch.float64)

        self._column = dict(zip(self._UNIFORM, uniform(len(self._UNIFORM))))
        self.curves = (uniform(_CURVE_TERMS) * 2 - 1).t()
        self.tone = uniform(4 * TONES).t().unflatten(1, (4, TONES))

        def chosen(name: str, probability: float) -> Tensor:
            return self._column[name] < (0.0 if name in off else probability)

        self.talker = chosen("talker", config.talkers)
        self.equalise = chosen("equalise", config.equalise)
        self.band_limit = chosen("band_limit", config.band_limit)
        self.room = chosen("room", config.room)
        self.noise = chosen("noise", config.noise)
        self.clip = chosen("clip", config.clip)
        self.alone = chosen("alone", config.alone)
        self.tones = chosen("tones", config.tones) & ~self.alone
        self.snr_db = self.between("noise_snr", config.noise_snr_db)

    def between(self, name: str, limits: tuple[float, float]) -> Tensor:
        low, high = limits
        return low + self._column[name] * (high - low)

    def index(self, name: str, count: int) -> Tensor:
        return (self._column[name] * count).long()


class Augment:
    """Augments batches as `config` says.

    rate: sampling rate of everything, Hz.
    noise: float32 [N], all noise recordings end to end; None: no noise is added.
    rooms: float32 [R, L], impulse responses from their direct path on, each of unit energy; None:
        no rooms. Both may lie on another device than the speech.

    Raises ValueError for tensors of other shapes, or empty ones.
    """

    def __init__(
        self, config: AugmentConfig, rate: int, noise: Tensor | None, rooms: Tensor | None
    ):
        if noise is not None and (noise.dim() != 1 or noise.numel() == 0):
            raise ValueError(f"noise is [N], not {list(noise.shape)}")
        if rooms is not None and (rooms.dim() != 2 or rooms.numel() == 0):
            raise ValueError(f"rooms are [R, L], not {list(rooms.shape)}")
        self.config = config
        self.rate = rate
        self.noise = noise
        self.rooms = rooms
        self._terms: dict[tuple[int, torch.device], Tensor] = {}

    @torch.no_grad()
    def __call__(self, speech: Tensor, generator: torch.Generator) -> Augmented:
        """Augments speech, float32 [B, T], which is left as it is; `generator` is a CPU generator.

        Raises ValueError if speech is not [B, T] with at least one sample.
        """
        if speech.dim() != 2 or speech.numel() == 0:
            raise ValueError(f"speech is [B, T], not {list(speech.shape)}")
        off = {"noise", "alone"} if self.noise is None else set()
        off |= {"room"} if self.rooms is None else set()
        off |= {"talker"} if len(speech) == 1 else set()
        draws = _Draws(self.config, len(speech), generator, off)

        speech = self._add_talkers(speech, draws)
        speech = self._replace(speech, draws)
        noise = self._cut_noise(speech, draws)
        input, target, noise = self._filter(speech, noise, draws)
        # Levels are those of the speech without noise, so that a ratio means what it says.
        level = _decibels(draws.between("gain", self.config.gain_db)).to(speech)
        gain = _gain(active_level(target, self.rate), level)[:, None]
        input, target = self._add_noise(input * gain, target * gain, noise, level, draws)
        input, target = self._limit(input, target, draws)
        other = draws.talker | draws.alone | draws.tones
        known = ~(other | (draws.noise & (draws.snr_db < PITCH_SNR_DB)))
        return Augmented(input, target, known.to(speech.device), draws.tones.to(speech.device))

    def _add_talkers(self, speech: Tensor, draws: _Draws) -> Tensor:
        """speech [B, T] with another item of the batch added where that was drawn."""
        if not draws.talker.any():
            return speech
        first = _indices(draws.talker)
        shift = 1 + draws.index("talker_shift", len(speech) - 1)[first]
        second = (first + shift) % len(speech)
        relative = _decibels(draws.between("talker_db", TALKER_DB)[first]).to(speech)
        first, second = first.to(speech.device), second.to(speech.device)
        levels = active_level(speech, self.rate)
        gain = _gain(levels[second], levels[first]) * relative
        return speech.index_add(0, first, speech[second] * gain[:, None])

    def _replace(self, speech: Tensor, draws: _Draws) -> Tensor:
        """speech [B, T] with noise or tones in the place of items that drew these."""
        length = speech.shape[1]
        if draws.alone.any():
            at = _indices(draws.alone)
            start = draws.index("alone_start", self.noise.numel())[at].to(self.noise.device)
            offset = torch.arange(length, device=self.noise.device)
            noise = self.noise[(start[:, None] + offset).remainder_(self.noise.numel())].to(speech)
            speech = speech.index_copy(0, at.to(speech.device), noise)
        if draws.tones.any():
            at = _indices(draws.tones)
            tones = _tones(draws.tone[at], length, self.rate).to(speech)
            speech = speech.index_copy(0, at.to(speech.device), tones)
        return speech

    def _cut_noise(self, speech: Tensor, draws: _Draws) -> Tensor:
        """A stretch of noise for each item that drew it: [n, T]."""
        length = speech.shape[1]
        if not draws.noise.any():
            return speech.new_zeros(0, length)
        total = self.noise.numel()
        start = draws.index("noise_start", total)[draws.noise].to(self.noise.device)
        offset = torch.arange(length, device=self.noise.device)
        # From the end on to the beginning: even all noise together may be shorter than a crop.
        return self.noise[(start[:, None] + offset).remainder_(total)].to(speech)

    def _filter(
        self, speech: Tensor, noise: Tensor, draws: _Draws
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Input and target [B, T] and noise [n, T], each through what its item drew of filters.

        Speech goes through its room and then, as noise does, through the microphone.
        """
        microphone = draws.equalise | draws.band_limit
        rows = _indices(microphone | draws.room)
        if len(rows) == 0:
            return speech, speech, noise
        device, length = speech.device, speech.shape[1]
        tinted = _indices(microphone[draws.noise])
        roomed = _indices(draws.room[rows])
        tail = math.ceil(_TAIL_S * self.rate)
        size = _fast_size(length + max(tail, 0 if self.rooms is None else self.rooms.shape[1]))

        signals = torch.cat([speech[rows.to(device)], noise[tinted.to(device)]])
        count = len(signals)
        signals = pad(signals, (0, size - length))
        if len(roomed):
            index = draws.index("room_index", len(self.rooms))[rows[roomed]]
            rooms = self.rooms[index.to(self.rooms.device)].to(speech)
            signals = torch.cat([signals, pad(rooms, (0, size - rooms.shape[1]))])
        spectra = torch.fft.rfft(signals)
        owners = torch.cat([rows, _indices(draws.noise)[tinted]])
        dry = spectra[:count] * self._microphone(owners, size, device, draws)
        wet = dry[roomed.to(device)] * spectra[count:]
        filtered = torch.fft.irfft(torch.cat([dry, wet]), n=size)[:, :length]

        target = speech.index_copy(0, rows.to(device), filtered[: len(rows)])
        noise = noise.index_copy(0, tinted.to(device), filtered[len(rows) : count])
        input = target.index_copy(0, rows[roomed].to(device), filtered[count:])
        return input, target if self.config.clean_target else input, noise

    def _microphone(
        self, owners: Tensor, size: int, device: torch.device, draws: _Draws
    ) -> Tensor:
        """Responses of the microphones of the items `owners`: complex [n, size // 2 + 1].

        All are causal and of minimum phase: nothing rings before its cause.
        """
        response = torch.ones(
            len(owners), size // 2 + 1, dtype=torch.complex64, device=device
        )
        at = _indices(draws.equalise[owners])
        if len(at):
            weights = draws.curves[owners[at]].to(device, torch.complex64)
            curve = weights @ self._curve_terms(size, device)
            depth = draws.between("depth", (0.0, EQUALISE_DB * math.log(10) / 20))[owners[at]]
            depth = depth.to(device, torch.float32)[:, None]
            curve *= depth / curve.real.abs().amax(dim=1, keepdim=True).clamp(min=1e-9)
            response[at.to(device)] = curve.exp()
        at = _indices(draws.band_limit[owners])
        if len(at):
            # An edge stays off the Nyquist frequency, where the bilinear transform has no room.
            low, high = HIGH_CUT_HZ
            highest = (min(low, 0.45 * self.rate), min(high, 0.47 * self.rate))
            edges = (("low_cut", LOW_CUT_HZ), ("high_cut", highest))
            low, high = (
                draws.between(name, limits)[owners[at]].to(device, torch.float32)
                for name, limits in edges
            )
            response[at.to(device)] *= _band_pass(low, high, size, self.rate)
        return response

    def _curve_terms(self, size: int, device: torch.device) -> Tensor:
        if (size, device) not in self._terms:
            self._terms[size, device] = _curve_terms(size, self.rate).to(device)
        return self._terms[size, device]

    def _add_noise(
        self, input: Tensor, target: Tensor, noise: Tensor, level: Tensor, draws: _Draws
    ) -> tuple[Tensor, Tensor]:
        """Adds noise [n, T] at its ratio under the level [B] that was drawn for the speech.

        Not under the level measured: a pause gets the noise that goes with the words around it.
        """
        if not draws.noise.any():
            return input, target
        at = _indices(draws.noise)
        loud = _decibels(-draws.snr_db[at]).to(level) * level[at.to(level.device)]
        rms = noise.square().mean(dim=1).sqrt().clamp(min=LEAST_NOISE)
        noise = noise * (loud / rms)[:, None]
        noisy = input.index_add(0, at.to(level.device), noise)
        return noisy, target if self.config.clean_target else noisy

    def _limit(self, input: Tensor, target: Tensor, draws: _Draws) -> tuple[Tensor, Tensor]:
        """Brings peaks under full scale, both alike; then clips the input where that was drawn."""
        peak = torch.maximum(input.abs().amax(dim=1), target.abs().amax(dim=1))
        scale = (PEAK / peak.clamp(min=PEAK))[:, None]
        input, target = input * scale, target * scale
        if draws.clip.any():
            under = _decibels(-draws.between("clip_db", CLIP_DB)[draws.clip]).to(input)
            at = _indices(draws.clip).to(input.device)
            loud = input[at]
            most = loud.abs().amax(dim=1, keepdim=True) * under[:, None]
            input = input.index_copy(0, at, loud.clamp(-most, most))
        return input, target


def _tones(draws: Tensor, length: int, rate: int) -> Tensor:
    """Tones [n, length] by what chance said, 0..1 [n, 4, TONES]: whether each is there (the first
    is), its frequency in an even spread of octaves, how far it glides, how loud it is."""
    there, place, glide, loud = draws.unbind(1)
    low, high = TONE_HZ
    hertz = low * (min(high, 0.45 * rate) / low) ** place
    # half of them hold their pitch, the others move by up to an octave a second
    octaves = torch.where(glide < 0.5, 0.0, 4 * (glide - 0.75))
    time = torch.arange(length, dtype=torch.float64) / rate
    hertz = (hertz[..., None] * torch.exp2(octaves[..., None] * time)).clamp(max=0.47 * rate)
    turns = hertz.cumsum(-1) / rate + place[..., None] * 17
    there = there < 0.3
    there[:, 0] = True
    gain = there * _decibels(-20 * loud)
    tones = (gain[..., None] * torch.sin(2 * math.pi * torch.remainder(turns, 1.0))).sum(1)
    return 0.1 * tones.float()


def active_level(audio: Tensor, rate: int) -> Tensor:
    """RMS of audio [B, T] over its active frames: [B], full scale being 1; zero for silence.

    A frame of 20 ms is active if it is less than 30 dB under the loudest one: a simple stand-in
    for the active speech level of ITU-T P.56, which needs more than a crop.
    """
    frame = min(rate // 50, audio.shape[1])
    frames = audio[:, : audio.shape[1] // frame * frame].unflatten(1, (-1, frame))
    power = frames.square().mean(dim=2)
    active = power >= power.amax(dim=1, keepdim=True) * 1e-3
    return ((power * active).sum(dim=1) / active.sum(dim=1)).sqrt()


def pitch_shift(speech: Tensor, to: int) -> Tensor:
    """Resamples speech [B, n] to [B, to] by truncating or padding its spectrum.

    Played at the same rate, the result has its pitch, formants and speed multiplied by n / to.
    The line from its first to its last sample is taken out before and put back after: a spectrum
    takes the crop for one turn of a loop, and a step where the ends meet would ring.

    Raises ValueError if n or `to` is under 2.
    """
    size = speech.shape[1]
    if min(size, to) < 2:
        raise ValueError(f"cannot resample {size} samples to {to}")
    if to == size:
        return speech.clone()
    time = torch.arange(max(size, to), device=speech.device, dtype=speech.dtype)
    first = speech[:, :1]
    slope = (speech[:, -1:] - first) / (size - 1)
    spectrum = torch.fft.rfft(speech - (first + slope * time[:size]))
    # Up to the lower of the two Nyquist frequencies, and without it: it has no phase.
    bins = (min(size, to) + 1) // 2
    resampled = torch.fft.irfft(spectrum[:, :bins], n=to) * (to / size)
    return resampled + (first + slope * (time[:to] * (size / to)))


def load_noise(paths: Iterable[Path], rate: int) -> Tensor:
    """Recordings' first channels at `rate` Hz, end to end: float32 [N], as Augment takes it.

    Raises UserError if a file cannot be read, or nothing is in all of them.
    """
    recordings = [_read(path, rate) for path in paths]
    total = np.concatenate(recordings) if recordings else np.zeros(0, np.float32)
    if total.size == 0:
        raise UserError("there is nothing in the noise recordings")
    return torch.from_numpy(total)


def load_rooms(paths: Iterable[Path], rate: int, seconds: float = 0.4) -> Tensor:
    """Impulse responses' first channels at `rate` Hz: float32 [R, L], L being `seconds`.

    Each begins at its direct path, fades out over its last eighth, and has unit energy.

    Raises UserError if there are none, or a file cannot be read or is silent.
    """
    length = round(seconds * rate)
    fade = np.ones(length, np.float32)
    eighth = length // 8
    fade[length - eighth :] = np.cos(np.linspace(0, np.pi / 2, eighth)) ** 2
    rooms = []
    for path in paths:
        response = _read(path, rate)
        if not np.any(response):
            raise UserError(f"the room response {path} is silent")
        response = response[_direct_path(response, rate) :][:length]
        response = np.pad(response, (0, length - len(response))) * fade
        rooms.append(response / np.sqrt(np.sum(response.astype(np.float64) ** 2)))
    if not rooms:
        raise UserError("there are no room responses")
    return torch.from_numpy(np.stack(rooms).astype(np.float32))


def _read(path: Path, rate: int) -> np.ndarray:
    try:
        audio, own_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    first = np.ascontiguousarray(audio[:, 0])
    return first if own_rate == rate else soxr.resample(first, own_rate, rate)


def _direct_path(response: np.ndarray, rate: int) -> int:
    """The sample of the first arrival's peak, which reflections together may be louder than."""
    size = np.abs(response)
    first = int(np.argmax(size >= size.max() / 2))
    # An arrival is over within a millisecond.
    return first + int(np.argmax(size[first : first + max(1, rate // 1000)]))


def _band_pass(low: Tensor, high: Tensor, size: int, rate: int) -> Tensor:
    """Butterworth responses between low and high [n] (Hz): complex [n, size // 2 + 1].

    Of second order below, as microphones are, and of eighth above, as codecs are; made digital by
    the bilinear transform, hence causal.
    """
    bins = torch.arange(size // 2 + 1, device=low.device, dtype=low.dtype)
    # Infinite at the Nyquist frequency; its square must stay within a float.
    warped = torch.tan(bins * (math.pi / size)).abs().clamp(max=1e4)

    def sections(edge: Tensor, order: int) -> tuple[Tensor, Tensor]:
        """s^2 [n, 1, F], and 1 / (s^2 + 2 d s + 1) [n, order / 2, F] for each damping d."""
        odd = torch.arange(1, order, 2, device=low.device, dtype=low.dtype)
        damping = torch.cos(odd * (math.pi / (2 * order)))[:, None]
        s = warped / torch.tan(edge * (math.pi / rate))[:, None, None]
        return -s.square(), torch.complex(1 - s.square(), 2 * damping * s).reciprocal()

    squared, low_cut = sections(low, 2)
    _, high_cut = sections(high, 8)
    return (squared * low_cut)[:, 0] * high_cut.prod(dim=1)


def _curve_terms(size: int, rate: int) -> Tensor:
    """Log spectra of minimum phase that random equalisers are sums of: complex [terms, F].

    Real parts, in nepers, are cosines along a scale like the ear's (linear up to 500 Hz,
    logarithmic above), the first being a tilt, the others ever shallower. Imaginary parts, the
    phases in radians, come by folding the real cepstrum (Oppenheim and Schafer, Discrete-Time
    Signal Processing, on minimum phase and the cepstrum); that is linear in the log spectrum, so
    it need not be done for each equaliser.
    """
    frequency = torch.arange(size // 2 + 1, dtype=torch.float64) * (rate / size)
    scale = torch.log1p(frequency / 500) / math.log1p(rate / 2 / 500)
    order = torch.arange(1, _CURVE_TERMS + 1, dtype=torch.float64)[:, None]
    cepstrum = torch.fft.irfft(torch.cos(math.pi * order * scale) / order, n=size)
    fold = torch.zeros(size, dtype=torch.float64)
    fold[0] = fold[size // 2] = 1
    fold[1 : size // 2] = 2
    return torch.fft.rfft(cepstrum * fold).to(torch.complex64)


def _fast_size(least: int) -> int:
    """The smallest even number from `least` on with no prime factor above 5."""
    size = least + least % 2
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 2


def _gain(level: Tensor, wanted: Tensor) -> Tensor:
    """What brings a level to the one wanted, as far as that is sensible."""
    return (wanted / level.clamp(min=1e-9)).clamp(max=10 ** (MOST_GAIN_DB / 20))


def _decibels(value: Tensor) -> Tensor:
    return 10 ** (value / 20)


def _indices(chosen: Tensor) -> Tensor:
    return chosen.nonzero().squeeze(1)
