"""linear on NumPy: one matrix product, then bias and activation in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.kernels.numpy import activations
from portable_nn.kernels.numpy.blocks import BLOCK, is_floating, ones, over_rows, sweep, tiled
from portable_nn.kernels.numpy.buffers import empty
from portable_nn.kernels.numpy.gelu import gelu_block, multiply_into
from portable_nn.kernels.registry import register

_IN_PLACE = {"relu": activations.relu_block, "sigmoid": activations.sigmoid_block,
             "tanh": lambda out, x: np.tanh(x, out)}
_BACKWARD = {"relu": activations.relu_backward_block, "sigmoid": activations.sigmoid_backward_block,
             "tanh": activations.tanh_backward_block}


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.dot(a, b, empty((a.shape[0], b.shape[1]), a.dtype))


def _finish(y: np.ndarray, bias: np.ndarray | None, activation: str | None, gelu: np.ndarray | None = None) -> None:
    """f(y + b) in place of y; with an array for `gelu` the result is written there, and its slope in place of y."""
    activate = _IN_PLACE.get(activation)  # type: ignore[arg-type]
    small = y.size <= 2 * BLOCK
    added = bias if small else tiled(bias, y.shape[0])

    def part(block: slice) -> None:
        z = y[block]
        if added is not None:
            np.add(z, added if small else added[:z.shape[0]], z)
        if activate is not None:
            activate(z, z)
        elif activation == "gelu":
            flat = z.reshape(-1)
            gelu_block(flat, flat if gelu is None else gelu[block].reshape(-1), None if gelu is None else flat)

    if small:
        part(slice(None))
    elif bias is not None or activation is not None:
        over_rows(part, *y.shape)


def forward(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, activation: str | None) -> tuple:
    rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
    out = slope = _dot(rows, weight.T)
    if activation == "gelu":
        out = empty(slope.shape, slope.dtype)
        _finish(slope, bias, activation, out)
    else:
        _finish(out, bias, activation)
    saved = (rows, weight, slope, activation, x.shape)
    return out if x.ndim == 2 else out.reshape(*x.shape[:-1], out.shape[-1]), saved


def infer(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, activation: str | None) -> np.ndarray:
    out = _dot(x.reshape(-1, x.shape[-1]), weight.T)
    _finish(out, bias, activation)
    return out.reshape(*x.shape[:-1], out.shape[-1])


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    rows, weight, slope, activation, shape = saved
    g = g.reshape(slope.shape)
    if activation == "gelu":
        g = multiply_into(slope, g)  # it is nobody else's
    elif activation is not None:
        g = sweep(_BACKWARD[activation], slope, g)
    g_x = g_weight = g_bias = None
    if needs[1]:
        g_weight = _dot(g.T, rows)
    if needs[2]:
        g_bias = np.dot(ones(g.shape[0], g.dtype), g)
    if needs[0]:
        g_x = _dot(g, weight)
        g_x = g_x if len(shape) == 2 else g_x.reshape(shape)
    return g_x, g_weight, g_bias


def supports(x: Any, weight: Any, bias: Any, *, activation: Any) -> bool:
    return is_floating(x) and weight.size > 0


register("linear", "numpy", forward, backward, supports, infer=infer)
