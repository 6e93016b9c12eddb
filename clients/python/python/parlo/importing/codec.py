"""What importing an architecture yields: two graphs that speak codes, and what to say of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from onnx import ModelProto

from .graph import Graph, State

MOST_BOOKS = 32  # of a token frame


class Makes(Protocol):
    """What makes a graph's model, which is large, when it is asked for."""

    states: list[State]

    def model(self) -> ModelProto:
        """The model."""


@dataclass
class Part:
    """One graph, with the shapes of its audio and its codes; a dimension of -1 is open."""

    graph: Makes
    audio: tuple[int, ...]
    codes: tuple[int, ...]


@dataclass
class Codec:
    """A codec as graphs.

    `encoder` takes `audio` and puts out `codes`; `decoder` takes `codes` and `in_use` and puts out
    `audio`. One frame a run, unless `whole` says why they take a whole recording.
    """

    architecture: str
    sample_rate: int
    frame_samples: int
    sizes: list[int]
    encoder: Part
    decoder: Part
    whole: str | None = None
    notes: list[str] = field(default_factory=list)
    order: str = "Code k is of codebook k, coarsest first."


def begin(graph: Graph, part: str, frame_samples: int, books: int, whole: bool) -> Part:
    """Declares what goes into the encoder's or the decoder's graph."""
    shapes = ((1, -1), (-1, books)) if whole else ((1, frame_samples), (1, books))
    if part == "encoder":
        graph.input("audio", shapes[0])
    else:
        graph.input("codes", shapes[1], np.int64)
        graph.input("in_use", (books,))
    return Part(graph, *shapes)


def finish(graph: Graph, part: Part, name: str, value: str):
    """Declares that `value` is what comes out, as "codes" or as "audio"."""
    if name == "codes":
        graph.output("codes", value, part.codes, np.int64)
    else:
        graph.output("audio", value, part.audio)
