"""Σ x² and the mean of all elements on CuPy, in a fixed order; nothing is read back."""

from __future__ import annotations

from typing import Any

from portable_nn.kernels.cupy.launch import THREADS, WIDE, contiguous, elements, empty, is_floating, kernel
from portable_nn.kernels.registry import register

#: Blocks of threads at most, whose sums one block then adds; up to so many elements one block does it all.
_BLOCKS, _FEW = 1024, 32_768


def reduced(name: str, x: Any, scale: float) -> Any:
    """The kernel `name`, "sum" or "sum_squares", over all elements, times `scale`: an array of no axes."""
    x = contiguous(x)
    char, out = x.dtype.char, empty((), x.dtype)
    if x.size <= _FEW:
        kernel("sums", name, char)((1,), (512,), (x, 0, out, x.size, scale))
        return out
    blocks = min(_BLOCKS, -(-x.size // (THREADS * WIDE[char])))
    partial = empty((blocks,), "d")
    kernel("sums", name, char)((blocks,), (THREADS,), (x, partial, out, x.size, scale))
    kernel("sums", "total", char)((1,), (THREADS,), (partial, out, blocks, scale))
    return out


def square_sum(x: Any) -> Any:
    return reduced("sum_squares", x, 1.0)


def mean(x: Any) -> tuple[Any, Any]:
    return reduced("sum", x, 1 / x.size), x


def mean_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    g_x = empty(saved.shape, saved.dtype)
    elements(kernel("sums", "spread", g_x.dtype.char), g_x, (g, g_x, g_x.size, 1 / g_x.size))
    return (g_x,)


register("square_sum", "cupy", square_sum, None, is_floating)
register("mean", "cupy", mean, mean_backward, lambda x: is_floating(x) and x.size > 0)
