"""Optimiser updates in place, in blocks that stay in the cache while a dozen passes go over them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from portable_nn.kernels.numpy.buffers import scratch
from portable_nn.kernels.numpy.threads import share
from portable_nn.kernels.registry import register

#: Elements in a block: with 16,384 NumPy's calls take as long as their work, with 131,072 some caches are too small.
BLOCK = 65_536
#: Elements from which several threads are quicker than one.
SHARED = 4 * BLOCK


def adam_update(*arrays: np.ndarray, **options: Any) -> None:
    """`optim.adam.adam_update`, written into the values and the moments."""
    _in_blocks(_adam_block, arrays, options)


def _in_blocks(function: Any, arrays: tuple[np.ndarray, ...], options: dict[str, Any]) -> None:
    """`function(work, *blocks, **options)` over blocks of arrays of one length."""
    size, dtype = arrays[0].size, arrays[0].dtype
    if size <= BLOCK:
        function(np.empty_like(arrays[0]), *arrays, **options)
        return

    def part(start: int) -> None:
        block = slice(start, start + BLOCK)
        function(scratch(BLOCK, dtype)[:size - start], *[x[block] for x in arrays], **options)

    blocks = range(0, size, BLOCK)
    if size < SHARED:
        for start in blocks:
            part(start)
    else:
        share(part, blocks)


@functools.lru_cache(64)
def _constants(dtype: np.dtype, *values: float) -> tuple[np.ndarray, ...]:
    """Numbers as 0-d arrays, which as operands cost half of what Python's floats do."""
    return tuple([np.array(value, dtype=dtype) for value in values])


def _adam_block(t: np.ndarray, p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, *largest: np.ndarray,
                beta1: float, beta2: float, eps: float, weight_decay: float, shrink: float, step_size: float,
                root_correction: float) -> None:
    """Fewer passes by keeping the definition's sums and moving its factors: ε and the step are scaled by √(1 − β₂ᵗ)."""
    if weight_decay:
        g = g + p * weight_decay
    decay1, rest1, decay2, rest2 = _constants(t.dtype, beta1, 1 - beta1, beta2, 1 - beta2)
    m *= decay1
    np.multiply(g, rest1, t)
    m += t
    v *= decay2
    np.multiply(g, g, t)
    t *= rest2
    v += t
    if largest:
        v = np.maximum(largest[0], v, out=largest[0])
    np.sqrt(v, t)
    t += eps * root_correction
    np.divide(m, t, t)
    t *= step_size * root_correction
    if shrink != 1:
        p *= shrink
    p -= t


def sgd_update(*arrays: np.ndarray, **options: Any) -> None:
    """`optim.sgd.sgd_update`, written into the values and the velocity."""
    _in_blocks(_sgd_block, arrays, options)


def _sgd_block(t: np.ndarray, p: np.ndarray, g: np.ndarray, v: np.ndarray | None = None, *, lr: float, momentum: float,
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


def rmsprop_update(*arrays: np.ndarray, **options: Any) -> None:
    """`optim.rmsprop.rmsprop_update`, written into the values and the moments."""
    _in_blocks(_rmsprop_block, arrays, options)


def _rmsprop_block(t: np.ndarray, p: np.ndarray, g: np.ndarray, s: np.ndarray, *others: np.ndarray, lr: float,
                   alpha: float, eps: float, weight_decay: float, momentum: float, centered: bool) -> None:
    if weight_decay:
        g = g + p * weight_decay
    s *= alpha
    np.multiply(g, g, t)
    t *= 1 - alpha
    s += t
    if centered:
        a = others[0]
        a *= alpha
        np.multiply(g, 1 - alpha, t)
        a += t
        np.multiply(a, a, t)
        np.subtract(s, t, t)
        np.maximum(t, 0, out=t)
        np.sqrt(t, t)
    else:
        np.sqrt(s, t)
    t += eps
    np.divide(g, t, t)
    if momentum:
        v = others[-1]
        v *= momentum
        v += t
        np.multiply(v, lr, t)
    else:
        t *= lr
    p -= t


def lion_update(*arrays: np.ndarray, **options: Any) -> None:
    """`optim.lion.lion_update`, written into the values and the momentum."""
    _in_blocks(_lion_block, arrays, options)


def _lion_block(t: np.ndarray, p: np.ndarray, g: np.ndarray, m: np.ndarray, *, lr: float, beta1: float, beta2: float,
                shrink: float) -> None:
    np.multiply(m, beta1, t)
    t += g * (1 - beta1)
    np.sign(t, t)
    t *= lr
    if shrink != 1:
        p *= shrink
    p -= t
    m *= beta2
    np.multiply(g, 1 - beta2, t)
    m += t


def square_sum(x: np.ndarray) -> np.ndarray:
    """Without NumPy's warnings: whoever asks looks at the result, and a gradient of 1e30 is no error."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.dot(x, x)


def set_rows(values: np.ndarray, indices: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`optim.rows.set_rows`, written into `values`."""
    values[indices] = rows
    return values


register("set_rows", "numpy", set_rows, None, lambda values, indices, rows: values.flags.writeable)
register("square_sum", "numpy", square_sum)
register("adam_update", "numpy", adam_update)
register("sgd_update", "numpy", sgd_update)
register("rmsprop_update", "numpy", rmsprop_update)
register("lion_update", "numpy", lion_update)
