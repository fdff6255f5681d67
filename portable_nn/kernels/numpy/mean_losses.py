"""Means of losses of few pairs on NumPy: the gradient takes one number, which need not be spread over an array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from portable_nn.kernels.numpy.blocks import BLOCK, is_floating
from portable_nn.kernels.numpy.losses import _bce_backward_block, _bce_block, mean
from portable_nn.kernels.registry import register


def _losses_bce(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    out = np.empty(x.shape, dtype=x.dtype)
    _bce_block(out, x, target)
    return out


def _slope_bce(x: np.ndarray, target: np.ndarray, g: Any) -> np.ndarray:
    out = np.empty(x.shape, dtype=x.dtype)
    _bce_backward_block(out, x, target, g)
    return out


def _losses_squared(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    difference = x - target
    return np.multiply(difference, difference, out=difference)


def _slope_squared(x: np.ndarray, target: np.ndarray, g: Any) -> np.ndarray:
    difference = x - target
    difference *= g + g
    return difference


def _losses_absolute(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    difference = x - target
    return np.abs(difference, out=difference)


def _slope_absolute(x: np.ndarray, target: np.ndarray, g: Any) -> np.ndarray:
    difference = np.sign(x - target)
    difference *= g
    return difference


def _pair(operation: str, losses: Callable[..., np.ndarray], slope: Callable[..., np.ndarray],
          slope_of_target: Callable[..., np.ndarray]) -> None:
    """Register the mean of `losses(x, target)`; the slopes take g / n too."""

    def forward(x: np.ndarray, target: np.ndarray) -> tuple[Any, Any]:
        return mean(losses(x, target))[0], (x, target)

    def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
        x, target = saved
        g = g / g.dtype.type(x.size)
        return (slope(x, target, g) if needs[0] else None), (slope_of_target(x, target, g) if needs[1] else None)

    forward.__qualname__ = operation
    register(operation, "numpy", forward, backward, lambda x, target: is_floating(x) and 0 < x.size <= BLOCK)


_pair("mean_binary_cross_entropy_with_logits", _losses_bce, _slope_bce, lambda x, target, g: x * -g)
_pair("mean_squared_error", _losses_squared, _slope_squared, lambda x, target, g: _slope_squared(target, x, g))
_pair("mean_absolute_error", _losses_absolute, _slope_absolute, lambda x, target, g: _slope_absolute(target, x, g))
