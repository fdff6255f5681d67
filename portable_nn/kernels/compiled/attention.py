"""attention: the products are NumPy's, what lies between them is one pass over the scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from portable_nn.kernels.compiled.common import flat, takes
from portable_nn.kernels.compiled.elementary import exp, ordered
from portable_nn.kernels.compiled.jit import Mask, Matrix, OutMatrix, OutVector, Positions, Vector, compiled
from portable_nn.kernels.numpy import attention
from portable_nn.kernels.registry import register

_HIDDEN = -3.4028234663852886e38  # the lowest float32


@compiled
def score_exponentials(e: OutMatrix, factors: OutVector, visible: Matrix, row_of: Positions) -> None:
    """exp(score - the largest visible one), in place, and one over the sum of each row (1 where all are hidden).

    `visible` is 1 where a score counts and 0 where it does not, in rows that `row_of` tells apart; empty if all count.
    """
    for i in range(e.shape[0]):
        row, most, total = e[i], np.int32(-0x80000000), 0.0
        if row_of.size:
            seen = visible[row_of[i]]
            for j in range(row.size):
                score = _HIDDEN if seen[j] == 0.0 else row[j]
                most = np.int32(max(most, ordered(score)))
                row[j] = score
        else:
            for j in range(row.size):
                most = np.int32(max(most, ordered(row[j])))
        top = np.int32(ordered(np.int32(most).view(np.float32))).view(np.float32)
        if top == _HIDDEN:
            row[:] = 0.0
        else:
            for j in range(row.size):
                power = exp(row[j] - top)
                total += power
                row[j] = power
        factors[i] = 1.0 if total == 0.0 else 1.0 / total


@compiled
def score_gradients(g: OutMatrix, e: Matrix, factors: Vector, keep: Mask) -> None:
    """In place: (g - δ) e, where δ is the row's sum of e g times its factor; `keep` is empty without dropout."""
    for i in range(g.shape[0]):
        row, total = g[i], 0.0
        if keep.size:
            kept = keep[i * row.size:(i + 1) * row.size]
            for j in range(row.size):
                value = row[j] * (1.0 if kept[j] else 0.0)
                total += value * e[i, j]
                row[j] = value
        else:
            for j in range(row.size):
                total += row[j] * e[i, j]
        total *= factors[i]
        for j in range(row.size):
            row[j] = (row[j] - total) * e[i, j]


def _exponentials(e: np.ndarray, visible: np.ndarray | None) -> np.ndarray:
    width, factors = e.shape[-1], np.empty((*e.shape[:-1], 1), dtype=e.dtype)
    seen, row_of = np.empty((0, 0), dtype=e.dtype), np.empty(0, dtype=np.int64)
    if visible is not None:
        seen = np.ascontiguousarray(np.broadcast_to(visible, (*visible.shape[:-1], width)))
        numbers = np.arange(math.prod(seen.shape[:-1]), dtype=np.int64).reshape(seen.shape[:-1])
        row_of = flat(np.broadcast_to(numbers, e.shape[:-1]))
        seen = seen.reshape(-1, width)
    score_exponentials(e.reshape(-1, width), factors.reshape(-1), seen, row_of)
    return factors


def _score_gradient(g: np.ndarray, e: np.ndarray, r: np.ndarray, keep: np.ndarray | None) -> None:
    width = e.shape[-1]
    score_gradients(g.reshape(-1, width), e.reshape(-1, width), flat(r),
                    np.empty(0, dtype=np.bool_) if keep is None else flat(keep))


BETWEEN = attention.Between(_exponentials, _score_gradient)


def forward(*arrays: Any, **options: Any) -> tuple[np.ndarray, Any]:
    return attention.forward(*arrays, **options, between=BETWEEN)


def infer(*arrays: Any, **options: Any) -> np.ndarray:
    return attention.forward(*arrays, **options, between=BETWEEN, keeps=False)[0]


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    return attention.gradients_of(g, saved, needs, BETWEEN)


def supports(query: Any, key: Any, value: Any, mask: Any, **options: Any) -> bool:
    return (takes(query, size=math.prod(query.shape[:-1]) * key.shape[-2])
            and attention.supports(query, key, value, mask, **options))


register("attention", "numpy", forward, backward, supports, infer=infer)
