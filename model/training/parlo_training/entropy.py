"""The entropy model: how probable each code is, given earlier frames and its frame's coarser codes.

A frame that is known is a *memory*: keys and values for each layer, made of its codes alone, so
that they are the same whatever else is known. A frame to be coded is a *question* that attends to
the memories it may use, layer by layer; one small network per codebook then takes the answer and
the codes so far to a vector whose products with the codebook's embeddings are the logits.

Everything that a program computes is made for integers: products of 8-bit numbers, sums in 32 bits,
tables. `Rounding` says where values are rounded, to what; in training it does so in floats
(Jacob et al. 2018, section 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Real values are these steps times an 8-bit integer.
NORM_STEP = 1 / 24  # a normalised vector, and sums of embeddings
ACT_STEP = 1 / 16  # before and after the non-linearity; queries, keys, values
MIX_STEP = 1 / 32  # what attention puts out


@dataclass(frozen=True)
class EntropyConfig:
    """Sizes. One head of attention is `width / heads` wide."""

    books: int = 12
    entries: int = 1024
    embedding: int = 64
    width: int = 160
    heads: int = 5
    layers: int = 3
    hidden: int = 288
    modelled: int = 12  # codebooks from here on have a table of frequencies, and no network
    fine_from: int = 6  # codebooks from here on have narrower networks of their own
    book_hidden: int = 128
    fine_hidden: int = 64
    content_hidden: int = 160
    reach: int = 256  # frames back; what lies further is forgotten


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, step):
        scaled = x / step
        ctx.save_for_backward(scaled.abs() <= 127.5)
        return scaled.round().clamp(-127, 127) * step

    @staticmethod
    def backward(ctx, grad):
        (inside,) = ctx.saved_tensors
        return grad * inside, None


class Rounding(nn.Module):
    """Limits values where the integers do, and, once it is switched on, rounds to 8 bits there."""

    def __init__(self):
        super().__init__()
        self.on = False

    def value(self, x: Tensor, step: float) -> Tensor:
        """A value of the network: within 127 times `step`, and a multiple of it."""
        return _Round.apply(x, step) if self.on else x.clamp(-127 * step, 127 * step)

    def weight(self, weight: Tensor, dims: tuple[int, ...] = (-1,)) -> Tensor:
        """Weights, in multiples of the largest / 127 (largest along `dims`)."""
        if not self.on:
            return weight
        step = weight.detach().abs().amax(dims, keepdim=True).clamp(min=1e-8) / 127
        rounded = (weight / step).round() * step
        return weight + (rounded - weight).detach()


def normalise(x: Tensor) -> Tensor:
    """To a mean square of one; what gains there are lie in the next layer's weights."""
    return F.rms_norm(x, (x.shape[-1],), eps=1e-6)


class Dense(nn.Linear):
    """A linear layer whose weights are rounded."""

    def __init__(self, rounding: Rounding, inputs: int, outputs: int, bias: bool = True):
        super().__init__(inputs, outputs, bias=bias)
        self.rounding = [rounding]  # in a list: not a child of each layer

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.rounding[0].weight(self.weight), self.bias)


