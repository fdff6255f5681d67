"""linear on NumPy: one matrix product, then bias and activation in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.kernels.numpy import activations
from portable_nn.kernels.numpy.blocks import BLOCK, is_floating, ones, over_rows, product, sweep, tiled
from portable_nn.kernels.numpy.buffers import empty
from portable_nn.kernels.numpy.gelu import gelu_block, multiply_into
from portable_nn.kernels.registry import register

_IN_PLACE = {"relu": activations.relu_block, "sigmoid": activations.sigmoid_block,
             "tanh": lambda out, x: np.tanh(x, out)}
_BACKWARD = {"relu": activations.relu_backward_block, "sigmoid": activations.sigmoid_backward_block,
             "tanh": activations.tanh_backward_block}


def _finish(y: np.ndarray, bias: np.ndarray | None, activation: str | None, gelu: np.ndarray | None = None) -> None:
    """Make f(y + b) of a product y in place; with an array for `gelu` the result is written there, and its slope in
    place of y."""
    if bias is None and activation is None:
        return
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
            if gelu is None:
                gelu_block(flat, flat, None)
            else:
                gelu_block(flat, gelu[block].reshape(-1), flat)

    if small:
        part(slice(None))
    else:
        over_rows(part, *y.shape)


def forward(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, activation: str | None) -> tuple:
    rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
    gelu = empty((rows.shape[0], weight.shape[0]), x.dtype) if activation == "gelu" else None
    slope = product(rows, weight.T)
    _finish(slope, bias, activation, gelu)
    out = slope if gelu is None else gelu
    saved = [rows, weight, None if activation is None else slope, activation, x.shape]
    return out if x.ndim == 2 else out.reshape(*x.shape[:-1], out.shape[-1]), saved


def infer(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, activation: str | None) -> np.ndarray:
    out = product(x.reshape(-1, x.shape[-1]), weight.T)
    _finish(out, bias, activation)
    return out.reshape(*x.shape[:-1], out.shape[-1])


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    rows, weight, slope, activation, shape = saved
    saved.clear()
    g = g.reshape(-1, weight.shape[0])
    if activation == "gelu":
        g = multiply_into(slope, g)  # it is nobody else's
    elif activation is not None:
        g = sweep(_BACKWARD[activation], slope, g)
    del slope  # its memory may be taken for what follows
    g_x = g_weight = g_bias = None
    if needs[1]:
        g_weight = product(g.T, rows)
    if needs[2]:
        g_bias = np.dot(ones(g.shape[0], g.dtype), g)
    if needs[0]:
        g_x = product(g, weight)
        g_x = g_x if len(shape) == 2 else g_x.reshape(shape)
    return g_x, g_weight, g_bias


def supports(x: Any, weight: Any, bias: Any, *, activation: Any) -> bool:
    return is_floating(x) and weight.size > 0


register("linear", "numpy", forward, backward, supports, infer=infer)
