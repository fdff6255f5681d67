"""silu on NumPy, in blocks that stay in the cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.kernels.numpy.activations import sigmoid_block
from portable_nn.kernels.numpy.blocks import CONSTANTS, is_floating, sweep
from portable_nn.kernels.registry import register


def _silu_block(out: np.ndarray, x: np.ndarray) -> None:
    sigmoid_block(out, x)
    np.multiply(out, x, out=out)


def _backward_block(g_x: np.ndarray, x: np.ndarray, g: np.ndarray) -> None:
    """g σ (1 + x (1 - σ))."""
    one = CONSTANTS[x.dtype.char].one
    sigmoid_block(g_x, x)
    slope = np.subtract(one, g_x)
    np.multiply(slope, x, out=slope)
    np.add(slope, one, out=slope)
    np.multiply(g_x, slope, out=g_x)
    np.multiply(g_x, g, out=g_x)


def silu(x: np.ndarray) -> tuple[np.ndarray, Any]:
    return sweep(_silu_block, x), x


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    return (sweep(_backward_block, saved, g),)


register("silu", "numpy", silu, backward, lambda x: is_floating(x))
