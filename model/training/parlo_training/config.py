"""The configuration of a model and its training: dataclasses, read from TOML."""

from __future__ import annotations

import dataclasses
import math
import tomllib
import typing
from dataclasses import dataclass, field
from pathlib import Path

from .augment import AugmentConfig
from .errors import UserError


@dataclass(frozen=True)
class Audio:
    """Rates. A token frame is 20 ms; the analysis and synthesis hop is half of it."""

    rate: int = 16000  # samples per second

    @property
    def frame(self) -> int:
        """Samples in a token frame of 20 ms."""
        return self.rate // 50

    @property
    def hop(self) -> int:
        """Samples between two short-time spectra: 10 ms."""
        return self.rate // 100

    @property
    def bins(self) -> int:
        """Frequency bins of a 20 ms spectrum, 50 Hz apart."""
        return self.frame // 2 + 1


@dataclass(frozen=True)
class Encoder:
    """Causal ConvNeXt blocks at 50 Hz over two 20 ms spectra, one of 40 ms, its autocorrelation."""

    kind: str = "first"  # "voice": level apart from shape, and where the pulses are
    width: int = 256
    blocks: int = 4
    kernel: int = 7
    expansion: int = 3


@dataclass(frozen=True)
class Decoder:
    """Causal blocks at 50 Hz, then some at 100 Hz, then a head that makes spectra."""

    width: int = 256
    blocks: int = 5
    fine_width: int = 224
    fine_blocks: int = 3
    kernel: int = 7
    expansion: int = 3
    # "harmonic": filters pulses and noise; "harmonic-noise": the same at two fifths of the cost;
    # "vocos": magnitude and phase
    head: str = "harmonic"
    fine_expansion: int = 3


@dataclass(frozen=True)
class Quantizer:
    """Residual vector quantization, moving-average codebooks (van den Oord et al. 2017, app. A)."""

    stages: int = 12
    entries: int = 1024
    latent: int = 64
    pitch_scale: int = 32  # units of the latent's first element per octave of pitch
    level_scale: float = 0.0  # units of the level's element per dB; 0: the level is in the rest
    phase_scale: float = 0.0  # length of the pulses' phase, cosine and sine; 0: it is not told
    phase_from: int = 3  # first codebook that codes the phase, from 0 on
    decay: float = 0.99
    dead: float = 0.1  # an entry used less than this share of its fair share is replaced
    commitment: float = 0.25


@dataclass(frozen=True)
class Robustness:
    """What the decoder meets in training besides clean tokens. Probabilities 0..1."""

    item: float = 0.25  # share of the crops that are disturbed at all
    repeat: float = 0.06  # of their frames: the frame before again, as concealment does
    coarse: float = 0.12  # only one to three codebooks arrived
    substitute: float = 0.02  # codes of another frame
    latent_noise: float = 0.05  # deviation of noise on the latent, in units of its elements


@dataclass(frozen=True)
class Losses:
    """Weights of the loss terms; see `losses.py`."""

    draws: int = 2  # of the decoder's noise: 2 for the energy distance, 1 for a plain distance
    aperiodic: bool = False  # draws are to be apart only where the target is noise
    repulsion: float = 1.0  # how much their distance counts: 1 makes noise as loud as the target's,
    # less makes it quieter, down to 0, which makes the median
    sizes: tuple[int, ...] = (1536, 768, 384, 192, 96, 48)  # FFT sizes at 16 kHz; scaled with the rate
    mels: tuple[int, ...] = (96, 80, 48, 24, 16, 10)
    overlap: int = 2  # windows that cover a sample
    mel: float = 1.0
    magnitude: float = 1.0
    complex: float = 0.0  # of spectra with their phases, where pulses follow the target's
    complex_sizes: tuple[int, ...] = (768, 384, 192)  # of `sizes`, those where phases count
    complex_below: float = 4000.0  # Hz
    pitch: float = 0.3
    phase: float = 0.1
    voiced: float = 0.1
    adversarial: float = 0.5  # size of its gradient at the waveform, relative to the spectral one's
    features: float = 2.0  # weight of matching the discriminators' features, within it


