"""max_pool and max_over_time on NumPy: a pass for each step of a window, over blocks of rows that stay in the cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.kernels.numpy.blocks import as_rows, is_floating, over_rows
from portable_nn.kernels.numpy.buffers import empty
from portable_nn.kernels.registry import register


def max_pool(x: np.ndarray, *, grid: Any) -> tuple[np.ndarray, Any]:
    rows = as_rows(x)                                                   # (B C, T)
    (count, steps), (left, right) = rows.shape, grid.padding
    first, *others = (key[2] for key in grid.keys(steps))
    out = empty((count, grid.count(steps)), x.dtype)
    chosen = empty(out.shape, np.int8 if grid.kernel < 128 else np.int32)

    def part(block: slice) -> None:
        filled, best, where = rows[block], out[block], chosen[block]
        if left or right:
            filled = np.full((best.shape[0], left + steps + right), np.finfo(x.dtype).min, dtype=x.dtype)
            filled[:, left:left + steps] = rows[block]
        candidate, (better, known) = np.empty_like(best), np.empty((2, *best.shape), dtype=bool)
        best[...], where[...] = filled[:, first], 0
        for k, key in enumerate(others, 1):
            np.copyto(candidate, filled[:, key])
            np.less_equal(candidate, best, out=better)
            np.equal(best, best, out=known)
            np.greater(known, better, out=better)       # NaN is better than any number, and stays
            np.maximum(best, candidate, out=best)
            np.maximum(where, np.multiply(better.view(np.int8), where.dtype.type(k)), out=where)

    over_rows(part, count, steps)
    return out.reshape(*x.shape[:2], -1), (chosen, x.shape, grid)


def max_pool_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    chosen, shape, grid = saved
    (left, right), steps, rows = grid.padding, shape[2], as_rows(g)
    keys, g_x = [key[2] for key in grid.keys(steps)], empty((rows.shape[0], steps), g.dtype)

    def part(block: slice) -> None:
        given, target = rows[block], g_x[block]
        whole = np.empty((given.shape[0], left + steps + right), dtype=g.dtype) if left or right else target
        whole[...] = 0
        for k, key in enumerate(keys):
            whole[:, key] += given * (chosen[block] == k)
        if whole is not target:
            target[...] = whole[:, left:left + steps]

    over_rows(part, *g_x.shape)
    return (g_x.reshape(shape),)


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
