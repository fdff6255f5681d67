"""layer_norm on NumPy: blocks of rows that stay in the cache, row sums as products with a vector."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from portable_nn.kernels.numpy.blocks import CONSTANTS, is_floating, ones, row_blocks
from portable_nn.kernels.registry import register


def forward(x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, *, eps: float) -> tuple:
    shape = (weight if weight is not None else bias if bias is not None else x[..., -1:]).shape
    width = x.shape[-1] if weight is None and bias is None else math.prod(shape)
    rows = np.ascontiguousarray(x.reshape(-1, width))
    w, b = (None if a is None else a.reshape(-1) for a in (weight, bias))
    out = np.empty(x.shape, dtype=x.dtype)
    result = out.reshape(-1, width)
    mean, rstd = (np.empty((rows.shape[0], 1), dtype=x.dtype) for _ in range(2))
    average = ones(width, x.dtype) * x.dtype.type(1 / width)
    for block in row_blocks(*rows.shape):
        y, m, r = result[block], mean[block], rstd[block]
        np.dot(rows[block], average, out=m[:, 0])
        np.subtract(rows[block], m, out=y)
        np.vecdot(y, y, out=r[:, 0])
        np.multiply(r, 1 / width, out=r)
        np.add(r, eps, out=r)
        np.sqrt(r, out=r)
        np.reciprocal(r, out=r)
        np.multiply(y, r, out=y)
        if w is not None:
            np.multiply(y, w, out=y)
        if b is not None:
            np.add(y, b, out=y)
    return out, (rows, w, mean, rstd, x.shape, weight, bias)


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    rows, w, mean, rstd, shape, weight, bias = saved
    count, width = rows.shape
    g = np.ascontiguousarray(g.reshape(-1, width))
    g_x = np.empty(rows.shape, dtype=rows.dtype) if needs[0] else None
    g_w = np.zeros(width, dtype=rows.dtype) if needs[1] else None
    average = (ones(width, rows.dtype) if w is None else w) * rows.dtype.type(1 / width)
    for block in row_blocks(count, width):
        x_hat = np.subtract(rows[block], mean[block])
        np.multiply(x_hat, rstd[block], out=x_hat)
        t = np.multiply(g[block], x_hat)
        if g_w is not None:
            g_w += np.dot(ones(t.shape[0], t.dtype), t)
        if g_x is not None:  # rstd (g w - mean(g w) - x̂ mean(g w x̂))
            y = g_x[block]
            np.multiply(x_hat, np.dot(t, average)[:, None], out=x_hat)
            np.multiply(g[block], CONSTANTS[g.dtype.char].one if w is None else w, out=y)
            np.subtract(y, np.dot(g[block], average)[:, None], out=y)
            np.subtract(y, x_hat, out=y)
            np.multiply(y, rstd[block], out=y)
    g_b = np.dot(ones(count, g.dtype), g) if needs[2] else None
    return (None if g_x is None else g_x.reshape(shape), None if g_w is None else g_w.reshape(weight.shape),
            None if g_b is None else g_b.reshape(bias.shape))


def supports(x: Any, weight: Any, bias: Any, *, eps: float) -> bool:
    return is_floating(x) and x.size > 0


register("layer_norm", "numpy", forward, backward, supports)
