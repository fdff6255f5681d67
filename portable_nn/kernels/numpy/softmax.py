"""softmax and log_softmax on NumPy, along any axis; the last one in blocks of rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.kernels.numpy.blocks import as_rows, is_floating, ones, over_rows
from portable_nn.kernels.numpy.buffers import empty
from portable_nn.kernels.registry import register

#: Within this range of values one shift serves all rows: exp stays far from under- and overflow, and is as exact.
_RANGE = 16.0


def shift(rows: np.ndarray) -> Any:
    """What to subtract so that exp does not overflow: the largest value of all, or each row's as a column.

    The former is 50 times quicker on short rows. (NaN and infinities fail the comparison.)
    """
    flat = rows.reshape(-1)
    top = flat[flat.argmax()]  # finding the place costs a third of what a reduction does on short arrays
    if float(top) - float(flat[flat.argmin()]) <= _RANGE:
        return top
    return np.maximum.reduce(rows, axis=1, keepdims=True)


def exponentials(rows: np.ndarray, out: np.ndarray) -> tuple[Any, np.ndarray]:
    """Write exp(rows - shift) into `out`; give the shift and the sums of `out`, one a row."""
    m = shift(rows)
    np.subtract(rows, m, out=out)
    np.exp(out, out=out)
    return m, np.dot(out, ones(out.shape[1], out.dtype))


def _along(x: np.ndarray, axis: int) -> bool:
    return axis in (-1, x.ndim - 1)


def softmax(x: np.ndarray, *, axis: int) -> tuple[np.ndarray, Any]:
    out = empty(x.shape, x.dtype)
    if not _along(x, axis):
        np.subtract(x, np.maximum.reduce(x, axis=axis, keepdims=True), out=out)
        np.exp(out, out=out)
        np.divide(out, np.add.reduce(out, axis=axis, keepdims=True), out=out)
        return out, (out, axis)
    rows, result = as_rows(x), out.reshape(-1, x.shape[-1])

    def part(block: slice) -> None:
        e = result[block]
        sums = exponentials(rows[block], e)[1]
        np.multiply(e, np.reciprocal(sums, out=sums)[:, None], out=e)

    over_rows(part, *rows.shape, products=True)
    return out, (out, axis)


def softmax_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    out, axis = saved
    g_x = empty(out.shape, out.dtype)
    if not _along(out, axis):
        np.multiply(g, out, out=g_x)
        np.subtract(g, np.add.reduce(g_x, axis=axis, keepdims=True), out=g_x)
        return (np.multiply(g_x, out, out=g_x),)
    width = out.shape[-1]
    rows, g, result = out.reshape(-1, width), as_rows(g), g_x.reshape(-1, width)

    def part(block: slice) -> None:
        t, y = result[block], rows[block]
        np.multiply(g[block], y, out=t)
        sums = np.dot(t, ones(width, t.dtype))
        np.subtract(g[block], sums[:, None], out=t)
        np.multiply(t, y, out=t)

    over_rows(part, *rows.shape, products=True)
    return (g_x,)


def log_softmax(x: np.ndarray, *, axis: int) -> tuple[np.ndarray, Any]:
    out = empty(x.shape, x.dtype)
    if not _along(x, axis):
        np.subtract(x, np.maximum.reduce(x, axis=axis, keepdims=True), out=out)
        np.subtract(out, np.log(np.add.reduce(np.exp(out), axis=axis, keepdims=True)), out=out)
        return out, (out, axis)
    rows, result = as_rows(x), out.reshape(-1, x.shape[-1])

    def part(block: slice) -> None:
        y = result[block]
        m, sums = exponentials(rows[block], y)  # y holds the exponentials for a moment
        np.log(sums, out=sums)
        np.subtract(rows[block], m, out=y)
        np.subtract(y, sums[:, None], out=y)

    over_rows(part, *rows.shape, products=True)
    return out, (out, axis)


def log_softmax_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    out, axis = saved
    g_x = empty(out.shape, out.dtype)
    if not _along(out, axis):
        np.exp(out, out=g_x)
        np.multiply(g_x, np.add.reduce(g, axis=axis, keepdims=True), out=g_x)
        return (np.subtract(g, g_x, out=g_x),)
    width = out.shape[-1]
    rows, g, result = out.reshape(-1, width), as_rows(g), g_x.reshape(-1, width)

    def part(block: slice) -> None:
        t = result[block]
        np.exp(rows[block], out=t)
        np.multiply(t, np.dot(g[block], ones(width, g.dtype))[:, None], out=t)
        np.subtract(g[block], t, out=t)

    over_rows(part, *rows.shape, products=True)
    return (g_x,)


def supports(x: Any, *, axis: int) -> bool:
    return is_floating(x) and x.size > 0


register("softmax", "numpy", softmax, softmax_backward, supports)
register("log_softmax", "numpy", log_softmax, log_softmax_backward, supports)
