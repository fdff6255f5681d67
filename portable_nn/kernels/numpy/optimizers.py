"""Optimiser updates in place, in blocks that stay in the cache while a dozen passes go over them."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.kernels.registry import register

#: Elements in a block: four float32 arrays and a scratch of it fit in a megabyte of cache.
BLOCK = 32_768


def adam_update(values: np.ndarray, gradient: np.ndarray, exp_avg: np.ndarray, exp_avg_sq: np.ndarray,
                **options: Any) -> None:
    """`optim.adam.adam_update`, written into `values` and the moments."""
    size = values.size
    if size <= BLOCK:
        _adam_block(values, gradient, exp_avg, exp_avg_sq, np.empty_like(values), **options)
        return
    scratch = np.empty(BLOCK, dtype=values.dtype)
    for start in range(0, size, BLOCK):
        block = slice(start, start + BLOCK)
        p = values[block]
        _adam_block(p, gradient[block], exp_avg[block], exp_avg_sq[block], scratch[:p.size], **options)


def _adam_block(p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, t: np.ndarray, *, beta1: float,
                beta2: float, eps: float, weight_decay: float, shrink: float, step_size: float,
                root_correction: float) -> None:
    """Fewer passes by keeping the definition's sums and moving its factors: ε and the step are scaled by √(1 − β₂ᵗ)."""
    if weight_decay:
        g = g + p * weight_decay
    m *= beta1
    np.multiply(g, 1 - beta1, t)
    m += t
    v *= beta2
    np.multiply(g, g, t)
    t *= 1 - beta2
    v += t
    np.sqrt(v, t)
    t += eps * root_correction
    np.divide(m, t, t)
    t *= step_size * root_correction
    if shrink != 1:
        p *= shrink
    p -= t


def sgd_update(values: np.ndarray, gradient: np.ndarray, velocity: np.ndarray | None = None, **options: Any) -> None:
    """`optim.sgd.sgd_update`, written into `values` and the velocity."""
    size = values.size
    if size <= BLOCK:
        _sgd_block(values, gradient, velocity, np.empty_like(values), **options)
        return
    scratch = np.empty(BLOCK, dtype=values.dtype)
    for start in range(0, size, BLOCK):
        block = slice(start, start + BLOCK)
        p = values[block]
        _sgd_block(p, gradient[block], None if velocity is None else velocity[block], scratch[:p.size], **options)


def _sgd_block(p: np.ndarray, g: np.ndarray, v: np.ndarray | None, t: np.ndarray, *, lr: float, momentum: float,
               weight_decay: float, keep: float, nesterov: bool) -> None:
    if weight_decay:
        g = g + p * weight_decay
    if v is None:
        np.multiply(g, lr, t)
    else:
        v *= momentum
        if keep == 1:
            v += g
        else:
            v += np.multiply(g, keep, t)
        if nesterov:
            np.multiply(v, momentum, t)
            t += g
            t *= lr
        else:
            np.multiply(v, lr, t)
    p -= t


def square_sum(x: np.ndarray) -> np.ndarray:
    """Without NumPy's warnings: whoever asks looks at the result, and a gradient of 1e30 is no error."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.dot(x, x)


register("square_sum", "numpy", square_sum)
register("adam_update", "numpy", adam_update)
register("sgd_update", "numpy", sgd_update)
