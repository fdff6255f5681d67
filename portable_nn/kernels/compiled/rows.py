"""Rows of tables: summed in bags, and added to by index, each row read and written once.

Threads share what is added by the rows that it goes to, so that every row adds up in the order of the indices.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.kernels.compiled.common import row_blocks, takes
from portable_nn.kernels.compiled.jit import Count, Flag, Matrix, Number, OutMatrix, Positions, Vector, compiled
from portable_nn.kernels.compiled.prefetch import AHEAD, hint_row
from portable_nn.kernels.numpy import embedding as on_numpy
from portable_nn.kernels.numpy import rows as rows_on_numpy
from portable_nn.kernels.numpy.blocks import is_floating
from portable_nn.kernels.numpy.buffers import empty
from portable_nn.kernels.numpy.indices import check_range
from portable_nn.kernels.numpy.threads import allowed, share
from portable_nn.kernels.registry import register

#: Numbers to be written from which threads share them.
SHARED = 1 << 18


@compiled
def sum_bags(out: OutMatrix, indices: Positions, ends: Positions, weights: Vector, table: Matrix) -> None:
    """out[b] = Σ weights[i] · table[indices[i]] for i from ends[b] to ends[b + 1]."""
    for b in range(out.shape[0]):
        for d in range(out.shape[1]):
            out[b, d] = 0.0
        for i in range(ends[b], ends[b + 1]):
            if i + AHEAD < indices.size:
                hint_row(table, indices[i + AHEAD])
            row, weight = indices[i], weights[i]
            for d in range(out.shape[1]):
                out[b, d] += weight * table[row, d]


@compiled
def add_bags(part: OutMatrix, first: Count, fresh: Flag, indices: Positions, ends: Positions, weights: Vector,
             factor: Number, vectors: Matrix) -> None:
    """part[indices[i] - first] += factor · weights[i] · vectors[b] for i of bag b, where that row is in this part."""
    count = part.shape[0]
    if fresh:
        for r in range(count):
            for d in range(part.shape[1]):
                part[r, d] = 0.0
    for b in range(vectors.shape[0]):
        for i in range(ends[b], ends[b + 1]):
            following = indices[min(i + AHEAD, indices.size - 1)] - first
            if 0 <= following < count:
                hint_row(part, following)
            r = indices[i] - first
            if 0 <= r < count:
                weight = factor * weights[i]
                for d in range(part.shape[1]):
                    part[r, d] += weight * vectors[b, d]


@compiled
def add_each(part: OutMatrix, first: Count, fresh: Flag, indices: Positions, factor: Number, vectors: Matrix) -> None:
    """part[indices[i] - first] += factor · vectors[i], where that row is in this part."""
    count = part.shape[0]
    if fresh:
        for r in range(count):
            for d in range(part.shape[1]):
                part[r, d] = 0.0
    for i in range(indices.size):
        following = indices[min(i + AHEAD, indices.size - 1)] - first
        if 0 <= following < count:
            hint_row(part, following)
        r = indices[i] - first
        if 0 <= r < count:
            for d in range(part.shape[1]):
                part[r, d] += factor * vectors[i, d]


def positions(indices: np.ndarray) -> np.ndarray:
    """Indices, flat and as the compiled functions take them."""
    return np.ascontiguousarray(indices, dtype=np.int64).reshape(-1)


def in_parts(function: Any, table: np.ndarray, fresh: bool, indices: np.ndarray, *arguments: Any) -> None:
    """`function(part, first, ...)` over parts of a table, one for each thread: the sums are the same however many."""
    written = indices.size * table.shape[1] + (table.size if fresh else 0)
    size = max(1, -(-table.shape[0] // (allowed() if written >= SHARED else 1)))
    share(lambda first: function(table[first:first + size], first, fresh, indices, *arguments),
          range(0, table.shape[0], size))


def add_rows(table: np.ndarray, indices: np.ndarray, coefficients: np.ndarray | None, vectors: np.ndarray, *,
             factor: float = 1.0, fresh: bool = False) -> None:
    """As `kernels.numpy.rows.add_rows`; a fresh table is set to 0 first."""
    indices, vectors = positions(indices), np.ascontiguousarray(vectors)
    check_range("indices", indices, table.shape[0])
    if coefficients is None:
        in_parts(add_each, table, fresh, indices, factor, vectors)
        return
    ends = np.arange(0, indices.size + 1, coefficients.shape[1])
    in_parts(add_bags, table, fresh, indices, ends, np.ascontiguousarray(coefficients).reshape(-1), factor, vectors)


def embedding_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    indices, shape = saved
    g_weight = empty(shape, g.dtype)
    add_rows(g_weight, indices, None, g.reshape(-1, shape[1]), fresh=True)
    return None, g_weight


def embedding_bag(indices: np.ndarray, offsets: np.ndarray, weight: np.ndarray, per_sample_weights: np.ndarray | None,
                  *, mode: str) -> tuple[np.ndarray, Any]:
    ends, lengths, weights = on_numpy.make_bags(indices, offsets, weight, per_sample_weights, mode)
    places, table = positions(indices), np.ascontiguousarray(weight)
    out = empty((lengths.size, weight.shape[1]), weight.dtype)
    share(lambda block: sum_bags(out[block], places, ends[block.start:block.stop + 1], weights, table),
          row_blocks(out))
    return out, (places, ends, weights, lengths, weight)


def embedding_bag_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    indices, ends, weights, lengths, weight = saved
    g, g_weight = np.ascontiguousarray(g), None
    g_weights = np.vecdot(np.repeat(g, lengths, axis=0), weight.take(indices, axis=0)) if needs[3] else None
    if needs[2]:
        g_weight = empty(weight.shape, weight.dtype)
        in_parts(add_bags, g_weight, True, indices, ends, weights, 1.0, g)
    return None, None, g_weight, g_weights


def _is_table(weight: Any) -> bool:
    return is_floating(weight) and weight.ndim == 2 and takes(weight, "fd")


register("add_rows", "numpy", add_rows, None,
         lambda table, indices, coefficients, vectors, **options: _is_table(table) and takes(vectors, "fd")
         and rows_on_numpy.supports(table, indices, coefficients, vectors))
register("embedding", "numpy", on_numpy.embedding, embedding_backward,
         lambda indices, weight: type(indices) is np.ndarray and _is_table(weight))
register("embedding_bag", "numpy", embedding_bag, embedding_bag_backward,
         lambda indices, offsets, weight, per_sample_weights, *, mode: _is_table(weight))
