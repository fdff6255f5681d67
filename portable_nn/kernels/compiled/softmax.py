"""softmax, log_softmax and cross-entropy along the last axis.

Rows are taken some at a time, so that their exponentials, which are made as one vector, stay in the nearest cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.kernels.compiled.common import as_rows, by_rows, flat, takes
from portable_nn.kernels.compiled.elementary import difference, exp, ordered
from portable_nn.kernels.compiled.jit import Matrix, OutMatrix, OutVector, Positions, Vector, compiled, inline
from portable_nn.kernels.numpy.buffers import empty
from portable_nn.kernels.numpy.indices import check_range
from portable_nn.kernels.registry import register

#: Elements of the rows that are taken at a time.
_TILE = 2048


@inline
def shifted_exponentials(out, x, largest, start, stop):
    """exp(x - the row's largest) of the rows from start to stop."""
    for i in range(start, stop):
        row, to, most = x[i], out[i], np.int32(-0x80000000)
        for j in range(row.size):
            most = np.int32(max(most, ordered(row[j])))
        top = np.int32(ordered(np.int32(most).view(np.float32))).view(np.float32)
        largest[i] = top
        for j in range(row.size):
            to[j] = row[j] - top
    vector = out[start:stop].reshape(-1)
    for k in range(vector.size):
        vector[k] = exp(vector[k])


@compiled
def exponentials(out: OutMatrix, sums: OutVector, largest: OutVector, x: Matrix) -> None:
    size = max(1, _TILE // x.shape[1])
    for start in range(0, x.shape[0], size):
        stop = min(start + size, x.shape[0])
        shifted_exponentials(out, x, largest, start, stop)
        for i in range(start, stop):
            row, total = out[i], 0.0
            for j in range(row.size):
                total += row[j]
            sums[i] = total


@compiled
def softmax_rows(out: OutMatrix, largest: OutVector, x: Matrix) -> None:
    size = max(1, _TILE // x.shape[1])
    for start in range(0, x.shape[0], size):
        stop = min(start + size, x.shape[0])
        shifted_exponentials(out, x, largest, start, stop)
        for i in range(start, stop):
            row, total = out[i], 0.0
            for j in range(row.size):
                total += row[j]
            factor = 1.0 / total
            for j in range(row.size):
                row[j] *= factor


@compiled
def softmax_gradients(g_x: OutMatrix, g: Matrix, out: Matrix) -> None:
    for i in range(out.shape[0]):
        total = 0.0
        for j in range(out.shape[1]):
            total += g[i, j] * out[i, j]
        for j in range(out.shape[1]):
            g_x[i, j] = out[i, j] * (g[i, j] - total)


@compiled
def log_softmax_rows(out: OutMatrix, largest: OutVector, x: Matrix) -> None:
    size = max(1, _TILE // x.shape[1])
    for start in range(0, x.shape[0], size):
        stop = min(start + size, x.shape[0])
        shifted_exponentials(out, x, largest, start, stop)
        for i in range(start, stop):
            total = 0.0
            for j in range(x.shape[1]):
                total += out[i, j]
            shift = np.log(total)
            for j in range(x.shape[1]):
                out[i, j] = difference(x[i, j], largest[i], shift)


@compiled
def log_softmax_gradients(g_x: OutMatrix, g: Matrix, out: Matrix) -> None:
    for i in range(out.shape[0]):
        total = 0.0
        for j in range(out.shape[1]):
            total += g[i, j]
        for j in range(out.shape[1]):
            g_x[i, j] = g[i, j] - exp(out[i, j]) * total


@compiled
def cross_entropy_gradients(powers: OutMatrix, factors: Vector, g: Vector, labels: Positions) -> None:
    """From exponentials to gradients, in place: softmax minus one at the label, times g."""
    for i in range(powers.shape[0]):
        for j in range(powers.shape[1]):
            powers[i, j] *= factors[i]
        powers[i, labels[i]] -= g[i]


def _along_rows(rows_function: Any, x: np.ndarray) -> np.ndarray:
    rows, out = as_rows(x, x.shape[-1]), empty(x.shape, x.dtype)
    by_rows(rows_function, out.reshape(rows.shape), np.empty(rows.shape[0], dtype=x.dtype), rows)
    return out


def _gradient(rows_function: Any, g: np.ndarray, out: np.ndarray) -> tuple:
    g_x, width = empty(out.shape, out.dtype), out.shape[-1]
    by_rows(rows_function, g_x.reshape(-1, width), as_rows(g, width), out.reshape(-1, width))
    return (g_x,)


def softmax(x: np.ndarray, *, axis: int) -> tuple[np.ndarray, Any]:
    out = _along_rows(softmax_rows, x)
    return out, out


def log_softmax(x: np.ndarray, *, axis: int) -> tuple[np.ndarray, Any]:
    out = _along_rows(log_softmax_rows, x)
    return out, out


def supports(x: Any, *, axis: int) -> bool:
    return takes(x) and axis in (-1, x.ndim - 1)


def cross_entropy(logits: np.ndarray, target: np.ndarray, weight: np.ndarray | None) -> tuple[np.ndarray, Any]:
    labels, width = target.reshape(-1), logits.shape[-1]
    rows = as_rows(logits, width)
    check_range("labels", labels, width)
    labels = np.ascontiguousarray(labels, dtype=np.int64)
    powers, (sums, losses) = empty(rows.shape, rows.dtype), np.empty((2, labels.size), dtype=rows.dtype)
    by_rows(exponentials, powers, sums, losses, rows)                # the losses are the largest logits, for a moment
    losses += np.log(sums)
    losses -= rows[np.arange(labels.size), labels]
    scale = None if weight is None else weight.take(labels)
    out = losses if scale is None else losses * scale
    return out.reshape(target.shape), (powers, sums, scale, losses, labels, logits.shape)


def cross_entropy_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    powers, sums, scale, losses, labels, shape = saved
    g, g_logits, g_weight = flat(g), None, None
    if needs[2]:
        g_weight = np.bincount(labels, weights=g * losses, minlength=shape[-1]).astype(losses.dtype, copy=False)
    if needs[0]:
        g = g if scale is None else g * scale
        by_rows(cross_entropy_gradients, powers, g / sums, g, labels)  # the powers are nobody else's
        g_logits = powers.reshape(shape)
    return g_logits, None, g_weight


register("softmax", "numpy", softmax, lambda xp, g, saved, needs: _gradient(softmax_gradients, g, saved), supports)
register("log_softmax", "numpy", log_softmax,
         lambda xp, g, saved, needs: _gradient(log_softmax_gradients, g, saved), supports)
register("cross_entropy", "numpy", cross_entropy, cross_entropy_backward,
         lambda logits, target, weight: takes(logits) and logits.ndim > 1)
