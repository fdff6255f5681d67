"""batch_norm: x as one row of channels and times for each of the batch, added up by columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.kernels.compiled.common import as_rows, by_rows, sums_by_rows, takes
from portable_nn.kernels.compiled.jit import Matrix, OutMatrix, Vector, compiled
from portable_nn.kernels.numpy.buffers import empty
from portable_nn.kernels.registry import register


@compiled
def column_sums(x: Matrix, sums: OutMatrix) -> None:
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            sums[0, j] += x[i, j]


@compiled
def column_squares(x: Matrix, mean: Vector, sums: OutMatrix) -> None:
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            sums[0, j] += (x[i, j] - mean[j]) * (x[i, j] - mean[j])


@compiled
def normalise(out: OutMatrix, x: Matrix, mean: Vector, scale: Vector, bias: Vector) -> None:
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = (x[i, j] - mean[j]) * scale[j] + bias[j]


@compiled
def column_products(g: Matrix, x: Matrix, mean: Vector, sums: OutMatrix) -> None:
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            sums[0, j] += g[i, j]
            sums[1, j] += g[i, j] * (x[i, j] - mean[j])


@compiled
def gradients(g_x: OutMatrix, g: Matrix, x: Matrix, mean: Vector, scale: Vector, slope: Vector, shift: Vector) -> None:
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            g_x[i, j] = g[i, j] * scale[j] + (x[i, j] - mean[j]) * slope[j] + shift[j]


def _by_channel(sums: np.ndarray, channels: int) -> np.ndarray:
    """Sums (n, C T) as (n, C)."""
    return np.add.reduce(sums.reshape(sums.shape[0], channels, -1), axis=2)


def forward(x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, *, eps: float) -> tuple:
    channels, width = x.shape[1], x[0].size
    rows, steps, count = as_rows(x, width), width // channels, x.size // channels
    mean = _by_channel(sums_by_rows(column_sums, 1, rows), channels)[0] / count
    means = np.repeat(mean, steps)
    var = _by_channel(sums_by_rows(column_squares, 1, rows, common=(means,)), channels)[0] / count
    rstd = 1 / np.sqrt(var + x.dtype.type(eps))
    scale = rstd if weight is None else rstd * weight
    bias = np.zeros(channels, dtype=x.dtype) if bias is None else bias
    out = empty(x.shape, x.dtype)
    by_rows(normalise, out.reshape(rows.shape), rows, common=(means, np.repeat(scale, steps), np.repeat(bias, steps)))
    return (out, mean, var), (rows, mean, rstd, scale, x.shape)


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    """∂x = scale g + slope (x - mean) + shift, all three per channel."""
    (g_y, g_mean, g_var), (rows, mean, rstd, scale, shape) = g, saved
    steps, count, kind = rows.shape[1] // mean.size, rows.size // mean.size, rows.dtype.type
    means = np.repeat(mean, steps)
    g_rows = as_rows(np.broadcast_to(kind(0), shape) if g_y is None else g_y, rows.shape[1])
    sums, products = _by_channel(sums_by_rows(column_products, 2, g_rows, rows, common=(means,)), mean.size)
    products = products * rstd                                          # of g x̂
    g_x = None
    if needs[0]:
        slope, shift = -scale * rstd * products / kind(count), -scale * sums / kind(count)
        slope = slope if g_var is None else slope + g_var * kind(2 / count)
        shift = shift if g_mean is None else shift + g_mean / kind(count)
        g_x = empty(shape, rows.dtype)
        by_rows(gradients, g_x.reshape(rows.shape), g_rows, rows,
                common=(means, *(np.repeat(a, steps) for a in (scale, slope, shift))))
    known = g_y is not None
    return g_x, products if needs[1] and known else None, sums if needs[2] and known else None


register("batch_norm", "numpy", forward, backward, lambda x, weight, bias, *, eps: takes(x, "fd"))
