"""linear with an activation: NumPy's product, then bias and activation in one pass; back, slope and bias too."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.kernels.compiled.activations import gelu_exact
from portable_nn.kernels.compiled.common import as_rows, by_rows, sums_by_rows, takes
from portable_nn.kernels.compiled.elementary import sigmoid, tanh
from portable_nn.kernels.compiled.jit import Matrix, OutMatrix, Vector, compiled
from portable_nn.kernels.numpy.blocks import product
from portable_nn.kernels.numpy.buffers import empty
from portable_nn.kernels.registry import register


@compiled
def finish_relu(z: OutMatrix, bias: Vector) -> None:
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            y = z[i, j] + bias[j]
            z[i, j] = 0.0 if y < 0.0 else y  # NaN stays


@compiled
def finish_tanh(z: OutMatrix, bias: Vector) -> None:
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] = tanh(z[i, j] + bias[j])


@compiled
def finish_sigmoid(z: OutMatrix, bias: Vector) -> None:
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] = sigmoid(z[i, j] + bias[j])


@compiled
def finish_gelu(z: OutMatrix, bias: Vector) -> None:
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] = gelu_exact(z[i, j] + bias[j])[0]


@compiled
def finish_gelu_with_slope(z: OutMatrix, out: OutMatrix, bias: Vector) -> None:
    """The slope goes in place of z."""
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            out[i, j], z[i, j] = gelu_exact(z[i, j] + bias[j])


@compiled
def through_relu(g_z: OutMatrix, g: Matrix, out: Matrix, sums: OutMatrix) -> None:
    """From the gradient of the result to that before the activation and, added up, that of the bias."""
    for i in range(g.shape[0]):
        for j in range(g.shape[1]):
            v = g[i, j] * (1.0 if out[i, j] > 0.0 else 0.0)
            sums[0, j] += v
            g_z[i, j] = v


@compiled
def through_tanh(g_z: OutMatrix, g: Matrix, out: Matrix, sums: OutMatrix) -> None:
    for i in range(g.shape[0]):
        for j in range(g.shape[1]):
            v = g[i, j] * (1.0 - out[i, j] * out[i, j])
            sums[0, j] += v
            g_z[i, j] = v


@compiled
def through_sigmoid(g_z: OutMatrix, g: Matrix, out: Matrix, sums: OutMatrix) -> None:
    for i in range(g.shape[0]):
        for j in range(g.shape[1]):
            v = g[i, j] * (out[i, j] * (1.0 - out[i, j]))
            sums[0, j] += v
            g_z[i, j] = v


@compiled
def through_gelu(slope: OutMatrix, g: Matrix, sums: OutMatrix) -> None:
    """In place of the slope."""
    for i in range(g.shape[0]):
        for j in range(g.shape[1]):
            v = g[i, j] * slope[i, j]
            sums[0, j] += v
            slope[i, j] = v


_FINISH = {"relu": finish_relu, "tanh": finish_tanh, "sigmoid": finish_sigmoid, "gelu": finish_gelu}
_THROUGH = {"relu": through_relu, "tanh": through_tanh, "sigmoid": through_sigmoid}


def _affine(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> tuple:
    """The rows of x, their product with the weight, and what is left to add."""
    rows = x.reshape(-1, x.shape[-1])
    bias = np.zeros(weight.shape[0], dtype=x.dtype) if bias is None else np.ascontiguousarray(bias)
    return rows, product(rows, weight.T), bias


def forward(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, activation: str) -> tuple:
    rows, z, b = _affine(x, weight, bias)
    out = z
    if activation == "gelu":
        out = empty(z.shape, z.dtype)
        by_rows(finish_gelu_with_slope, z, out, common=(b,))
    else:
        by_rows(_FINISH[activation], z, common=(b,))
    return out.reshape(*x.shape[:-1], out.shape[1]), [rows, weight, z, activation, x.shape]


def infer(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, activation: str) -> np.ndarray:
    rows, z, b = _affine(x, weight, bias)
    by_rows(_FINISH[activation], z, common=(b,))
    return z.reshape(*x.shape[:-1], z.shape[1])


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    rows, weight, slope, activation, shape = saved
    saved.clear()
    g = as_rows(g, slope.shape[1])
    if activation == "gelu":
        sums, g_z = sums_by_rows(through_gelu, 1, slope, g), slope    # the slope is nobody else's
    else:
        g_z = empty(slope.shape, slope.dtype)
        sums = sums_by_rows(_THROUGH[activation], 1, g_z, g, slope)
    del slope  # its memory may be taken for what follows
    return (product(g_z, weight).reshape(shape) if needs[0] else None, product(g_z.T, rows) if needs[1] else None,
            sums[0] if needs[2] else None)


def supports(x: Any, weight: Any, bias: Any, *, activation: str | None) -> bool:
    return activation is not None and weight.size > 0 and takes(
        x, "fd" if activation == "relu" else "f", x.size // weight.shape[1] * weight.shape[0])


register("linear", "numpy", forward, backward, supports, infer=infer)
