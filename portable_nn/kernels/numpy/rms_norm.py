"""rms_norm on NumPy: blocks of rows that stay in the cache, row sums as products with a vector."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from portable_nn.kernels.numpy.blocks import is_floating, over_rows, tiled
from portable_nn.kernels.numpy.buffers import empty, scratch
from portable_nn.kernels.registry import register


def forward(x: np.ndarray, weight: np.ndarray | None, *, eps: float | None) -> tuple[np.ndarray, Any]:
    width = x.shape[-1] if weight is None else math.prod(weight.shape)
    rows = np.ascontiguousarray(x.reshape(-1, width))
    w = None if weight is None else weight.reshape(-1)
    eps = float(np.finfo(x.dtype).eps) if eps is None else eps
    out, rrms = empty(rows.shape, x.dtype), np.empty((rows.shape[0], 1), dtype=x.dtype)
    w_rows = tiled(w, rows.shape[0])

    def part(block: slice) -> None:
        r, y = rrms[block], out[block]
        np.vecdot(rows[block], rows[block], out=r[:, 0])
        np.multiply(r, 1 / width, r)
        np.add(r, eps, r)
        np.sqrt(r, r)
        np.reciprocal(r, r)
        np.multiply(rows[block], r, y)
        if w_rows is not None:
            np.multiply(y, w_rows[:y.shape[0]], y)

    over_rows(part, *rows.shape)
    return out.reshape(x.shape), (rows, w, rrms, x.shape, weight)


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    """∂x = rrms (ĝ - x̂ mean(ĝ x̂)) and ∂w = Σ g x̂, where ĝ = g w and x̂ = rrms x: rrms goes into small arrays."""
    rows, w, rrms, shape, weight = saved
    g = np.ascontiguousarray(g.reshape(rows.shape))
    g_x, w_rows = empty(rows.shape, rows.dtype), tiled(w, rows.shape[0])

    def part(block: slice) -> np.ndarray | None:
        x, y, r, z = rows[block], g[block], rrms[block], g_x[block]
        t, total = scratch(y.shape, y.dtype), None
        if w_rows is None:
            g_hat = y
        else:
            np.multiply(y, x, t)
            total = np.dot(r[:, 0], t)
            g_hat = np.multiply(y, w_rows[:y.shape[0]], z)
        mean = np.vecdot(g_hat, x)[:, None] * x.dtype.type(1 / x.shape[1])
        np.multiply(x, mean * r * r, t)
        np.subtract(g_hat, t, z)
        np.multiply(z, r, z)
        return total

    parts = over_rows(part, *rows.shape, products=True)
    g_weight = None if weight is None else sum(parts[1:], parts[0]) if parts else np.zeros_like(w)
    return g_x.reshape(shape), None if g_weight is None else g_weight.reshape(weight.shape)


def supports(x: Any, weight: Any, *, eps: float | None) -> bool:
    return is_floating(x)


register("rms_norm", "numpy", forward, backward, supports)
