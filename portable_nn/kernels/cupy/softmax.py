"""softmax and log_softmax on CuPy, along the last axis; along others the generic pair serves."""

from __future__ import annotations

from typing import Any

from portable_nn.kernels.cupy.launch import contiguous, empty, is_floating, kernel, rows
from portable_nn.kernels.registry import register


def _forward(name: str, x: Any) -> tuple[Any, Any]:
    x, width = contiguous(x), x.shape[-1]
    out, count = empty(x.shape, x.dtype), x.size // width
    rows(kernel("softmax", name, x.dtype.char), count, width, (x, out, count, width))
    return out, out


def _backward(name: str, g: Any, out: Any) -> tuple:
    g, width = contiguous(g), out.shape[-1]
    g_x, count = empty(out.shape, out.dtype), out.size // width
    rows(kernel("softmax", name, out.dtype.char), count, width, (out, g, g_x, count, width))
    return (g_x,)


def softmax(x: Any, *, axis: int) -> tuple[Any, Any]:
    return _forward("softmax", x)


def softmax_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    return _backward("softmax_backward", g, saved)


def log_softmax(x: Any, *, axis: int) -> tuple[Any, Any]:
    return _forward("log_softmax", x)


def log_softmax_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    return _backward("log_softmax_backward", g, saved)


def supports(x: Any, *, axis: int) -> bool:
    return is_floating(x) and x.size > 0 and axis in (-1, x.ndim - 1)


register("softmax", "cupy", softmax, softmax_backward, supports)
register("log_softmax", "cupy", log_softmax, log_softmax_backward, supports)
