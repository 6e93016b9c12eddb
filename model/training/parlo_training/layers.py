"""The network's building block: a causal ConvNeXt block that can run frame by frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CausalBlock(nn.Module):
    """ConvNeXt block (Liu et al. 2022, as Vocos uses it) whose convolution sees the past only.

    Depthwise convolution over time, layer normalisation, two pointwise layers, and a residual
    connection scaled by a learned vector. Time and channels are the last two axes, in this order,
    so that pointwise layers are matrix products over rows: three times faster than convolutions
    when a call brings one frame.
    """

    def __init__(self, width: int, kernel: int, expansion: int, scale: float):
        super().__init__()
        self.past = kernel - 1
        self.depthwise = nn.Parameter(torch.randn(width, kernel) * (1 / kernel) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(width))
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, expansion * width)
        self.down = nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [B, T, C], state [B, kernel - 1, C] (None: silence before) -> y [B, T, C], new
        state."""
        if state is None:
            state = x.new_zeros(x.shape[0], self.past, x.shape[2])
        seen = torch.cat([state, x], dim=1)
        weight = self.depthwise.unsqueeze(1)
        y = F.conv1d(seen.transpose(1, 2), weight, self.bias, groups=x.shape[2]).transpose(1, 2)
        return self._rest(x, y), seen[:, -self.past :]

    def step(self, x: Tensor, state: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """A part of one stream: x [T, C], state [1, kernel - 1, C], rows [kernel, T] as `spans`
        makes them -> y [T, C], new state.

        Plain sums over what each row sees: for a few frames they are cheaper than a convolution.
        Matrices, not stacks of them: to products of those the runtime can add the bias at once.
        """
        seen = torch.cat([state, x.unsqueeze(0)], dim=1)
        # summed over the first axis, the runtime adds in one order, however many frames there are
        taps = self.depthwise.t().unsqueeze(1)
        y = (F.embedding(rows, seen.squeeze(0)) * taps).sum(0) + self.bias
        return self._rest(x, y), seen[:, -self.past :]

    def _rest(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.scale * self.down(F.silu(self.up(self.norm(y))))


class CausalStack(nn.Module):
    """Blocks one after the other, with one state each."""

    def __init__(self, width: int, blocks: int, kernel: int, expansion: int):
        super().__init__()
        self.kernel = kernel
        self.blocks = nn.ModuleList(
            CausalBlock(width, kernel, expansion, 1 / max(blocks, 1)) for _ in range(blocks)
        )

    def forward(self, x: Tensor, states: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """x [B, T, C] -> y [B, T, C], new states."""
        after = []
        for index, block in enumerate(self.blocks):
            x, state = block(x, None if states is None else states[index])
            after.append(state)
        return x, after

    def step(self, x: Tensor, states: list[Tensor], rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The same of one stream, in sums and products only: x [T, C], rows [kernel, T] as `spans`
        makes them."""
        after = []
        for block, state in zip(self.blocks, states, strict=True):
            x, state = block.step(x, state, rows)
            after.append(state)
        return x, after

    def initial_states(self, batch: int, width: int) -> list[Tensor]:
        """States at the start of a stream: zeros [B, kernel - 1, C]."""
        return [torch.zeros(batch, block.past, width) for block in self.blocks]


def spans(x: Tensor, kernel: int) -> Tensor:
    """Indices [kernel, T]: in row k those of what each of T rows x [T, ...] weighs with tap k, once
    `kernel` - 1 rows of the past stand before them."""
    return torch.arange(kernel, device=x.device)[:, None] + torch.arange(x.shape[0], device=x.device)