@dataclass(frozen=True)
class Training:
    """The course of a run."""

    only: str = ""  # "decoder": encoder and codebooks stay as they are; "networks": the codebooks
    follow: float = 0.0  # share of the steps in which pulses follow the target's own
    batch: int = 8
    seconds: float = 1.0  # length of a crop
    rate: float = 1e-3  # peak learning rate
    betas: tuple[float, float] = (0.8, 0.99)
    weight_decay: float = 0.01
    clip: float = 1.0  # norm of the gradient
    warmup: int = 200  # steps until the peak learning rate
    decay_share: float = 0.25  # last share of the time, in which the rate falls to zero
    average: float = 0.999  # decay of the weights' moving average
    depths: tuple[int, ...] = (3, 6, 12, 12)  # favoured numbers of codebooks
    depths_share: float = 0.5  # of the crops; the others have any number of codebooks
    shallow: float = 0.5  # least weight of a crop; it is codebooks / 6, up to 1
    unquantized: int = 150  # first steps without a quantizer
    adversarial_from: float = 1.0  # share of the time from which discriminators train; 1: never
    adversarial_warmup: int = 2000  # steps in which they train alone, and the codec stays
    adversarial_items: int = 0  # crops of each batch that the discriminators see; 0: all
    discriminator_width: int = 192  # channels of their layers over spectra
    discriminator_rate: float = 3e-4
    speeds: tuple[float, ...] = (0.84, 0.9, 0.95, 1.0, 1.0, 1.06, 1.12, 1.2)
    threads: int = 0  # 0: as many as PyTorch chooses
    bf16: bool = True
    compile: bool = False
    seed: int = 1


