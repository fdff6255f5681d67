"""layer_norm and rms_norm, each row read while it is in the nearest cache."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from portable_nn.kernels.compiled.common import as_rows, by_rows, flat, sums_by_rows, takes
from portable_nn.kernels.compiled.jit import Matrix, Number, OutMatrix, OutVector, Vector, compiled
from portable_nn.kernels.numpy.blocks import ones
from portable_nn.kernels.numpy.buffers import empty
from portable_nn.kernels.registry import register


@compiled
def layer_norm_rows(out: OutMatrix, mean: OutVector, rstd: OutVector, x: Matrix, weight: Vector, bias: Vector,
                    average: Number, eps: Number) -> None:
    """`average` is one over the number of columns, here and below."""
    for i in range(x.shape[0]):
        total = 0.0
        for j in range(x.shape[1]):
            total += x[i, j]
        m, squares = total * average, 0.0
        for j in range(x.shape[1]):
            squares += (x[i, j] - m) * (x[i, j] - m)
        r = 1.0 / np.sqrt(squares * average + eps)
        for j in range(x.shape[1]):
            out[i, j] = (x[i, j] - m) * r * weight[j] + bias[j]
        mean[i], rstd[i] = m, r


@compiled
def layer_norm_gradients(g_x: OutMatrix, g: Matrix, x: Matrix, mean: Vector, rstd: Vector, weight: Vector,
                         average: Number, sums: OutMatrix) -> None:
    """∂x = rstd (ĝ - mean(ĝ) - x̂ mean(ĝ x̂)), where ĝ = g w; the sums are ∂w and ∂b."""
    for i in range(x.shape[0]):
        m, r, total, products = mean[i], rstd[i], 0.0, 0.0
        for j in range(x.shape[1]):
            x_hat = (x[i, j] - m) * r
            total += g[i, j] * weight[j]
            products += g[i, j] * weight[j] * x_hat
            sums[0, j] += g[i, j] * x_hat
            sums[1, j] += g[i, j]
        total, products = total * average, products * average
        for j in range(x.shape[1]):
            g_x[i, j] = r * (g[i, j] * weight[j] - total - (x[i, j] - m) * r * products)


@compiled
def rms_norm_rows(out: OutMatrix, rrms: OutVector, x: Matrix, weight: Vector, average: Number, eps: Number) -> None:
    for i in range(x.shape[0]):
        squares = 0.0
        for j in range(x.shape[1]):
            squares += x[i, j] * x[i, j]
        r = 1.0 / np.sqrt(squares * average + eps)
        for j in range(x.shape[1]):
            out[i, j] = x[i, j] * r * weight[j]
        rrms[i] = r


@compiled
def rms_norm_gradients(g_x: OutMatrix, g: Matrix, x: Matrix, rrms: Vector, weight: Vector, average: Number,
                       sums: OutMatrix) -> None:
    """∂x = rrms (ĝ - x̂ mean(ĝ x̂)), where ĝ = g w; the sum is ∂w."""
    for i in range(x.shape[0]):
        r, products = rrms[i], 0.0
        for j in range(x.shape[1]):
            products += g[i, j] * weight[j] * x[i, j]
            sums[0, j] += g[i, j] * x[i, j] * r
        products *= average * r * r
        for j in range(x.shape[1]):
            g_x[i, j] = r * (g[i, j] * weight[j] - x[i, j] * products)


def _weight(x: np.ndarray, weight: np.ndarray | None, width: int) -> np.ndarray:
    return ones(width, x.dtype) if weight is None else flat(weight)


def layer_norm(x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, *, eps: float) -> tuple:
    shape = (weight if weight is not None else bias if bias is not None else x[..., -1:]).shape
    width = x.shape[-1] if weight is None and bias is None else math.prod(shape)
    rows, w = as_rows(x, width), _weight(x, weight, width)
    b = np.zeros(width, dtype=x.dtype) if bias is None else flat(bias)
    out, (mean, rstd) = empty(x.shape, x.dtype), np.empty((2, rows.shape[0]), dtype=x.dtype)
    by_rows(layer_norm_rows, out.reshape(rows.shape), mean, rstd, rows, common=(w, b, 1 / width, eps))
    return out, (rows, w, mean, rstd, x.shape, shape)


def layer_norm_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    rows, w, mean, rstd, x_shape, shape = saved
    g_x = empty(rows.shape, rows.dtype)
    sums = sums_by_rows(layer_norm_gradients, 2, g_x, as_rows(g, rows.shape[1]), rows, mean, rstd,
                        common=(w, 1 / rows.shape[1]))
    return g_x.reshape(x_shape), *[s.reshape(shape) if need else None for s, need in zip(sums, needs[1:])]


def rms_norm(x: np.ndarray, weight: np.ndarray | None, *, eps: float | None) -> tuple[np.ndarray, Any]:
    width = x.shape[-1] if weight is None else math.prod(weight.shape)
    rows, w = as_rows(x, width), _weight(x, weight, width)
    out, rrms = empty(x.shape, x.dtype), np.empty(rows.shape[0], dtype=x.dtype)
    by_rows(rms_norm_rows, out.reshape(rows.shape), rrms, rows,
            common=(w, 1 / width, float(np.finfo(x.dtype).eps) if eps is None else eps))
    return out, (rows, w, rrms, x.shape, None if weight is None else weight.shape)


def rms_norm_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    rows, w, rrms, x_shape, shape = saved
    g_x = empty(rows.shape, rows.dtype)
    sums = sums_by_rows(rms_norm_gradients, 1, g_x, as_rows(g, rows.shape[1]), rows, rrms,
                        common=(w, 1 / rows.shape[1]))
    return g_x.reshape(x_shape), None if shape is None else sums[0].reshape(shape)


def supports(x: Any, *others: Any, eps: float | None) -> bool:
    return takes(x, "fd")


register("layer_norm", "numpy", layer_norm, layer_norm_backward, supports)
register("rms_norm", "numpy", rms_norm, rms_norm_backward, supports)
