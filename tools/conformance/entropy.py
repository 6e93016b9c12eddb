"""Payloads of the entropy coder, read and written by docs/entropy.md alone, with numpy."""

from math import isqrt

import numpy as np
from safetensors.numpy import load_file

from ptk import Damaged

# The sum of all shares.
BITS = 24


class Writer:
    """Symbols to bytes. Symbol s of a table owns bounds[s] to bounds[s + 1]."""

    def __init__(self):
        # The low end is one number of any length, so that carries look after themselves.
        self.low, self.range, self.words = 0, 2**64 - 1, 2

    def push(self, bounds, symbol):
        begin, end = map(int, bounds[symbol : symbol + 2])
        scale = self.range >> BITS
        self.low += scale * begin
        self.range = scale * (end - begin)
        if self.range < 2**32:
            self.low, self.range, self.words = self.low << 32, self.range << 32, self.words + 1

    def payload(self):
        """The fewest bytes that lie in the interval if zeros follow; of these the least."""
        for count in range(4 * self.words + 1):
            beyond = 32 * self.words - 8 * count
            number = -(-self.low >> beyond)
            if number << beyond < self.low + self.range:
                return number.to_bytes(count, "big")


class Reader:
    """Bytes to symbols."""

    def __init__(self, payload):
        self.range, self.rest = 2**64 - 1, payload
        # How far the payload lies above the low end.
        self.above = self._read(8)

    def _read(self, count):
        taken, self.rest = self.rest[:count], self.rest[count:]
        return int.from_bytes(taken.ljust(count, b"\0"), "big")

    def take(self, bounds):
        scale = self.range >> BITS
        quantile = self.above // scale
        if quantile >= 2**BITS:
            raise Damaged("a payload lies outside of every code's interval")
        symbol = int(np.searchsorted(bounds, quantile, "right")) - 1
        begin, end = map(int, bounds[symbol : symbol + 2])
        self.above -= scale * begin
        self.range = scale * (end - begin)
        if self.range < 2**32:
            self.above, self.range = self.above << 32 | self._read(4), self.range << 32
        return symbol


