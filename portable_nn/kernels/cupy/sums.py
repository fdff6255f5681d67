"""Sums and means on CuPy, in a fixed order; nothing is read back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from portable_nn.kernels.cupy.columns import sum_rows
from portable_nn.kernels.cupy.launch import THREADS, WIDE, contiguous, elements, empty, is_floating, kernel
from portable_nn.kernels.cupy.workspace import workspace
from portable_nn.kernels.registry import register

#: Blocks of threads at most, whose sums the last of them adds; up to so many elements one block does it all.
_BLOCKS, _FEW = 1024, 32_768
#: Columns from which sums over rows are left to neighbouring threads, and rows that one block goes through.
_COLUMNS, _ROWS = 8, 4096


def reduced(name: str, x: Any, scale: float) -> Any:
    """The kernel `name`, "sum" or "sum_squares", over all elements, times `scale`: an array of no axes."""
    x = contiguous(x)
    char, out = x.dtype.char, empty((), x.dtype)
    few = x.size <= _FEW
    blocks = 1 if few else min(_BLOCKS, -(-x.size // (THREADS * WIDE[char])))
    kernel("sums", name, char)((blocks,), (512 if few else THREADS,),
                               (x, workspace() if blocks > 1 else 0, out, x.size, scale))
    return out


def square_sum(x: Any) -> Any:
    return reduced("sum_squares", x, 1.0)


def mean(x: Any) -> tuple[Any, Any]:
    return reduced("sum", x, 1 / x.size), x


def mean_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    g_x = empty(saved.shape, saved.dtype)
    elements(kernel("sums", "spread", g_x.dtype.char), g_x, (g, g_x, g_x.size, 1 / g_x.size))
    return (g_x,)


def summing(function: Callable[..., Any], *, is_mean: bool) -> Callable[..., Any]:
    """The namespace's sum or mean: ours over neighbouring axes of which some follow, or over all; else the function."""

    def run(x: Any, /, *, axis: Any = None, keepdims: bool = False, **options: Any) -> Any:
        sizes = None if options.get("dtype") is not None or not is_floating(x) else _sizes(x, axis)
        if sizes is None:
            return function(x, axis=axis, keepdims=keepdims, **options)
        outer, rows, width = sizes
        scale, axes = 1 / rows if is_mean else 1.0, _axes(x, axis)
        shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes]
        if outer == width == 1:
            return reduced("sum", x, scale).reshape(shape)
        if outer == 1 and not is_mean:
            return sum_rows(x.reshape(rows, width)).reshape(shape)
        out = empty(shape, x.dtype)
        kernel("columns", "sum_matrices", x.dtype.char)(
            (outer * -(-width // 32),), (32, 8), (x, out, rows, width, scale))
        return out

    return run


def _axes(x: Any, axis: Any) -> tuple[int, ...]:
    given = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple(sorted([i + x.ndim if i < 0 else i for i in given]))


def _sizes(x: Any, axis: Any) -> tuple[int, int, int] | None:
    """x as (outer, rows, width), whose rows are to be summed, where that is quick."""
    axes, shape = _axes(x, axis), x.shape
    if not axes or axes != tuple(range(axes[0], axes[0] + len(axes))) or axes[0] < 0 or axes[-1] >= x.ndim:
        return None
    outer, rows, width = map(math.prod, (shape[:axes[0]], shape[axes[0]:axes[-1] + 1], shape[axes[-1] + 1:]))
    fits = outer == width == 1 or (width >= _COLUMNS and (outer == 1 or rows <= _ROWS))
    return (outer, rows, width) if fits and x.size and x.flags.c_contiguous else None


register("square_sum", "cupy", square_sum, None, is_floating)
register("mean", "cupy", mean, mean_backward, lambda x: is_floating(x) and x.size > 0)
