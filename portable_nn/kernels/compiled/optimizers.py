"""Optimiser updates in one pass: as fast as memory is."""

from __future__ import annotations

import numpy as np

from portable_nn.kernels.compiled.common import by_rows, takes
from portable_nn.kernels.compiled.jit import Flag, Number, OutVector, Vector, compiled
from portable_nn.kernels.registry import register


@compiled
def adam(p: OutVector, g: Vector, m: OutVector, v: OutVector, beta1: Number, rest1: Number, beta2: Number,
         rest2: Number, eps: Number, decays: Flag, weight_decay: Number, shrink: Number, step_size: Number,
         correction: Number) -> None:
    """`rest` is 1 - beta; `correction` is 1 / root_correction."""
    for i in range(p.size):
        gradient = g[i]
        if decays:
            gradient += weight_decay * p[i]
        m[i] = beta1 * m[i] + rest1 * gradient
        v[i] = beta2 * v[i] + rest2 * (gradient * gradient)
        p[i] = shrink * p[i] - step_size * m[i] / (np.sqrt(v[i]) * correction + eps)


@compiled
def sgd(p: OutVector, g: Vector, decays: Flag, weight_decay: Number, lr: Number) -> None:
    for i in range(p.size):
        gradient = g[i]
        if decays:
            gradient += weight_decay * p[i]
        p[i] -= lr * gradient


@compiled
def sgd_momentum(p: OutVector, g: Vector, v: OutVector, decays: Flag, weight_decay: Number, momentum: Number,
                 keep: Number, along: Number, beyond: Number) -> None:
    """θ ← θ - along · v - beyond · g."""
    for i in range(p.size):
        gradient = g[i]
        if decays:
            gradient += weight_decay * p[i]
        v[i] = momentum * v[i] + keep * gradient
        p[i] -= along * v[i] + beyond * gradient


def adam_update(p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, *, beta1: float, beta2: float, eps: float,
                weight_decay: float, shrink: float, step_size: float, root_correction: float) -> None:
    """`optim.adam.adam_update`, written into the values and the moments."""
    by_rows(adam, p, np.ascontiguousarray(g), m, v,
            common=(beta1, 1 - beta1, beta2, 1 - beta2, eps, weight_decay != 0, weight_decay, shrink, step_size,
                    1 / root_correction))


def sgd_update(p: np.ndarray, g: np.ndarray, v: np.ndarray | None = None, *, lr: float, momentum: float,
               weight_decay: float, keep: float, nesterov: bool) -> None:
    """`optim.sgd.sgd_update`, written into the values and the velocity."""
    g, decays = np.ascontiguousarray(g), weight_decay != 0
    if v is None:
        by_rows(sgd, p, g, common=(decays, weight_decay, lr))
    else:
        along, beyond = (lr * momentum, lr) if nesterov else (lr, 0.0)
        by_rows(sgd_momentum, p, g, v, common=(decays, weight_decay, momentum, keep, along, beyond))


register("adam_update", "numpy", adam_update, None,
         lambda p, g, m, v, *largest, **options: not largest and takes(p, "fd"))
register("sgd_update", "numpy", sgd_update, None, lambda p, *others, **options: takes(p, "fd"))