@dataclass(frozen=True)
class Config:
    """All of it. `Config.load` reads a TOML file whose tables are named as these fields."""

    audio: Audio = field(default_factory=Audio)
    encoder: Encoder = field(default_factory=Encoder)
    decoder: Decoder = field(default_factory=Decoder)
    quantizer: Quantizer = field(default_factory=Quantizer)
    robustness: Robustness = field(default_factory=Robustness)
    losses: Losses = field(default_factory=Losses)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    training: Training = field(default_factory=Training)

    @classmethod
    def load(cls, path: Path) -> Config:
        """Reads a TOML file; what it leaves out keeps its default.

        Raises UserError if the file is missing or not TOML, or names something unknown.
        """
        try:
            with open(path, "rb") as file:
                return cls.from_dict(tomllib.load(file), str(path))
        except OSError as error:
            raise UserError(f"cannot read the configuration {path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is not valid TOML: {error}") from error

    @classmethod
    def from_dict(cls, values: dict, where: str = "the configuration") -> Config:
        """From nested dictionaries, as TOML gives them."""
        config = _build(cls, values, where)
        config.check(where)
        return config

    def to_dict(self) -> dict:
        """As nested dictionaries that `from_dict` takes and TOML can hold."""
        return _plain(dataclasses.asdict(self))

    def model(self) -> dict:
        """The part that weights depend on: two checkpoints fit each other when this is equal."""
        whole = self.to_dict()
        parts = {name: whole[name] for name in ("audio", "encoder", "decoder")}
        shape = ("stages", "entries", "latent", "pitch_scale", "level_scale", "phase_scale",
                 "phase_from")
        return parts | {"quantizer": {name: whole["quantizer"][name] for name in shape}}

    def check(self, where: str) -> None:
        """Raises UserError where a value cannot work."""

        def need(condition: bool, sentence: str) -> None:
            if not condition:
                raise UserError(f"{where}: {sentence}")

        need(self.audio.rate % 400 == 0, "audio.rate must be a multiple of 400")
        need(8000 <= self.audio.rate <= 48000, "audio.rate must be 8000 to 48000")
        heads = ("harmonic", "harmonic-noise", "vocos")
        need(self.decoder.head in heads, f"decoder.head is one of {', '.join(heads)}")
        for name in ("encoder", "decoder"):
            own = getattr(self, name)
            # a convolution over one frame would have no state, and slices of its state be wrong
            need(2 <= own.kernel <= 64, f"{name}.kernel must be 2 to 64")
            for size in ("width", "blocks", "expansion"):
                need(getattr(own, size) >= 1, f"{name}.{size} must be 1 or more")
        need(self.decoder.fine_width >= 1, "decoder.fine_width must be 1 or more")
        need(self.decoder.fine_blocks >= 1, "decoder.fine_blocks must be 1 or more")
        need(1 <= self.quantizer.stages <= 64, "quantizer.stages must be 1 to 64")
        need(2 <= self.quantizer.entries <= 65536, "quantizer.entries must be 2 to 65536")
        need(self.quantizer.latent >= 2, "quantizer.latent must be 2 or more")
        scale = self.quantizer.pitch_scale
        need(scale > 0 and scale & (scale - 1) == 0, "quantizer.pitch_scale must be a power of two")
        told = 1 + bool(self.quantizer.level_scale) + 2 * bool(self.quantizer.phase_scale)
        need(self.quantizer.latent > told, f"quantizer.latent must be {told + 1} or more")
        voice = self.encoder.kind == "voice"
        need(voice or self.encoder.kind == "first", 'encoder.kind is "first" or "voice"')
        need(voice == bool(self.quantizer.level_scale),
             "quantizer.level_scale goes with encoder.kind = \"voice\"")
        need(voice or not self.quantizer.phase_scale,
             "quantizer.phase_scale goes with encoder.kind = \"voice\"")
        need(not voice or self.decoder.head == "harmonic-noise",
             "encoder.kind = \"voice\" goes with decoder.head = \"harmonic-noise\"")
        need(len(self.losses.sizes) == len(self.losses.mels) > 0,
             "losses.sizes and .mels must pair")
        need(min(self.losses.sizes) >= 32, "losses.sizes must be 32 or more")
        need(min(self.losses.mels) >= 1, "losses.mels must be 1 or more")
        need(self.losses.draws in (1, 2), "losses.draws must be 1 or 2")
        need(0 <= self.losses.repulsion <= 1, "losses.repulsion must be between 0 and 1")
        needs_track = self.training.follow > 0
        need(not needs_track or self.decoder.head == "harmonic-noise",
             'training.follow needs decoder.head = "harmonic-noise"')
        need(self.losses.overlap in (2, 4), "losses.overlap must be 2 or 4")
        need(
            all(1 <= depth for depth in self.training.depths) and self.training.depths,
            "training.depths must be numbers of codebooks, 1 or more",
        )
        need(self.training.only in ("", "decoder", "networks"),
             'training.only is "", "decoder" or "networks"')
        need(self.training.batch >= 1, "training.batch must be 1 or more")
        need(self.training.seconds >= 0.2, "training.seconds must be 0.2 or more")
        # the codebooks start from what was seen before them
        need(self.training.unquantized >= 1, "training.unquantized must be 1 or more")
        speeds = self.training.speeds
        need(len(speeds) > 0 and min(speeds) >= 0.5 and max(speeds) <= 2,
             "training.speeds must be 0.5 to 2")
        for name in ("rate", "discriminator_rate"):
            need(getattr(self.training, name) >= 0, f"training.{name} must be 0 or more")
        need(self.training.clip > 0, "training.clip must be above 0")
        need(len(self.training.betas) == 2 and all(0 <= b < 1 for b in self.training.betas),
             "training.betas must be two numbers from 0 to under 1")
        need(self.training.threads >= 0, "training.threads must be 0 or more")
        shares = {
            "training": ("average", "decay_share", "depths_share", "shallow", "follow"),
            "robustness": ("item", "repeat", "coarse", "substitute"),
            "quantizer": ("decay",),
        }
        for table, names in shares.items():
            for name in names:
                value = getattr(getattr(self, table), name)
                need(0 <= value <= 1, f"{table}.{name} must be 0 to 1")


def _build(kind: type, values: dict, where: str):
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        known = ", ".join(hints)
        raise UserError(f"{where}: unknown setting {unknown[0]!r}; there are {known}")
    made = {}
    for name, value in values.items():
        hint = hints[name]
        here = f"{where}: {name}"
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, dict):
                raise UserError(f"{here} must be a table")
            made[name] = _build(hint, value, here)
        elif typing.get_origin(hint) is tuple:
            made[name] = _list(hint, value, here)
        else:
            made[name] = _single(hint, value, here)
    return kind(**made)


def _list(hint, value, here: str) -> tuple:
    inner, last = typing.get_args(hint)  # (float, float): two of them; (float, ...): any number
    if not isinstance(value, list | tuple):
        raise UserError(f"{here} must be a list")
    if last is not ... and len(value) != 2:
        raise UserError(f"{here} must be a list of two")
    return tuple(_single(inner, element, here) for element in value)


def _single(hint: type, value, here: str):
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and number and math.isfinite(value):
        return float(value)
    # a bool is an int to Python, and neither is meant where the other is said
    if hint is float or not isinstance(value, hint) or (hint is int and not number):
        raise UserError(f"{here} must be a {hint.__name__}, not {value!r}")
    return value


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value
