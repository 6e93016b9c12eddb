"""Loss on the held-out clips: ways to fill missing frames, repair after late ones, finer codes.

A `Scene` holds what a receiver knows when it plays, and nothing else: codes that it lacks are
zeroed before any strategy sees them. A strategy says what the decoder is given in their place.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import math
import runpy
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from torch import Tensor

from .bundle import BundleCodec
from .entropy import EntropyConfig, EntropyModel
from .errors import UserError
from .evaluate import count, load, need, read_rows
from .report import Rows

PACKET = 3  # frames
DEPTH = 6
PERIOD = 50  # frames from burst to burst, give or take a tenth
LATE = (3, 5)  # frames by which a late packet comes after it was due: 60 to 100 ms
AFTER = 25  # frames after a repair in which it is judged: 500 ms
# Metrics of the bench, and the classes in score.py that compute them.
METRICS = {
    "estoi": "Stoi", "pesq": "Pesq", "mel_db": "LogMel", "plcmos": "Plcmos", "visqol": "Visqol",
    "spk": "Speaker", "per": "Phones",
}
PATTERNS = (
    "packet-5", "packet-10", "packet-20", "packet-30", "single-10", "single-20", "burst-40",
    "burst-80", "burst-120", "burst-200",
)
KEY = ("pattern", "strategy", "stem", "state", "seed")
SCORES = (*METRICS, "apart_mel_db", "bits")


# What is known, and what is played.


@dataclass(frozen=True)
class Scene:
    """What a receiver knows when it plays.

    codes [T, K], zero where not known; known [T]: how many of each frame's, 0 if it is missing.
    """

    codes: np.ndarray
    known: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray, known: np.ndarray) -> Scene:
        """The scene in which so many of each frame's codes [T, K] are known."""
        return cls(np.where(np.arange(codes.shape[1]) < known[:, None], codes, 0), known)

    @cached_property
    def gap(self) -> np.ndarray:
        """[T]: 1, 2 ... in a run of missing frames; 0 for others."""
        return np.arange(len(self.known)) - self.last

    @cached_property
    def last(self) -> np.ndarray:
        """[T]: the newest frame known, itself or an earlier one; -1 if there is none."""
        at = np.arange(len(self.known))
        return np.maximum.accumulate(np.where(self.known > 0, at, -1))

    @cached_property
    def missing(self) -> np.ndarray:
        """Missing frames that are to be filled: not those before the first."""
        return np.flatnonzero((self.known == 0) & (self.last >= 0))


@dataclass
class Sound:
    """What the decoder is given: latents [T, D], depths [T] (0: it rests, and all is silent), and
    gains [T] at the frames' ends, to which the sound glides over the frame."""

    latents: np.ndarray
    depths: np.ndarray
    gains: np.ndarray