class Layer(nn.Module):
    """Attention from questions to memories, and two dense layers."""

    def __init__(self, own: EntropyConfig, rounding: Rounding):
        super().__init__()
        self.own, self.rounding = own, [rounding]
        width, heads = own.width, own.heads
        self.query = Dense(rounding, width, width)
        self.key = Dense(rounding, width, width, bias=False)
        self.value = Dense(rounding, width, width)
        self.mix = Dense(rounding, width, width)
        self.enter = Dense(rounding, width, own.hidden)
        self.leave = Dense(rounding, own.hidden, width)
        for last in (self.mix, self.leave):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        # Score of a memory by how many frames back it is; each head begins with another reach.
        back = torch.arange(own.reach).float()
        slopes = 2.0 ** -(1 + torch.arange(heads))
        slopes[-1] = 0
        self.distance = nn.Parameter((-slopes[:, None] * back).clamp(min=-8))
        self.nothing = nn.Parameter(torch.zeros(heads))  # score of attending to no memory

    def _heads(self, x: Tensor) -> Tensor:
        *batch, time, _ = x.shape
        return x.reshape(*batch, time, self.own.heads, -1).transpose(-2, -3)

    def memory(self, content: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised content [B, T, width] -> keys, values [B, heads, T, width / heads]."""
        rounding = self.rounding[0]
        key = rounding.value(self.key(content), ACT_STEP)
        value = rounding.value(self.value(content), ACT_STEP)
        return self._heads(key), self._heads(value)

    def attend(self, x: Tensor, memory: tuple[Tensor, Tensor], back: Tensor, may: Tensor):
        """Questions x [B, T, width] after this layer.

        back: [T, S] how many frames back a memory is; may: [B or 1, 1, T, S] whether it is known.
        """
        rounding = self.rounding[0]
        key, value = memory
        normal = rounding.value(normalise(x), NORM_STEP)
        query = self._heads(rounding.value(self.query(normal), ACT_STEP))
        bias = self.distance[:, (back - 1).clamp(0, self.own.reach - 1)]
        may = may & (back >= 1) & (back <= self.own.reach)
        bias = bias.masked_fill(~may, -1e4)
        # attending to nothing: a memory of zeros with a score of its own
        zero = torch.zeros_like(key[..., :1, :])
        nothing = self.nothing[:, None, None].expand(*bias.shape[:-1], 1)
        mixed = F.scaled_dot_product_attention(
            query, torch.cat([zero, key], -2), torch.cat([zero, value], -2),
            attn_mask=torch.cat([nothing, bias], -1).to(query.dtype),
        )
        mixed = rounding.value(mixed.transpose(-2, -3).reshape(x.shape), MIX_STEP)
        x = x + self.mix(mixed)
        normal = rounding.value(normalise(x), NORM_STEP)
        hidden = rounding.value(self.enter(normal), ACT_STEP)
        return x + self.leave(rounding.value(F.gelu(hidden), ACT_STEP))


class Book(nn.Module):
    """One codebook's network: from an answer and the codes so far to the logits of its codes."""

    def __init__(self, own: EntropyConfig, rounding: Rounding, book: int):
        super().__init__()
        self.rounding = [rounding]
        hidden = own.fine_hidden if book >= own.fine_from else own.book_hidden
        self.answer = Dense(rounding, own.width, hidden)
        if book > 0:
            self.before = Dense(rounding, own.embedding, hidden, bias=False)
            self.recent = Dense(rounding, own.embedding, hidden, bias=False)
        self.middle = Dense(rounding, hidden, hidden)
        self.leave = Dense(rounding, hidden, own.embedding)
        self.bias = nn.Parameter(torch.zeros(own.entries))

    def forward(
        self, answer: Tensor, before: Tensor, recent: Tensor | None, embeddings: Tensor
    ) -> Tensor:
        """answer [..., width], before, recent [..., embedding] -> logits [..., entries], natural.

        before: the sum of the coarser codes' embeddings; recent: that of the last code alone, which
        the rounded sum hardly shows where codebooks are fine; none before the first book.
        """
        rounding = self.rounding[0]
        x = self.answer(answer)
        if recent is not None:
            x = x + self.before(before) + self.recent(recent)
        x = rounding.value(x, ACT_STEP)
        x = rounding.value(F.gelu(x), ACT_STEP)
        middle = rounding.value(self.middle(x), ACT_STEP)
        x = rounding.value(x + rounding.value(F.gelu(middle), ACT_STEP), ACT_STEP)
        direction = rounding.value(self.leave(x), ACT_STEP)
        return F.linear(direction, embeddings) + self.bias.to(direction.dtype)


class EntropyModel(nn.Module):
    """Probabilities of codes.

    books: the quantizer's codebooks [K, entries, D], where the embeddings begin; frequencies [K,
    entries]: how often each code is used, where the logits begin. Both may be left out if a state
    is loaded afterwards.
    """

    def __init__(
        self, own: EntropyConfig, books: Tensor | None = None, frequencies: Tensor | None = None
    ):
        super().__init__()
        self.own = own
        self.rounding = rounding = Rounding()
        shape = (own.modelled, own.entries, own.embedding)
        books = torch.randn(shape) if books is None else books[: own.modelled].float()
        books = books / books[0].std(0)  # each element of the latent counts alike
        scale = books.std((1, 2))
        self.embeddings = nn.Parameter(books / scale[:, None, None] * 0.5)
        self.gains = nn.Parameter(scale * 2)
        self.enter = Dense(rounding, own.embedding, own.width)
        self.content_in = Dense(rounding, own.width, own.content_hidden)
        self.content_out = Dense(rounding, own.content_hidden, own.width)
        nn.init.zeros_(self.content_out.weight)
        self.question = nn.Parameter(torch.randn(own.width))
        self.layers = nn.ModuleList(Layer(own, rounding) for _ in range(own.layers))
        self.books = nn.ModuleList(Book(own, rounding, k) for k in range(own.modelled))
        share = torch.ones(own.books, own.entries) if frequencies is None else frequencies + 1.0
        # logarithms of how often each code is used
        self.register_buffer("frequencies", (share / share.sum(1, keepdim=True)).log().float())
        for book, row in zip(self.books, self.frequencies):
            book.bias.data = row.clone()

    def sums(self, codes: Tensor, depth: Tensor) -> tuple[list[Tensor], Tensor]:
        """Sums of embeddings before each book and after all, [B, T, embedding].

        codes [B, T, K]; depth [B]: codes from there on count as absent.
        """
        total = torch.zeros(*codes.shape[:2], self.own.embedding)
        before = []
        for k in range(min(codes.shape[2], self.own.modelled)):
            before.append(self.rounding.value(total, NORM_STEP))
            there = (depth > k)[:, None, None]
            total = total + self.table(k)[codes[..., k]] * (self.gains[k] * there)
        return before, self.rounding.value(total, NORM_STEP)

    def memories(self, total: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Each layer's keys and values of frames whose embeddings sum to total [B, T, embedding]."""
        rounding = self.rounding
        x = self.enter(total)
        normal = rounding.value(normalise(x), NORM_STEP)
        hidden = rounding.value(self.content_in(normal), ACT_STEP)
        x = x + self.content_out(rounding.value(F.gelu(hidden), ACT_STEP))
        normal = rounding.value(normalise(x), NORM_STEP)
        return [layer.memory(normal) for layer in self.layers]

    def answers(self, memories: list, back: Tensor, may: Tensor) -> Tensor:
        """Answers [B, T, width] to the question at each of T frames; see `Layer.attend`."""
        batch = max(memories[0][0].shape[0], may.shape[0])
        x = self.question.expand(batch, back.shape[0], -1)
        for layer, memory in zip(self.layers, memories):
            x = layer.attend(x, memory, back, may)
        return self.rounding.value(normalise(x), NORM_STEP)

    def table(self, book: int) -> Tensor:
        """A book's embeddings [entries, embedding]."""
        return self.rounding.weight(self.embeddings[book], (0, 1))

    def logits(self, book: int, answer: Tensor, before: Tensor, codes: Tensor) -> Tensor:
        """Natural logits [..., entries] of a book's codes, after the frame's coarser `codes`."""
        recent = self.table(book - 1)[codes[..., book - 1]] if book else None
        return self.books[book](answer, before, recent, self.table(book))

    def bits(
        self, codes: Tensor, depth: Tensor, may: Tensor, books: list[int] | None = None
    ) -> dict[int, tuple[Tensor, Tensor]]:
        """{book: (rows [R], bits [R, T])} that codes [B, T, K] take, for rows that deep.

        depth [B]; may [B or 1, 1, T, T]: whether frame s (last) is known when t is coded.
        """
        time = codes.shape[1]
        at = torch.arange(time)
        before, total = self.sums(codes, depth)
        answer = self.answers(self.memories(total), at[:, None] - at[None], may)
        found = {}
        for k in range(codes.shape[2]) if books is None else books:
            rows = (depth > k).nonzero()[:, 0]
            if len(rows) == 0:
                continue
            if k >= self.own.modelled:
                lost = -self.frequencies[k][codes[rows][..., k]]
            else:
                logits = self.logits(k, answer[rows], before[k][rows], codes[rows]).float()
                lost = F.cross_entropy(
                    logits.flatten(0, 1), codes[rows][..., k].flatten(), reduction="none"
                ).reshape(len(rows), time)
            found[k] = (rows, lost / math.log(2))
        return found
