"""rms_norm on NumPy: blocks of rows that stay in the cache."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from portable_nn.kernels.numpy.blocks import is_floating, ones, row_blocks
from portable_nn.kernels.registry import register


def forward(x: np.ndarray, weight: np.ndarray | None, *, eps: float | None) -> tuple[np.ndarray, Any]:
    width = x.shape[-1] if weight is None else math.prod(weight.shape)
    rows = np.ascontiguousarray(x.reshape(-1, width))
    w = None if weight is None else weight.reshape(-1)
    eps = float(np.finfo(x.dtype).eps) if eps is None else eps
    out, rrms = np.empty(x.shape, dtype=x.dtype), np.empty((rows.shape[0], 1), dtype=x.dtype)
    result = out.reshape(-1, width)
    for block in row_blocks(*rows.shape):
        r, y = rrms[block], result[block]
        np.vecdot(rows[block], rows[block], out=r[:, 0])
        np.multiply(r, 1 / width, out=r)
        np.add(r, eps, out=r)
        np.sqrt(r, out=r)
        np.reciprocal(r, out=r)
        np.multiply(rows[block], r, out=y)
        if w is not None:
            np.multiply(y, w, out=y)
    return out, (rows, w, rrms, x.shape, weight)


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    """∂x = rrms (ĝ - x̂ mean(ĝ x̂)) and ∂w = Σ g x̂, where ĝ = g w."""
    rows, w, rrms, shape, weight = saved
    g = np.ascontiguousarray(g.reshape(rows.shape))
    g_x = np.empty(rows.shape, dtype=rows.dtype)
    g_weight = None if w is None else np.zeros(w.shape, dtype=w.dtype)
    for block in row_blocks(*rows.shape):
        r, out = rrms[block], g_x[block]
        x_hat = rows[block] * r
        if g_weight is not None:
            np.multiply(g[block], x_hat, out=out)
            np.add(g_weight, np.dot(ones(out.shape[0], out.dtype), out), out=g_weight)
        g_hat = g[block] if w is None else np.multiply(g[block], w, out=out)
        mean = np.vecdot(g_hat, x_hat) * (1 / rows.shape[1])
        np.multiply(x_hat, mean[:, None], out=x_hat)
        np.subtract(g_hat, x_hat, out=out)
        np.multiply(out, r, out=out)
    return g_x.reshape(shape), g_weight if g_weight is None or weight is None else g_weight.reshape(weight.shape)


def supports(x: Any, weight: Any, *, eps: float | None) -> bool:
    return is_floating(x)


register("rms_norm", "numpy", forward, backward, supports)
