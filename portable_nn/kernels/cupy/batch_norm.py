"""batch_norm on CuPy: statistics in one kernel, in a fixed order, then one pass over the elements; so too backward."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from portable_nn.kernels.cupy.launch import contiguous, elements, empty, is_floating, kernel
from portable_nn.kernels.cupy.workspace import workspace
from portable_nn.kernels.registry import register

#: From so many steps on a block of threads is one channel's; below, neighbouring threads have neighbouring channels.
_LONG = 32
_BLOCKS = 512


def _statistics(name: str, arguments: Callable[[Any], tuple], rows: int, channels: int, steps: int, char: str,
                *options: float) -> None:
    """Launch a kernel that joins (2, chunks, C) partial results; `arguments` has a place for them."""
    across = int(steps < _LONG)
    tiles = -(-channels // 32) if across else channels
    chunks = max(1, min(-(-rows // (64 if across else 2048)), _BLOCKS // tiles))
    partial = empty((2, chunks, channels), "d" if char == "d" else "f")
    kernel("batch_norm", name, char)(
        (tiles, chunks), (32, 8) if across else (256, 1),
        (*arguments(partial), workspace() if chunks > 1 else 0, rows, channels, steps, across, *options))


def _given(x: Any) -> Any:
    return 0 if x is None else contiguous(x)


def forward(x: Any, weight: Any, bias: Any, *, eps: float) -> tuple:
    x, char, channels, steps = contiguous(x), x.dtype.char, x.shape[1], math.prod(x.shape[2:])
    kept, out = empty((2, channels), "d" if char == "d" else "f"), empty(x.shape, x.dtype)
    mean, variance = empty((channels,), x.dtype), empty((channels,), x.dtype)
    _statistics("moments", lambda partial: (x, partial, kept, mean, variance), x.shape[0] * steps, channels, steps,
                char, float(eps))
    elements(kernel("batch_norm", "normalize", char), x,
             (x, _given(weight), _given(bias), kept, out, x.size, channels, steps))
    return (out, mean, variance), (x, weight, kept, channels, steps)


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    (g_y, g_mean, g_variance), (x, weight, kept, channels, steps) = g, saved
    char, rows = x.dtype.char, x.size // channels
    g_x = g_weight = g_bias = None
    if g_y is not None:
        g_y = contiguous(g_y)
        g_weight, g_bias = (empty((channels,), x.dtype) if need else None for need in needs[1:3])
    factors = empty((3, channels), kept.dtype)
    results = (kept, *map(_given, (weight, g_mean, g_variance, g_weight, g_bias)), factors)
    if g_y is None:
        kernel("batch_norm", "no_products", char)((-(-channels // 128),), (128,), (*results, rows, channels))
    else:
        _statistics("products", lambda partial: (x, g_y, *results, partial), rows, channels, steps, char)
    if needs[0]:
        g_x = empty(x.shape, x.dtype)
        elements(kernel("batch_norm", "normalize_backward", char), x,
                 (x, 0 if g_y is None else g_y, kept, factors, g_x, x.size, channels, steps))
    return g_x, g_weight, g_bias


def supports(x: Any, weight: Any, bias: Any, *, eps: float) -> bool:
    return is_floating(x) and x.size > 0


register("batch_norm", "cupy", forward, backward, supports)
