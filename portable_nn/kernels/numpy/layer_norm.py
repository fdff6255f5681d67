"""layer_norm on NumPy: blocks of rows that stay in the cache, row sums as products with a vector."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from portable_nn.kernels.numpy.blocks import is_floating, ones, over_rows, tiled
from portable_nn.kernels.numpy.buffers import empty, scratch
from portable_nn.kernels.registry import register


def _average(width: int, dtype: np.dtype) -> np.ndarray:
    """A product with it is the mean of a row."""
    return ones(width, dtype) * dtype.type(1 / width)


def _normalise(x: np.ndarray, average: np.ndarray, eps: float, x_hat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x̂ of a block of rows; their means and 1 / √(var + ε) as columns."""
    mean = np.dot(x, average)[:, None]
    np.subtract(x, mean, x_hat)
    r = np.vecdot(x_hat, x_hat)
    np.multiply(r, average[0], r)
    np.add(r, eps, r)
    np.sqrt(r, r)
    r = np.reciprocal(r, r)[:, None]
    np.multiply(x_hat, r, x_hat)
    return mean, r


def forward(x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, *, eps: float) -> tuple:
    """x̂ is made again for the gradient: x is alive anyway."""
    shape = (weight if weight is not None else bias if bias is not None else x[..., -1:]).shape
    width = x.shape[-1] if weight is None and bias is None else math.prod(shape)
    rows = np.ascontiguousarray(x.reshape(-1, width))
    w, b = (None if a is None else a.reshape(-1) for a in (weight, bias))
    out, (mean, rstd) = empty(rows.shape, x.dtype), np.empty((2, rows.shape[0], 1), dtype=x.dtype)
    average, w_rows, b_rows = _average(width, x.dtype), tiled(w, rows.shape[0]), tiled(b, rows.shape[0])

    def part(block: slice) -> None:
        y = out[block]
        mean[block], rstd[block] = _normalise(rows[block], average, eps, y)
        if w_rows is not None:
            np.multiply(y, w_rows[:y.shape[0]], y)
        if b_rows is not None:
            np.add(y, b_rows[:y.shape[0]], y)

    over_rows(part, *rows.shape, products=True)
    return out.reshape(x.shape), (rows, mean, w, rstd, x.shape, shape)


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    rows, mean, w, rstd, x_shape, shape = saved
    g = np.ascontiguousarray(g.reshape(rows.shape))
    g_x = empty(g.shape, g.dtype) if needs[0] else None
    average = _average(g.shape[1], g.dtype)
    weights, w_rows = average if w is None else w * average, tiled(w, g.shape[0])

    def part(block: slice) -> tuple:
        y, r = g[block], rstd[block]
        t, centred = scratch((2, *y.shape), y.dtype)  # x̂ is centred times r, which goes into the small arrays
        np.subtract(rows[block], mean[block], centred)
        np.multiply(y, centred, t)
        sums = np.dot(r[:, 0], t) if needs[1] else None, np.dot(ones(y.shape[0], y.dtype), y) if needs[2] else None
        if g_x is not None:  # rstd (g w - mean(g w) - x̂ mean(g w x̂))
            z, column = g_x[block], np.dot(t, weights)[:, None] * r * r
            np.multiply(centred, column, t)
            g_hat = y if w_rows is None else np.multiply(y, w_rows[:y.shape[0]], z)
            np.subtract(g_hat, np.dot(y, weights)[:, None], z)
            np.subtract(z, t, z)
            np.multiply(z, r, z)
        return sums

    g_w, g_b = (sum(parts[1:], parts[0]) if need else None
                for parts, need in zip(zip(*over_rows(part, *g.shape, products=True)), needs[1:]))
    return (None if g_x is None else g_x.reshape(x_shape), None if g_w is None else g_w.reshape(shape),
            None if g_b is None else g_b.reshape(shape))


def supports(x: Any, weight: Any, bias: Any, *, eps: float | None) -> bool:
    return is_floating(x) and x.size > 0


register("layer_norm", "numpy", forward, backward, supports)
