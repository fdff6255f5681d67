"""leaky_relu, silu and softplus on NumPy, in blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from portable_nn.kernels.numpy.activations import sigmoid_block
from portable_nn.kernels.numpy.blocks import CONSTANTS, is_floating, sweep
from portable_nn.kernels.numpy.buffers import scratch
from portable_nn.kernels.registry import register

#: Where the sigmoid is as near to 0 or 1 as it gets. Beyond, x must not go on growing: 3e38 times next to nothing is 2.
_ENDS = {"f": np.array([-88, 88], dtype=np.float32), "d": np.array([-709, 709], dtype=np.float64)}
_INFINITY = {char: np.array(np.inf, dtype=char) for char in CONSTANTS}


def _silu_block(out: np.ndarray, x: np.ndarray) -> None:
    x.clip(_ENDS[x.dtype.char][0], _INFINITY[x.dtype.char], out)
    share = scratch(x.shape, x.dtype)
    sigmoid_block(share, out)
    np.multiply(out, share, out)


def _silu_backward_block(g_x: np.ndarray, x: np.ndarray, g: np.ndarray) -> None:
    """g σ (1 + x (1 - σ))."""
    one = CONSTANTS[x.dtype.char].one
    near, slope = scratch((2, *x.shape), x.dtype)
    x.clip(*_ENDS[x.dtype.char], near)
    sigmoid_block(g_x, near)
    np.subtract(one, g_x, slope)
    np.multiply(slope, near, slope)
    np.add(slope, one, slope)
    np.multiply(g_x, slope, g_x)
    np.multiply(g_x, g, g_x)


def _leaky_relu_block(out: np.ndarray, x: np.ndarray, *, negative_slope: float) -> None:
    """max(x, 0) + min(x, 0) · slope: one of both is 0, so nothing is rounded."""
    zero, infinity, below = CONSTANTS[x.dtype.char].zero, _INFINITY[x.dtype.char], scratch(x.shape, x.dtype)
    x.clip(-infinity, zero, below)
    np.multiply(below, x.dtype.type(negative_slope), below)
    x.clip(zero, infinity, out)
    np.add(out, below, out)


def _leaky_relu_backward_block(g_x: np.ndarray, x: np.ndarray, g: np.ndarray, *, negative_slope: float) -> None:
    below = x <= CONSTANTS[x.dtype.char].zero
    np.multiply(below, x.dtype.type(negative_slope), g_x)
    np.add(g_x, np.logical_not(below, below), g_x)
    np.multiply(g_x, g, g_x)


def _softplus_block(out: np.ndarray, x: np.ndarray, *, beta: float, threshold: float) -> None:
    """max(x, 0) + log(1 + e) / β, e = exp(-|β x|), without the second term above the threshold.

    NumPy's log1p is not vectorised, its log is: log(1 + e) = log(u) + (e - (u - 1)) / u for u the rounded 1 + e, to
    the square of that rounding.
    """
    kind, one = x.dtype.type, CONSTANTS[x.dtype.char].one
    e, u, t = scratch((3, *x.shape), x.dtype)
    np.multiply(x, kind(beta), t)
    counts = t <= kind(threshold)
    np.abs(t, t)
    np.negative(t, t)
    np.exp(t, e)
    np.add(e, one, u)
    np.subtract(u, one, t)
    np.subtract(e, t, e)
    np.divide(e, u, e)
    np.log(u, u)
    np.add(u, e, u)
    np.multiply(u, kind(1 / beta), u)
    np.multiply(u, counts, u)
    x.clip(CONSTANTS[x.dtype.char].zero, _INFINITY[x.dtype.char], out)
    np.add(out, u, out)


def _softplus_backward_block(g_x: np.ndarray, x: np.ndarray, g: np.ndarray, *, beta: float, threshold: float) -> None:
    kind, z = x.dtype.type, scratch(x.shape, x.dtype)
    np.multiply(x, kind(beta), z)
    sigmoid_block(g_x, z)
    np.maximum(g_x, (z > kind(threshold)).astype(x.dtype), out=g_x)
    np.multiply(g_x, g, g_x)


def _enter(operation: str, block: Callable[..., None], backward_block: Callable[..., None],
           supports: Callable[..., bool]) -> None:
    """Register an operation whose gradient is made from what went in."""
    def forward(x: np.ndarray, **options: float) -> tuple[np.ndarray, Any]:
        return sweep(partial(block, **options), x), (x, options)

    def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
        x, options = saved
        return (sweep(partial(backward_block, **options), x, g),)

    forward.__qualname__ = operation
    register(operation, "numpy", forward, backward, supports)


_enter("silu", _silu_block, _silu_backward_block, lambda x: is_floating(x))
_enter("leaky_relu", _leaky_relu_block, _leaky_relu_backward_block, lambda x, **options: is_floating(x))
_enter("softplus", _softplus_block, _softplus_backward_block,
       lambda x, *, beta, threshold: is_floating(x) and threshold >= 0)