class Coder:
    """A bundle's entropy model at work on blocks of files: of other frames, only earlier ones of the block count."""

    def __init__(self, path):
        self.tensors = {name: tensor.astype(np.int64) for name, tensor in load_file(path).items()}
        # Doubles hold integers up to 2^53, and sums of products here stay below 2^31: matrix products in them are exact
        # in whatever order they are summed, and fast, as those of integers in numpy are not.
        self.weights = {name: tensor.astype(float) for name, tensor in self.tensors.items() if name.endswith(".weight")}
        self.embeddings = self.tensors["embeddings"]
        self.entries = self.embeddings.astype(float)
        self.layers = [f"layers.{layer}" for layer in range(len(self.tensors["score"]))]
        self.heads, self.reach = self.tensors["layers.0.distance"].shape

    def decode(self, payload, count, depth):
        """A payload to `count` frames of `depth` codes."""
        reader, writer = Reader(payload), Writer()

        def code(bounds):
            taken = reader.take(bounds)
            writer.push(bounds, taken)
            return taken

        frames = self._walk([depth] * count, code)
        if writer.payload() != payload:
            raise Damaged("a payload is not the one that stands for its codes")
        return frames

    def encode(self, frames):
        """Frames, of whatever depth each has, to the payload that stands for them."""
        writer, codes = Writer(), (code for frame in frames for code in frame)

        def code(bounds):
            taken = next(codes)
            writer.push(bounds, taken)
            return taken

        self._walk([len(frame) for frame in frames], code)
        return writer.payload()

    def _walk(self, depths, code):
        """Frames of these depths, code by code: `code` is told the bounds of all intervals, and answers with the next code."""
        count = len(depths)
        # [layer, head, frame, part of the width]
        shape = (len(self.layers), self.heads, count, len(self.tensors["question"]) // self.heads)
        keys, values = np.zeros(shape), np.zeros(shape)
        frames = []
        for now, depth in enumerate(depths):
            past = slice(max(0, now - self.reach), now)
            answer = self._answer(keys[:, :, past], values[:, :, past])
            frame, total = [], np.zeros(self.embeddings.shape[2], np.int64)
            for book in range(depth):
                frame.append(code(self._bounds(book, answer, total, frame)))
                if book < len(self.embeddings):
                    total += self.tensors["gains"][book] * self.embeddings[book, frame[-1]]
            keys[:, :, now], values[:, :, now] = self._memory(total)
            frames.append(frame)
        return frames

    def _memory(self, total):
        x = self._dense("enter", clamp8(shift(total, 16)))
        x = x + self._dense("content_out", self._gelu(self._dense("content_in", self._norm(x))))
        x = self._norm(x)
        made = [[clamp8(self._dense(f"{layer}.{part}", x)) for layer in self.layers] for part in ("key", "value")]
        return np.reshape(made, (2, len(self.layers), self.heads, -1))

    def _answer(self, keys, values):
        x = self.tensors["question"]
        for at, layer in enumerate(self.layers):
            query = clamp8(self._dense(f"{layer}.query", self._norm(x)))
            x = x + self._dense(f"{layer}.mix", self._attention(at, query, keys[at], values[at]))
            x = x + self._dense(f"{layer}.leave", self._gelu(self._dense(f"{layer}.enter", self._norm(x))))
        return self._norm(x)

    def _attention(self, at, query, keys, values):
        products = whole(keys @ query.reshape(self.heads, -1, 1).astype(float))[..., 0]
        # The last memory is one frame back.
        distance = self.tensors[f"layers.{at}.distance"][:, : keys.shape[1]][:, ::-1]
        scores = shift(products * self.tensors["score"][at], 24) + distance
        scores = np.column_stack([scores, self.tensors[f"layers.{at}.nothing"]])
        weights = self._exp2(scores.max(1, keepdims=True) - scores, 7)
        sums = whole(weights[:, None, :-1].astype(float) @ values)[:, 0]
        totals = weights.sum(1, keepdims=True)
        return clamp8((4 * sums + totals) // (2 * totals)).reshape(-1)

    def _bounds(self, book, answer, total, frame):
        """Where the interval of each code begins, and where the last one ends."""
        logits = self.tensors[f"books.{book}.bias"]
        if book < len(self.embeddings):
            products = whole(self.entries[book] @ self._direction(book, answer, total, frame).astype(float))
            logits = logits + shift(products * self.tensors["product"][book], 24)
        sums = np.append(0, self._exp2(logits.max() - logits).cumsum())
        codes = len(logits)
        return np.arange(codes + 1) + sums * (2**BITS - codes) // sums[-1]

    def _direction(self, book, answer, total, frame):
        name = f"books.{book}"
        x = self._scaled(f"{name}.answer", answer)
        if book > 0:
            x = x + self._scaled(f"{name}.before", clamp8(shift(total, 16)))
            x = x + self._scaled(f"{name}.recent", self.embeddings[book - 1, frame[-1]])
        x = self._gelu(shift(x, 24))
        x = clamp8(x + self._gelu(self._dense(f"{name}.middle", x)))
        return clamp8(self._dense(f"{name}.leave", x))

    def _scaled(self, name, x):
        """What a dense layer shifts."""
        sums = whole(self.weights[f"{name}.weight"] @ x.astype(float)) + self.tensors.get(f"{name}.bias", 0)
        return sums * self.tensors[f"{name}.multiplier"]

    def _dense(self, name, x):
        return shift(self._scaled(name, x), 24)

    def _norm(self, x):
        x = x.clip(1 - 2**23, 2**23 - 1)
        squares = int(x @ x)
        if squares == 0:
            return x
        sh = (62 - squares.bit_length()) // 2
        multiplier = int(self.tensors["norm"][0]) * (2**61 // isqrt(squares << 2 * sh)) >> 16
        return clamp8(shift(x * multiplier, 53 - sh))

    def _gelu(self, x):
        return self.tensors["gelu"][clamp8(x) + 128]

    def _exp2(self, x, fewer=0):
        """2^-x for x in 256ths, with 22 - `fewer` fractional bits."""
        # Of 23 bits, 31 shifts leave nothing either, and numpy knows no shifts beyond 63.
        return self.tensors["exp2"][x & 255] >> np.minimum((x >> 8) + fewer, 31)


def clamp8(x):
    return x.clip(-127, 127)


def shift(x, bits):
    """x / 2^bits, halves rounded up."""
    return x + (1 << bits - 1) >> bits


def whole(x):
    return x.astype(np.int64)
