"""batch_norm on NumPy: blocks of rows that stay in the cache, sums as products with vectors of ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from portable_nn.kernels.numpy.blocks import is_floating, ones, row_blocks
from portable_nn.kernels.registry import register


def _sum_rows(x: np.ndarray) -> np.ndarray:
    """Sums over the batch and time of x (B, C, T)."""
    batch, channels, steps = x.shape
    if steps > 1:
        x = np.dot(x.reshape(batch * channels, steps), ones(steps, x.dtype))
    return np.dot(ones(batch, x.dtype), x.reshape(batch, channels))


def _sum_products(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sums over the batch and time of x y."""
    products = np.vecdot(x, y) if x.shape[2] > 1 else np.multiply(x, y)[:, :, 0]
    return np.dot(ones(x.shape[0], x.dtype), products)


def forward(x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, *, eps: float) -> tuple:
    channels = x.shape[1]
    rows = np.ascontiguousarray(x).reshape(x.shape[0], channels, -1)    # (B, C, T)
    count = rows.shape[0] * rows.shape[2]
    blocks = list(row_blocks(rows.shape[0], channels * rows.shape[2]))
    out = np.empty(x.shape, dtype=x.dtype)
    y = out.reshape(rows.shape)
    mean, var = np.zeros((2, channels), dtype=x.dtype)
    for block in blocks:
        mean += _sum_rows(rows[block])
    mean /= count
    for block in blocks:
        np.subtract(rows[block], mean[:, None], out=y[block])
        var += _sum_products(y[block], y[block])
    var /= count
    rstd = 1 / np.sqrt(var + x.dtype.type(eps))
    scale = rstd if weight is None else rstd * weight
    for block in blocks:
        np.multiply(y[block], scale[:, None], out=y[block])
        if bias is not None:
            np.add(y[block], bias[:, None], out=y[block])
    return (out, mean, var), (rows, mean, rstd, weight, x.shape)


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    (g_y, g_mean, g_var), (rows, mean, rstd, weight, shape) = g, saved
    count = rows.shape[0] * rows.shape[2]
    blocks = list(row_blocks(rows.shape[0], rows.shape[1] * rows.shape[2]))
    sums, products = np.zeros((2, rows.shape[1]), dtype=rows.dtype)     # of g, and of g (x - mean)
    if g_y is not None:
        g_y = np.ascontiguousarray(g_y).reshape(rows.shape)
        for block in blocks:
            sums += _sum_rows(g_y[block])
            products += _sum_products(g_y[block], np.subtract(rows[block], mean[:, None]))
    products *= rstd                                                    # of g x̂
    g_x = None
    if needs[0]:  # ∂x = scale g + slope (x - mean) + shift, all three per channel
        scale = rstd if weight is None else rstd * weight
        slope, shift = -scale * rstd * products / count, -scale * sums / count
        slope = slope if g_var is None else slope + g_var * rows.dtype.type(2 / count)
        shift = shift if g_mean is None else shift + g_mean / count
        g_x = np.empty(rows.shape, dtype=rows.dtype)
        for block in blocks:
            part = g_x[block]
            np.subtract(rows[block], mean[:, None], out=part)
            np.multiply(part, slope[:, None], out=part)
            np.add(part, shift[:, None], out=part)
            if g_y is not None:
                part += g_y[block] * scale[:, None]
        g_x = g_x.reshape(shape)
    known = g_y is not None
    return g_x, products if needs[1] and known else None, sums if needs[2] and known else None


def supports(x: Any, weight: Any, bias: Any, *, eps: float) -> bool:
    return is_floating(x) and math.prod(x.shape) > 0


register("batch_norm", "numpy", forward, backward, supports)
