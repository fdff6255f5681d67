"""max_pool and max_over_time on NumPy: one pass for each step of a window, over all windows at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.kernels.numpy.blocks import is_floating
from portable_nn.kernels.registry import register


def max_pool(x: np.ndarray, *, grid: Any) -> tuple[np.ndarray, Any]:
    left, right = grid.padding
    filled = x
    if left or right:
        filled = np.full((*x.shape[:2], left + x.shape[2] + right), np.finfo(x.dtype).min, dtype=x.dtype)
        filled[:, :, left:left + x.shape[2]] = x
    first, *others = grid.keys(x.shape[2])
    out = np.array(filled[first], order="C")
    chosen = np.zeros(out.shape, dtype=np.int32)
    for k, key in enumerate(others, 1):
        part = filled[key]
        better = ~(part <= out)          # NaN is better than any number, and stays
        better &= out == out
        np.copyto(out, part, where=better)
        chosen[better] = k
    return out, (chosen, filled.shape, x.shape, grid)


def max_pool_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    chosen, whole, shape, grid = saved
    g_x = np.zeros(whole, dtype=g.dtype)
    for k, key in enumerate(grid.keys(shape[2])):
        g_x[key] += g * (chosen == k)
    left = grid.padding[0]
    return (np.ascontiguousarray(g_x[:, :, left:left + shape[2]]),)


def max_over_time(x: np.ndarray, mask: np.ndarray | None, *, axis: int) -> tuple[np.ndarray, Any]:
    hidden = None
    if mask is not None:
        axis %= x.ndim
        hidden = mask.reshape([n if i in (0, axis) else 1 for i, n in enumerate(x.shape)])
        x = np.where(hidden, np.finfo(x.dtype).min, x)
    best = np.expand_dims(x.argmax(axis=axis), axis)
    out = np.take_along_axis(x, best, axis).squeeze(axis)
    if hidden is not None:
        out *= ~hidden.all(axis=axis)
    return out, (best, hidden, x.shape, axis)


def max_over_time_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    best, hidden, shape, axis = saved
    g_x = np.zeros(shape, dtype=g.dtype)
    if hidden is not None:
        g = g * ~hidden.all(axis=axis)
    np.put_along_axis(g_x, best, np.expand_dims(g, axis), axis)
    return g_x, None


register("max_pool", "numpy", max_pool, max_pool_backward,
         lambda x, *, grid: is_floating(x) and x.size > 0)
register("max_over_time", "numpy", max_over_time, max_over_time_backward,
         lambda x, mask, *, axis: is_floating(x) and x.size > 0)
