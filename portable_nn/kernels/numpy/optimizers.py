"""Optimiser updates in place, in blocks that stay in the cache while a dozen passes go over them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from portable_nn.kernels.registry import register

#: Elements in a block: four arrays and a scratch of it fit in a core's L2 cache.
BLOCK = 16_384


def _blocks(size: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK))


def adam_update(values: np.ndarray, gradient: np.ndarray, exp_avg: np.ndarray, exp_avg_sq: np.ndarray, *, beta1: float,
                beta2: float, eps: float, weight_decay: float, shrink: float, step_size: float,
                root_correction: float) -> None:
    """`optim.adam.adam_update`, written into `values` and the moments."""
    scratch = np.empty(min(BLOCK, values.size), dtype=values.dtype)
    for block in _blocks(values.size):
        p, g, m, v = values[block], gradient[block], exp_avg[block], exp_avg_sq[block]
        t = scratch[:p.size]
        if weight_decay:
            g = np.multiply(p, weight_decay)
            g += gradient[block]
        np.multiply(g, 1 - beta1, out=t)
        m *= beta1
        m += t
        np.multiply(g, g, out=t)
        t *= 1 - beta2
        v *= beta2
        v += t
        np.sqrt(v, out=t)
        t /= root_correction
        t += eps
        np.divide(m, t, out=t)
        t *= step_size
        if shrink != 1:
            p *= shrink
        p -= t


def sgd_update(values: np.ndarray, gradient: np.ndarray, velocity: np.ndarray | None = None, *, lr: float, momentum: float,
               weight_decay: float, keep: float, nesterov: bool) -> None:
    """`optim.sgd.sgd_update`, written into `values` and the velocity."""
    scratch = np.empty(min(BLOCK, values.size), dtype=values.dtype)
    for block in _blocks(values.size):
        p, g = values[block], gradient[block]
        t = scratch[:p.size]
        if weight_decay:
            g = np.multiply(p, weight_decay)
            g += gradient[block]
        if velocity is None:
            p -= np.multiply(g, lr, out=t)
            continue
        v = velocity[block]
        v *= momentum
        v += np.multiply(g, keep, out=t)
        if nesterov:
            np.multiply(v, momentum, out=t)
            t += g
            t *= lr
        else:
            np.multiply(v, lr, out=t)
        p -= t


register("adam_update", "numpy", adam_update)
register("sgd_update", "numpy", sgd_update)
