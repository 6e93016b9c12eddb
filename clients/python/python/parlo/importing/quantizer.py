"""Residual vector quantization inside a graph: latents to codes, codes to latents."""

from __future__ import annotations

import numpy as np

from .graph import Graph



def residual_codes(graph: Graph, x: str, books: list[np.ndarray]) -> list[str]:
    """Code k is of the entry of book k nearest to what the books before it left of x.

    x is [steps, dimension], each book [entries, dimension], each result int64 [steps]. Of entries
    equally near it is the first. The rows' own lengths are the same for all entries, and left out.
    """
    codes = []
    for number, book in enumerate(books):
        table = graph.weight(book)
        lengths = (book.astype(np.float64) ** 2).sum(1).astype(np.float32)
        scores = graph.op("Gemm", x, table, graph.weight(lengths), alpha=-2.0, beta=1.0, transB=1)
        codes.append(graph.op("ArgMin", scores, axis=1, keepdims=0))
        if number + 1 < len(books):
            x = graph.op("Sub", x, graph.op("Gather", table, codes[-1], axis=0))
    return codes


def columns(graph: Graph, codes: list[str]) -> str:
    """Codes side by side: each [steps], together [steps, books]."""
    return graph.op("Concat", *(graph.op("Unsqueeze", code, graph.ints(1)) for code in codes),
                    axis=1)


def entries(graph: Graph, codes: str, in_use: str, books: list[np.ndarray]) -> str:
    """The sum of the entries in use: int64 [steps, books] to [steps, dimension].

    `in_use` has a value for each book, 1 or 0, in shape [books, 1].
    """
    first = np.cumsum([0] + [len(book) for book in books[:-1]]).astype(np.int64)
    rows = graph.op("Add", codes, graph.weight(first))
    found = graph.op("Gather", graph.weight(np.concatenate(books)), rows, axis=0)
    return graph.op("ReduceSum", graph.op("Mul", found, in_use), graph.ints(1), keepdims=0)


def latent_rows(graph: Graph, x: str) -> str:
    """[1, dimension, steps] to [steps, dimension]."""
    return graph.op("Squeeze", graph.op("Transpose", x, perm=[0, 2, 1]), graph.ints(0))


def latent_columns(graph: Graph, x: str) -> str:
    """[steps, dimension] to [1, dimension, steps]."""
    return graph.op("Unsqueeze", graph.op("Transpose", x, perm=[1, 0]), graph.ints(0))
