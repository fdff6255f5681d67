"""linear on NumPy: one matrix product, then bias and activation in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.kernels.numpy import activations
from portable_nn.kernels.numpy.blocks import BLOCK, CONSTANTS, is_floating, ones, row_blocks, sweep
from portable_nn.kernels.registry import register


def _relu(block: np.ndarray) -> None:
    np.maximum(block, CONSTANTS[block.dtype.char].zero, out=block)


_IN_PLACE = {"relu": _relu, "sigmoid": lambda block: activations.sigmoid_block(block, block),
             "tanh": lambda block: np.tanh(block, out=block)}


def _finish(block: np.ndarray, bias: np.ndarray | None, activate: Any) -> None:
    if bias is not None:
        np.add(block, bias, out=block)
    if activate is not None:
        activate(block)


def _product(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, activation: str | None) -> tuple:
    """The rows of x, and f(x Wᵀ + b) row by row; before gelu, which needs a second array."""
    rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
    out = np.dot(rows, weight.T)
    activate = _IN_PLACE.get(activation)  # type: ignore[arg-type]
    if out.size <= 2 * BLOCK:
        _finish(out, bias, activate)
    elif bias is not None or activate is not None:
        for block in row_blocks(*out.shape):
            _finish(out[block], bias, activate)
    return rows, out


def forward(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, activation: str | None) -> tuple:
    rows, out = _product(x, weight, bias, activation)
    slope = out
    if activation == "gelu":
        out = np.empty_like(slope)
        activations.gelu_into(out.reshape(-1), slope.reshape(-1), slope.reshape(-1), "none")
    saved = (rows, weight, slope, activation, x.shape)
    return out if x.ndim == 2 else out.reshape(*x.shape[:-1], out.shape[-1]), saved


def infer(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, activation: str | None) -> np.ndarray:
    out = _product(x, weight, bias, activation)[1]
    if activation == "gelu":
        activations.gelu_into(out.reshape(-1), None, out.reshape(-1), "none")
    return out.reshape(*x.shape[:-1], out.shape[-1])


def _before_activation(g: np.ndarray, slope: np.ndarray, activation: str | None) -> np.ndarray:
    if activation is None:
        return g
    if activation == "relu":
        return np.multiply(g, slope > CONSTANTS[slope.dtype.char].zero)
    if activation == "gelu":
        return np.multiply(g, slope, out=slope)  # it is nobody else's
    block = activations.tanh_backward_block if activation == "tanh" else activations.sigmoid_backward_block
    return sweep(block, slope, g)


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    rows, weight, slope, activation, shape = saved
    g = _before_activation(g.reshape(slope.shape), slope, activation)
    g_x = g_weight = g_bias = None
    if needs[1]:
        g_weight = np.dot(g.T, rows)
    if needs[2]:
        g_bias = np.dot(ones(g.shape[0], g.dtype), g)
    if needs[0]:
        g_x = np.dot(g, weight)
        g_x = g_x if len(shape) == 2 else g_x.reshape(shape)
    return g_x, g_weight, g_bias


def supports(x: Any, weight: Any, bias: Any, *, activation: Any) -> bool:
    return is_floating(x) and weight.size > 0


register("linear", "numpy", forward, backward, supports, infer=infer)
