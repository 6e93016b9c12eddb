"""The entropy model in integers: made from the trained one, and computed as programs compute it.

What the arithmetic is, step by step, stands in docs/entropy.md; `Integers` is written from that
page, for whole recordings at a time, and the Rust crate's coder must give the same numbers.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save

from .entropy import ACT_STEP, MIX_STEP, NORM_STEP, Dense, EntropyModel
from .errors import UserError

SHIFT = 24  # fractional bits of multipliers
RESIDUAL = 12  # fractional bits of the stream that layers add to
OCTAVE = 256  # steps of a logit in which the probability doubles
EXP_BITS = 22
TOTAL_BITS = 24
REACH = 256


def _round(values: np.ndarray | float) -> np.ndarray:
    return np.floor(np.asarray(values, np.float64) + 0.5).astype(np.int64)


def _whole(name: str, values: np.ndarray, kind: type) -> np.ndarray:
    """The values as `kind`. Raises UserError where they do not fit."""
    limits = np.iinfo(kind)
    if values.min() < limits.min or values.max() > limits.max:
        raise UserError(f"{name} reaches {np.abs(values).max()}, beyond {kind.__name__}: train on")
    return values.astype(kind)


@torch.no_grad()
def tensors(model: EntropyModel) -> dict[str, np.ndarray]:
    """The integer tensors of a trained model, as docs/entropy.md names them."""
    own = model.own
    made: dict[str, np.ndarray] = {}

    def dense(name: str, layer: Dense, step_in: float, step_out: float, bias: bool = True) -> None:
        weight = layer.weight.double().numpy()
        step = np.maximum(np.abs(weight).max(1), 1e-8) / 127
        made[f"{name}.weight"] = _whole(name, _round(weight / step[:, None]), np.int8)
        multiplier = _round(step_in * step / step_out * 2**SHIFT)
        made[f"{name}.multiplier"] = _whole(name, multiplier, np.int32)
        if bias:
            have = np.zeros(len(step)) if layer.bias is None else layer.bias.double().numpy()
            made[f"{name}.bias"] = _whole(name, _round(have / (step_in * step)), np.int32)

    octaves = OCTAVE * math.log2(math.e)
    stream = 2.0**-RESIDUAL
    fraction = np.arange(256) / 256
    made["exp2"] = _whole("exp2", _round(2.0 ** (EXP_BITS - fraction)), np.int32)
    q = torch.arange(-128, 128) * ACT_STEP
    gelu = torch.nn.functional.gelu(q.double()).numpy() / ACT_STEP
    made["gelu"] = _whole("gelu", np.clip(_round(gelu), -127, 127), np.int8)
    table = model.embeddings.double().numpy()
    step = np.abs(table).max((1, 2)) / 127
    made["embeddings"] = _whole("embeddings", _round(table / step[:, None, None]), np.int8)
    gains = model.gains.double().numpy() * step / NORM_STEP
    made["gains"] = _whole("gains", _round(gains * 2**16), np.int32)
    product = ACT_STEP * step * octaves * 2**SHIFT
    made["product"] = _whole("product", _round(product), np.int32)
    made["norm"] = _whole("norm", _round([math.sqrt(own.width) / NORM_STEP * 256]), np.int32)
    dense("enter", model.enter, NORM_STEP, stream)
    dense("content_in", model.content_in, NORM_STEP, ACT_STEP)
    dense("content_out", model.content_out, ACT_STEP, stream)
    question = model.question.double().numpy() / stream
    made["question"] = _whole("question", _round(question), np.int32)
    score = ACT_STEP**2 / math.sqrt(own.width / own.heads) * octaves * 2**SHIFT
    made["score"] = _whole("score", _round([score] * own.layers), np.int32)
    for at, layer in enumerate(model.layers):
        for part in ("query", "key", "value"):
            dense(f"layers.{at}.{part}", getattr(layer, part), NORM_STEP, ACT_STEP)
        dense(f"layers.{at}.mix", layer.mix, MIX_STEP, stream)
        dense(f"layers.{at}.enter", layer.enter, NORM_STEP, ACT_STEP)
        dense(f"layers.{at}.leave", layer.leave, ACT_STEP, stream)
        distance = _round(layer.distance.double().numpy() * octaves)
        made[f"layers.{at}.distance"] = _whole("distance", distance, np.int32)
        nothing = _round(layer.nothing.double().numpy() * octaves)
        made[f"layers.{at}.nothing"] = _whole("nothing", nothing, np.int32)
    for k, book in enumerate(model.books):
        dense(f"books.{k}.answer", book.answer, NORM_STEP, ACT_STEP)
        if k > 0:
            dense(f"books.{k}.before", book.before, NORM_STEP, ACT_STEP, bias=False)
            dense(f"books.{k}.recent", book.recent, float(step[k - 1]), ACT_STEP, bias=False)
        dense(f"books.{k}.middle", book.middle, ACT_STEP, ACT_STEP)
        dense(f"books.{k}.leave", book.leave, ACT_STEP, ACT_STEP)
        bias = _round(book.bias.double().numpy() * octaves)
        made[f"books.{k}.bias"] = _whole(f"books.{k}.bias", bias, np.int16)
    tables = _round(model.frequencies.double().numpy() * octaves)
    for k in range(len(model.books), own.books):
        made[f"books.{k}.bias"] = _whole(f"books.{k}.bias", tables[k], np.int16)
    return made


def write(model: EntropyModel, path: Path) -> None:
    """Writes the integer tensors as a safetensors file."""
    path.write_bytes(save({k: np.ascontiguousarray(v) for k, v in tensors(model).items()}))


def clamp8(values: np.ndarray) -> np.ndarray:
    """To -127..127."""
    return np.clip(values, -127, 127)


class Integers:
    """The integer model, over whole recordings.

    path: the safetensors file. All arrays are int64; products are taken in doubles, which hold
    them exactly.
    """

    def __init__(self, path: Path):
        self.t = {name: value.astype(np.int64) for name, value in load_file(path).items()}
        self.modelled, self.entries, self.embedding = self.t["embeddings"].shape
        self.layers = len(self.t["score"])
        self.heads = len(self.t["layers.0.nothing"])
        self.books = sum(name.startswith("books.") and name.endswith(".bias") and
                         name.count(".") == 2 for name in self.t)

    @staticmethod
    def _product(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return (x.astype(np.float64) @ weight.T.astype(np.float64)).astype(np.int64)

    def _scaled(self, name: str, x: np.ndarray) -> np.ndarray:
        """Products with the layer's weights and its bias, times its multipliers."""
        sums = self._product(x, self.t[f"{name}.weight"])
        sums = sums + self.t.get(f"{name}.bias", 0)
        return sums * self.t[f"{name}.multiplier"]

    def dense(self, name: str, x: np.ndarray) -> np.ndarray:
        """A layer's output in the residual stream's units, or, clamped, as 8 bits."""
        return (self._scaled(name, x) + (1 << SHIFT - 1)) >> SHIFT

    def gelu(self, x: np.ndarray) -> np.ndarray:
        """By the table."""
        return self.t["gelu"][clamp8(x) + 128]

    def norm(self, x: np.ndarray) -> np.ndarray:
        """Each row to a mean square of one, in steps of 1/24."""
        x = np.clip(x, -(1 << 23) + 1, (1 << 23) - 1)
        rows = x.reshape(-1, x.shape[-1])
        made = np.zeros_like(rows)
        for row, out in zip(rows, made):
            power = int((row * row).sum())
            if power == 0:
                continue
            shift = (62 - power.bit_length()) // 2
            root = math.isqrt(power << 2 * shift)
            factor = (int(self.t["norm"][0]) * ((1 << 61) // root)) >> 16
            down = 53 - shift
            out[:] = clamp8((row * factor + (1 << down - 1)) >> down)
        return made.reshape(x.shape)

    def sums(self, codes: np.ndarray) -> list[np.ndarray]:
        """Sums of embeddings [T, embedding] before each book, and after all: depth + 1 of them."""
        total = np.zeros((len(codes), self.embedding), np.int64)
        found = [total]
        for k in range(min(codes.shape[1], self.modelled)):
            total = total + self.t["gains"][k] * self.t["embeddings"][k][codes[:, k]]
            found.append(total)
        return [clamp8((total + (1 << 15)) >> 16) for total in found]

    def memories(self, last: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Keys and values [T, width] of each layer."""
        x = self.dense("enter", last)
        x = x + self.dense("content_out", self.gelu(self.dense("content_in", self.norm(x))))
        normal = self.norm(x)
        return [
            tuple(clamp8(self.dense(f"layers.{at}.{part}", normal)) for part in ("key", "value"))
            for at in range(self.layers)
        ]

    def answers(self, memories: list, may: np.ndarray) -> np.ndarray:
        """Answers [T, width] of frames t that know frames s where may [T, T] says so."""
        time = len(may)
        back = np.arange(time)[:, None] - np.arange(time)[None]
        reach = self.t["layers.0.distance"].shape[1]
        may = may & (back >= 1) & (back <= reach)
        x = np.repeat(self.t["question"][None], time, 0)
        width = x.shape[1]
        for at, (key, value) in enumerate(memories):
            name = f"layers.{at}"
            query = clamp8(self.dense(f"{name}.query", self.norm(x)))
            mixed = np.zeros_like(x)
            for head in range(self.heads):
                part = slice(head * width // self.heads, (head + 1) * width // self.heads)
                product = self._product(query[:, part], key[:, part])
                score = (product * self.t["score"][at] + (1 << SHIFT - 1)) >> SHIFT
                score = score + self.t[f"{name}.distance"][head][np.clip(back - 1, 0, reach - 1)]
                nothing = self.t[f"{name}.nothing"][head]
                most = np.maximum(np.where(may, score, -(1 << 40)).max(1, initial=nothing), nothing)
                weight = np.where(may, self._exp(most[:, None] - score, 16, 7), 0)
                total = weight.sum(1) + self._exp(most - nothing, 16, 7)
                sums = self._product(weight, value[:, part].T)
                mixed[:, part] = clamp8((4 * sums + total[:, None]) // (2 * total[:, None]))
            x = x + self.dense(f"{name}.mix", mixed)
            hidden = self.gelu(self.dense(f"{name}.enter", self.norm(x)))
            x = x + self.dense(f"{name}.leave", hidden)
        return self.norm(x)

    def _exp(self, down: np.ndarray, least: int, less: int) -> np.ndarray:
        """2 to the -down / 256, in 22 - less bits; zero from 2 to the -least on."""
        down = np.asarray(down)
        octaves = np.clip(down >> 8, 0, least)
        return np.where(down >> 8 >= least, 0, self.t["exp2"][down & 255] >> (less + octaves))

    def logits(
        self, k: int, answer: np.ndarray, before: np.ndarray, codes: np.ndarray
    ) -> np.ndarray:
        """Logits [T, entries] of a book after codes [T, k or more], in 256ths of an octave."""
        bias = self.t[f"books.{k}.bias"]
        if k >= self.modelled:
            return np.repeat(bias[None], len(answer), 0)
        name = f"books.{k}"
        scaled = self._scaled(f"{name}.answer", answer)
        if k > 0:
            recent = self.t["embeddings"][k - 1][codes[:, k - 1]]
            scaled = scaled + self._scaled(f"{name}.before", before)
            scaled = scaled + self._scaled(f"{name}.recent", recent)
        x = self.gelu((scaled + (1 << SHIFT - 1)) >> SHIFT)
        x = clamp8(x + self.gelu(self.dense(f"{name}.middle", x)))
        direction = clamp8(self.dense(f"{name}.leave", x))
        product = self._product(direction, self.t["embeddings"][k]) * self.t["product"][k]
        return ((product + (1 << SHIFT - 1)) >> SHIFT) + bias

    def lows(self, logits: np.ndarray) -> np.ndarray:
        """Cumulative frequencies [T, entries + 1] of a total of 2 to the 24."""
        weight = self._exp(logits.max(1, keepdims=True) - logits, EXP_BITS + 1, 0)
        sums = np.zeros((len(logits), logits.shape[1] + 1), np.int64)
        np.cumsum(weight, axis=1, out=sums[:, 1:])
        entries = logits.shape[1]
        spread = sums * ((1 << TOTAL_BITS) - entries) // sums[:, -1:]
        return spread + np.arange(entries + 1)

    def bits(self, codes: np.ndarray, may: np.ndarray) -> np.ndarray:
        """Bits [T, depth] that codes [T, depth] take, where frame t knows s if may [T, T] says."""
        codes = codes.astype(np.int64)
        before = self.sums(codes)
        answer = self.answers(self.memories(before[-1]), may)
        row = np.arange(len(codes))
        found = []
        for k in range(codes.shape[1]):
            lows = self.lows(self.logits(k, answer, before[min(k, self.modelled)], codes))
            frequency = lows[row, codes[:, k] + 1] - lows[row, codes[:, k]]
            found.append(TOTAL_BITS - np.log2(frequency))
        return np.stack(found, 1)