class Receiver:
    """A bundle, and the entropy model as one who receives uses it.

    codec: the bundle; model: of its codes. Without a model, only strategies that need none work.
    """

    def __init__(self, codec: BundleCodec, model: EntropyModel | None = None):
        self.codec, self.model = codec, model
        self.books = [torch.from_numpy(book) for book in codec.books]

    def latents(self, scene: Scene) -> np.ndarray:
        """Sums [T, D] of the entries that are known."""
        sums = np.zeros((len(scene.known), self.codec.books[0].shape[1]), np.float32)
        for k, column in enumerate(scene.codes.T):
            there = scene.known > k
            sums[there] += self.codec.books[k][column[there]]
        return sums

    @torch.no_grad()
    def memories(self, codes: Tensor, known: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Memories of codes [B, T, K], of which so many are known [B, T]."""
        rows = codes.flatten(0, 1)[:, None]
        total = self.model.sums(rows, known.flatten())[1]
        return self.model.memories(total.reshape(*codes.shape[:2], -1))

    @torch.no_grad()
    def answers(self, codes: Tensor, known: Tensor, may: Tensor | None = None) -> Tensor:
        """Answers [B, T, width] about frames from the frames known before them.

        may [B, T, T]: whether frame t may use s (last), where not all before that are known.
        """
        at = torch.arange(codes.shape[1])
        back = at[:, None] - at[None]
        may = (known > 0)[:, None] & (back > 0)[None] if may is None else may
        return self.model.answers(self.memories(codes, known), back, may[:, None])

    @torch.no_grad()
    def shares(self, book: int, answer: Tensor, codes: Tensor) -> Tensor:
        """Probabilities [N, entries] of a book's codes after coarser codes [N, >= book]."""
        if book >= self.model.own.modelled:
            return self.model.frequencies[book].exp().expand(len(answer), -1)
        full = torch.zeros(len(answer), max(book, 1), dtype=torch.long)
        full[:, :book] = codes[:, :book]
        # the sum before a book is that after all of the coarser ones
        before = self.model.sums(full[:, None], torch.full((len(answer),), book))[1][:, 0]
        padded = torch.cat([full, full[:, :1]], 1)
        return self.model.logits(book, answer, before, padded).float().softmax(-1)

    def guess(
        self, answer: Tensor, codes: Tensor, start: int, depth: int, pick: Callable | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """(book, its probabilities) for books from `start` to `depth`; writes the codes picked (the
        likeliest, unless `pick` chooses from probabilities) into codes [N, K]."""
        for k in range(start, depth):
            shares = self.shares(k, answer, codes)
            codes[:, k] = shares.argmax(-1) if pick is None else pick(shares)
            yield k, shares

    def decode(self, sound: Sound) -> np.ndarray:
        """Audio [T x frame] of what is given."""
        self.codec._decoder.reset()
        played = Player(self.codec)
        return np.concatenate([played.frame(sound, t) for t in range(len(sound.gains))])


class Player:
    """The decoder's graph, frame by frame, from where it stands."""

    def __init__(self, codec: BundleCodec):
        self.graph, self.gain = codec._decoder, 1.0
        self.one_hot = np.eye(codec.max_depth + 1, dtype=np.float32)
        self.ramp = np.arange(1, codec.frame_samples + 1, dtype=np.float32) / codec.frame_samples

    def frame(self, sound: Sound, t: int) -> np.ndarray:
        """Audio [frame] of the t-th frame."""
        depth, gain = sound.depths[t], sound.gains[t]
        if depth == 0:
            self.gain = 0.0
            return np.zeros(len(self.ramp), np.float32)
        one_hot = self.one_hot[depth]
        audio = self.graph.run({"latent": sound.latents[t], "depth_one_hot": one_hot})
        if self.gain != 1 or gain != 1:
            audio = audio * (self.gain + (gain - self.gain) * self.ramp)
        self.gain = gain
        return audio.astype(np.float32)


# Strategies.

Fill = Callable[[Receiver, Scene], tuple[np.ndarray, np.ndarray | int]]


@dataclass(frozen=True)
class Strategy:
    """fill: latents [missing, D] and their depths. The sound keeps its level for the first `glide`
    frames of a gap and is gone at the second. copies: how many codes of a lost packet's frames the
    packet after it brings. modelled: whether it asks the entropy model."""

    fill: Fill
    glide: tuple[int, int] = (0, 5)
    copies: int = 0
    modelled: bool = True

    def sound(self, receiver: Receiver, scene: Scene) -> Sound:
        """What the decoder is given in this scene."""
        latents, depths = receiver.latents(scene), scene.known.copy()
        rows, hold, end = scene.missing, *self.glide
        gains = 1 - np.clip((scene.gap - hold) / (end - hold), 0, 1)
        gains[scene.last < 0] = 0
        if len(rows):
            latents[rows], depths[rows] = self.fill(receiver, scene)
        # as in the program, the decoder rests once the sound is gone
        depths[(gains == 0) & (scene.gap > end)] = 0
        return Sound(latents, depths, gains)


def repeated(receiver: Receiver, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """The last frame known, again."""
    last = scene.last[scene.missing]
    return receiver.latents(scene)[last], scene.known[last]


def constant(value: str) -> Fill:
    """The latent zero, or the mean of the first book's entries, as of a frame of one code."""

    def fill(receiver: Receiver, scene: Scene) -> tuple[np.ndarray, int]:
        book = receiver.codec.books[0]
        return book.mean(0) if value == "mean" else 0 * book[0], 1

    return fill


def _tensors(scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """Codes [1, T, K], how many are known [1, T], the missing frames."""
    codes, known = torch.from_numpy(scene.codes), torch.from_numpy(scene.known)
    return codes[None], known[None], torch.from_numpy(scene.missing)


def likeliest(depth: int, temperature: float = 0, doubt: float = math.inf) -> Fill:
    """The likeliest code of each book, given those before; or drawn, at a temperature above 0.

    doubt: entropy in bits from which on a book's code, and finer ones, are left out.
    """

    def fill(receiver: Receiver, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        codes, known, rows = _tensors(scene)
        answer, found = receiver.answers(codes, known)[0, rows], codes[0, rows]
        draws = torch.Generator().manual_seed(len(scene.known))

        def pick(shares: Tensor) -> Tensor:
            weights = shares.clamp(min=1e-9) ** (1 / max(temperature, 1e-3))
            return torch.multinomial(weights, 1, generator=draws)[:, 0]

        certain = torch.ones(len(rows), dtype=torch.bool)
        depths = torch.zeros(len(rows), dtype=torch.long)
        for k, shares in receiver.guess(answer, found, 0, depth, pick if temperature else None):
            bits = -(shares * shares.clamp(min=1e-12).log2()).sum(-1)
            certain &= (bits < doubt) | (k == 0)
            depths += certain
        return receiver.latents(Scene.of(found.numpy(), depths.numpy())), depths.numpy()

    return fill


def fed_back(depth: int) -> Fill:
    """As `likeliest`, frame after frame, each being a memory to the next ones of its gap."""

    def fill(receiver: Receiver, scene: Scene) -> tuple[np.ndarray, int]:
        codes, known, _ = _tensors(scene)
        codes, known = codes.clone(), known.clone()
        may = torch.ones(len(scene.known), len(scene.known), dtype=torch.bool).tril(-1)
        at, gap = np.arange(len(scene.known)), scene.gap
        # a guess is known to its own gap only
        own = (at[None] > scene.last[:, None]) & (gap[:, None] > 0)
        may &= torch.from_numpy((scene.known > 0)[None] | own)
        for place in range(1, gap.max() + 1):
            rows = torch.from_numpy(np.flatnonzero((gap == place) & (scene.last >= 0)))
            answer, found = receiver.answers(codes, known, may[None])[0, rows], codes[0, rows]
            for _ in receiver.guess(answer, found, 0, depth):
                pass
            codes[0, rows], known[0, rows] = found, depth
        return receiver.latents(Scene.of(codes[0].numpy(), known[0].numpy()))[scene.missing], depth

    return fill


def expected(receiver: Receiver, scene: Scene, depth: int = 1) -> np.ndarray:
    """Mean latents [missing, D] of the first book, and of finer ones after the likeliest codes."""
    codes, known, rows = _tensors(scene)
    answer, found = receiver.answers(codes, known)[0, rows], codes[0, rows]
    means = (shares @ receiver.books[k] for k, shares in receiver.guess(answer, found, 0, depth))
    return sum(means).numpy()


def averaged(depth: int) -> Fill:
    """The mean latent."""
    return lambda receiver, scene: (expected(receiver, scene, depth), depth)


def blend(
    keep: float, fading: bool = True, pitch: bool = False, first: bool = False, blind: bool = False
) -> Fill:
    """Between the last frame and the mean: a share `keep` of the last one; if fading, `keep` to the
    power of how many are missing so far. pitch: held, not blended; first: the first is repeated;
    blind: towards the plain mean of the first book's entries, which asks no model."""

    def fill(receiver: Receiver, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        (last, depths), gap = repeated(receiver, scene), scene.gap[scene.missing][:, None]
        share = (keep**gap if fading else np.full(gap.shape, keep)).astype(np.float32)
        share = np.where(first & (gap == 1), 1, share)
        mean = receiver.codec.books[0].mean(0) if blind else expected(receiver, scene)
        made = last * share + mean * (1 - share)
        if pitch:
            made[:, 0] = last[:, 0]
        return made, depths

    return fill


STRATEGIES = {
    "repeat": Strategy(repeated, modelled=False),
    "repeat 160 ms": Strategy(repeated, (1, 8), modelled=False),
    "repeat 200 ms": Strategy(repeated, (0, 10), modelled=False),
    "zero": Strategy(constant("zero"), modelled=False),
    "mean entry": Strategy(constant("mean"), modelled=False),
    "coarse 1": Strategy(repeated, copies=1, modelled=False),
    "coarse 2": Strategy(repeated, copies=2, modelled=False),
    "coarse 3": Strategy(repeated, copies=3, modelled=False),
    "likeliest 1": Strategy(likeliest(1)),
    "likeliest 2": Strategy(likeliest(2)),
    "likeliest 3": Strategy(likeliest(3)),
    "likeliest 6": Strategy(likeliest(6)),
    "likeliest 6, fed back": Strategy(fed_back(6)),
    "likeliest 6, fed back, 160 ms": Strategy(fed_back(6), (1, 8)),
    "likeliest, under 4 bits": Strategy(likeliest(6, doubt=4)),
    "drawn 6": Strategy(likeliest(6, temperature=1)),
    "expected 1": Strategy(averaged(1)),
    "expected 6": Strategy(averaged(6)),
    "expected 1, 160 ms": Strategy(averaged(1), (1, 8)),
    "blend .5": Strategy(blend(0.5, fading=False), (1, 8)),
    "blend .7": Strategy(blend(0.7, fading=False), (1, 8)),
    "blend .8^n, 100 ms": Strategy(blend(0.8)),
    "blend .8^n": Strategy(blend(0.8), (1, 8)),
    "blend .8^n, 200 ms": Strategy(blend(0.8), (0, 10)),
    "blend .8^n, pitch held": Strategy(blend(0.8, pitch=True), (1, 8)),
    "blend .8^n, first repeated": Strategy(blend(0.8, first=True), (1, 8)),
    "blend .8^n, blind": Strategy(blend(0.8, blind=True), (1, 8), modelled=False),
    "coarse 1, blend .8^n": Strategy(blend(0.8), (1, 8), copies=1),
}


# Loss.


def lost(pattern: str, frames: int, seed: int) -> np.ndarray:
    """Which frames are lost: bool [frames].

    "packet-10": each packet of three frames with a chance of 10 %. "single-10": each frame.
    "burst-120": 120 ms in a row, about once a second. Raises UserError if there is no such pattern.
    """
    random = np.random.default_rng([seed, *pattern.encode()])
    kind, _, number = pattern.partition("-")
    if kind not in ("packet", "single", "burst") or not number.isdecimal():
        raise UserError(f'"{pattern}" is not a pattern of loss such as packet-10 or burst-120')
    if kind == "burst":
        gone, start = np.zeros(frames, bool), int(random.integers(1, PERIOD))
        while start < frames:
            gone[start : start + int(number) // 20] = True
            start += PERIOD + int(random.integers(-PERIOD // 10, PERIOD // 10 + 1))
        return gone
    size = PACKET if kind == "packet" else 1
    return np.repeat(random.random(-(-frames // size)) * 100 < int(number), size)[:frames]


def copied(gone: np.ndarray, size: int = PACKET) -> np.ndarray:
    """Which of the frames that are gone [T] have a copy in the packet after theirs, that came."""
    packets = -(-len(gone) // size)
    whole = np.concatenate([gone, np.zeros(packets * size - len(gone), bool)])
    broken = whole.reshape(packets, size).any(1)
    # there is no packet after the last
    return gone & ~np.repeat(np.append(broken[1:], True), size)[: len(gone)]


def scene_of(codes: np.ndarray, pattern: str, copies: int, seed: int) -> Scene:
    """What is known of codes [T, K] under a pattern of loss, with coarse copies one packet later.

    Packets are of one frame but in the patterns "packet-".
    """
    gone = lost(pattern, len(codes), seed)
    there = copied(gone, PACKET if pattern.startswith("packet") else 1)
    return Scene.of(codes, np.where(gone, np.where(there, copies, 0), codes.shape[1]))


# Late packets.


def late(frames: int, share: int, seed: int) -> np.ndarray:
    """When each frame comes [frames], as the number of the frame that is played then: its own if
    it is in time. share: of packets that come late, in per cent."""
    random = np.random.default_rng([seed, share])
    packets = -(-frames // PACKET)
    hit = random.random(packets) * 100 < share
    by = np.where(hit, random.integers(LATE[0], LATE[1] + 1, packets), 0)
    at = np.arange(packets * PACKET)
    return np.maximum(at, (np.arange(packets) * PACKET + by).repeat(PACKET))[:frames]


def play_repairing(
    receiver: Receiver,
    sound: Sound,
    truth: Sound,
    comes: np.ndarray,
    kept: list[str],
    fade: bool = False,
) -> np.ndarray:
    """Audio [T x frame] of a sound whose filled frames are replaced by the truth once they come:
    the decoder goes back to before them, and silently on to where it was.

    kept: the graph's states that stay as they were played. fade: the next frame is also played
    from the states as they were, and the one fades into the other.
    """
    graph = receiver.codec._decoder
    graph.reset()
    player, before, made = Player(receiver.codec), [], []
    best = Sound(sound.latents.copy(), sound.depths.copy(), sound.gains)
    at = np.arange(len(comes))
    for t in at:
        came = np.flatnonzero((comes == t) & (at < t))
        if len(came):
            best.latents[came], best.depths[came] = truth.latents[came], truth.depths[came]
            played, gain = graph.states, player.gain
            graph.states = before[came[0]]
            for again in range(came[0], t):
                before[again] = graph.states
                player.frame(best, again)
            repaired = {**graph.states, **{name: played[name] for name in kept}}
            graph.states, player.gain = played, gain
            old = player.frame(sound, t) if fade else None
            graph.states, player.gain = repaired, gain
        before.append(graph.states)
        made.append(player.frame(sound, t))
        if len(came) and fade:
            made[t] = (old + (made[t] - old) * player.ramp).astype(np.float32)
    return np.concatenate(made)


# Finer codes from coarse ones, and what copies cost.


def refined(receiver: Receiver, codes: np.ndarray, depth: int, how: str) -> Sound:
    """Frames of few codes [T, K] as frames of `depth`: finer ones the "likeliest", "drawn", or the
    "expected" latent."""
    frames, coarse = codes.shape
    found = torch.zeros(frames, depth, dtype=torch.long)
    found[:, :coarse] = torch.from_numpy(codes)
    known = torch.full((1, frames), coarse)
    draws = torch.Generator().manual_seed(frames)
    pick = (lambda s: torch.multinomial(s, 1, generator=draws)[:, 0]) if how == "drawn" else None
    latents = torch.from_numpy(receiver.codec.dequantize(codes))
    answer = receiver.answers(found[None], known)[0]
    for k, shares in receiver.guess(answer, found, coarse, depth, pick):
        entries = receiver.books[k]
        latents = latents + (shares @ entries if how == "expected" else entries[found[:, k]])
    return Sound(latents.numpy(), np.full(frames, depth), np.ones(frames))


def copy_bits(receiver: Receiver, codes: np.ndarray, copies: int) -> float:
    """Mean bits a frame that entropy-coded copies add, where packets build on no other packet.

    codes [T, K]. The copies come first; the packet's own frames build on them.
    """
    packets = len(codes) // PACKET
    whole = torch.from_numpy(codes[: packets * PACKET].reshape(packets, PACKET, -1))
    rows = torch.cat([whole[:-1], whole[1:]], 1)

    def bits(known: Tensor) -> Tensor:
        known = known.expand(len(rows), -1)
        answer, total = receiver.answers(rows, known), torch.zeros(())
        for k in range(rows.shape[2]):
            at = known > k
            shares = receiver.shares(k, answer[at], rows[at])
            total = total - shares.gather(1, rows[at][:, k : k + 1]).log2().sum()
        return total

    own = torch.arange(2 * PACKET) >= PACKET
    full = torch.where(own, rows.shape[2], 0)
    return float(bits(full + torch.where(own, 0, copies)) - bits(full)) / (len(rows) * PACKET)


# What is measured.


@dataclass
class Case:
    """A clip's codes {depth: [T, depth]}, who receives them, and the seed of the loss."""

    receiver: Receiver
    codes: dict[int, np.ndarray]
    seed: int


@dataclass
class Outcome:
    """audio [T x frame] as heard; judged [T]: frames that are also scored apart; bits a frame."""

    audio: np.ndarray | None = None
    judged: np.ndarray | None = None
    bits: float | None = None


@dataclass(frozen=True)
class Trial:
    """Something to measure, and whether the entropy model has a part in it."""

    course: Callable[[Case], Outcome]
    modelled: bool = True


def trials(pattern: str, chosen: list[str]) -> dict[str, Trial]:
    """By name, what is measured under a pattern: of loss, "late-10", "fine" or "copies"."""
    kind, _, number = pattern.partition("-")
    if kind == "copies":
        return {f"coarse {n}": Trial(partial(_copies, copies=n)) for n in (1, 2, 3)}
    if kind == "fine":
        plain = {f"depth {n}": Trial(partial(_plain, depth=n), False) for n in (3, DEPTH)}
        made = {
            f"3 and {how}": Trial(partial(_refined, how=how, shown=DEPTH))
            for how in ("likeliest", "drawn", "expected")
        }
        shown = Trial(partial(_refined, how="expected", shown=3))
        return {**plain, **made, "3 and expected, as depth 3": shown}
    named = {name: STRATEGIES[name] for name in chosen}
    if kind == "late":
        repairs = ("left", "rewound", "rewound and faded", "rewound but for the sources",
                   "all in time")
        return {
            f"{name}: {repair}": Trial(
                partial(_late, strategy=own, repair=repair, share=int(number)), own.modelled
            )
            for name, own in named.items() for repair in repairs
        }
    return {
        name: Trial(partial(_lossy, strategy=own, pattern=pattern), own.modelled)
        for name, own in named.items()
    }


def _copies(case: Case, copies: int) -> Outcome:
    return Outcome(bits=copy_bits(case.receiver, case.codes[DEPTH], copies))


def _plain(case: Case, depth: int) -> Outcome:
    return Outcome(case.receiver.codec.decode(case.codes[depth]))


def _refined(case: Case, how: str, shown: int) -> Outcome:
    sound = refined(case.receiver, case.codes[3], DEPTH, how)
    sound.depths[:] = shown
    return Outcome(case.receiver.decode(sound))


def _lossy(case: Case, strategy: Strategy, pattern: str) -> Outcome:
    scene = scene_of(case.codes[DEPTH], pattern, strategy.copies, case.seed)
    return Outcome(case.receiver.decode(strategy.sound(case.receiver, scene)))


def _late(case: Case, strategy: Strategy, repair: str, share: int) -> Outcome:
    codes, receiver = case.codes[DEPTH], case.receiver
    comes = late(len(codes), share, case.seed)
    at, depth = np.arange(len(codes)), codes.shape[1]
    absent = comes > at
    truth = strategy.sound(receiver, Scene.of(codes, np.full(len(codes), depth)))
    newest = np.maximum.accumulate(np.where(absent, comes, -AFTER))
    judged = ~absent & (newest <= at) & (at < newest + AFTER)
    if repair == "all in time":
        return Outcome(receiver.decode(truth), judged)
    sound = strategy.sound(receiver, Scene.of(codes, np.where(absent, 0, depth)))
    if repair == "left":
        return Outcome(receiver.decode(sound), judged)
    names = receiver.codec._decoder.zeros if repair.endswith("sources") else ()
    kept = [name for name in names if not name.startswith(("block", "fine"))]
    fade = repair.endswith("faded")
    return Outcome(play_repairing(receiver, sound, truth, comes, kept, fade), judged)


class Scorer:
    """The bench's metrics, in this process. Raises UserError if there is no such metric."""

    def __init__(self, bench: Path, names: list[str]):
        if wrong := set(names) - set(METRICS):
            raise UserError(f"no such metric: {', '.join(sorted(wrong))}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            own = runpy.run_path(str(bench / "score.py"), run_name="bench")
            self.metrics = {name: own[METRICS[name]]() for name in names}
            self.mel = own[METRICS["mel_db"]]()

    def __call__(self, clip: np.ndarray, heard: np.ndarray, stem: str) -> dict[str, float]:
        """{metric: value} of what is heard [samples] in place of a clip [samples]."""
        return {name: own(clip, heard, stem)[name] for name, own in self.metrics.items()}

    def apart(self, clip: np.ndarray, heard: np.ndarray, frames: np.ndarray) -> float:
        """Mean log-mel distance in dB in some frames, bool [T]."""
        powers = [self.mel.power(audio) for audio in (clip, heard)]
        floor = powers[0].max() * 1e-6
        first, second = (10 * np.log10(np.maximum(power, floor)) for power in powers)
        inside = np.repeat(frames, 2)[: len(first)]  # two windows a frame
        return float(np.abs(first - second)[: len(inside)][inside].mean())


# The command.


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `conceal`."""
    add = parser.add_argument
    add("--bundle", type=Path, required=True, metavar="DIR", help="the bundle")
    add("--state", type=Path, required=True, metavar="FILE", help="entropy.pt, of its codes")
    add("--out", type=Path, required=True, metavar="FILE",
        help="a row for each pattern, strategy and clip; a later run goes on from what it finds")
    add("--bench", type=Path, required=True, metavar="DIR", help="the measuring bench")
    add("--speech", type=Path, required=True, metavar="DIR", help="the folder that heldout/ is in")
    add("--clips", type=count, default=1000, metavar="N", help="only the first N clips")
    add("--patterns", default=",".join(PATTERNS), metavar="NAME,...",
        help="packet-5, single-5 (per cent), burst-40 (ms); late-10 (per cent): packets that come "
        "late; fine: finer codes made up by the receiver; copies: what coarse copies cost")
    add("--strategies", default=";".join(STRATEGIES), metavar="NAME;...", help="by their names")
    add("--metrics", default="estoi,pesq,mel_db,plcmos", metavar="NAME,...",
        help="of " + ", ".join(METRICS))
    add("--seed", type=int, default=1, help="of the loss")


def read_model(path: Path) -> EntropyModel:
    """The entropy model of a training's state. Raises UserError if the file holds none."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        model = EntropyModel(EntropyConfig(**state["config"]))
        model.load_state_dict(state["model"])
    except (OSError, EOFError, UnpicklingError, RuntimeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no state of an entropy model: {error}") from error
    model.rounding.on = True  # as programs compute it
    return model.eval()


def run(args: argparse.Namespace) -> int:
    """Measures what the table lacks, prints means, and returns 0.

    Raises UserError if the bench, the speech, the bundle or the state is missing.
    """
    need(args.bench, ("score.py", "heldout.txt"), "the measuring bench", "--bench")
    need(args.speech, ("heldout",), "the speech", "--speech")
    chosen, metrics = args.strategies.split(";"), args.metrics.split(",")
    if wrong := set(chosen) - set(STRATEGIES):
        raise UserError(f"no such strategy: {', '.join(sorted(wrong))}")
    codec, state = BundleCodec(args.bundle), read_model(args.state)
    receiver, scorer = Receiver(codec, state), Scorer(args.bench, metrics)
    mark = hashlib.sha256(args.state.read_bytes()).hexdigest()[:8]
    table = {tuple(row[name] for name in KEY): row for row in read_table(args.out)}
    lines = (args.bench / "heldout.txt").read_text().split("\n")
    clips = [Path(line.strip()) for line in lines if line.strip()][: args.clips]
    for number, path in enumerate(clips, 1):
        clip = load(args.speech / "heldout" / path, codec.sample_rate)
        codes = codec.codes(codec.latents(clip), [3, DEPTH])
        case, heard = Case(receiver, codes, 1000 * args.seed + number), codec.delay_samples
        for pattern in args.patterns.split(","):
            for name, trial in trials(pattern, chosen).items():
                key = (pattern, name, path.stem, mark if trial.modelled else "", str(args.seed))
                row = table.setdefault(key, dict(zip(KEY, key)))
                if row.get("bits") or all(row.get(metric) for metric in metrics):
                    continue
                outcome = trial.course(case)
                if outcome.bits is not None:
                    row["bits"] = outcome.bits
                    continue
                audio = outcome.audio[heard : heard + len(clip)]
                row |= scorer(clip, audio, path.stem)
                if outcome.judged is not None:
                    row["apart_mel_db"] = scorer.apart(clip, audio, outcome.judged)
        write_table(args.out, table.values())
        print(f"\r{number} of {len(clips)} clips", end="", file=sys.stderr)
    print(file=sys.stderr)
    print(summary(table.values(), {path.stem for path in clips}))
    return 0


def read_table(path: Path) -> Rows:
    """The rows written before; none if there is no file."""
    return read_rows(path) if path.exists() else []


def write_table(path: Path, rows: Iterable[dict]) -> None:
    """Writes the rows, whole or not at all."""
    part = path.with_suffix(".part")
    with open(part, "w", newline="") as file:
        writer = csv.DictWriter(file, [*KEY, *SCORES], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)


def summary(rows: Iterable[dict], stems: set[str]) -> str:
    """A line for each pattern and strategy: means over its clips."""
    found: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        if row["stem"] in stems:
            found.setdefault((row["pattern"], row["strategy"]), []).append(row)
    lines = []
    for (pattern, strategy), own in found.items():
        cells = []
        for name in SCORES:
            values = [float(row[name]) for row in own if row.get(name) not in (None, "")]
            if values:
                cells.append(f"{name} {np.mean(values):.3f}")
        lines.append(f"{pattern:10} {strategy:32} {len(own):3} {' '.join(cells)}")
    return "\n".join(lines)
