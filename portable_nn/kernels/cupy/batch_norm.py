"""batch_norm on CuPy: statistics in two kernels, in a fixed order, then one pass over the elements; so too backward."""

from __future__ import annotations

import math
from typing import Any

from portable_nn.kernels.cupy.launch import contiguous, elements, empty, is_floating, kernel
from portable_nn.kernels.registry import register

#: From so many steps on a block of threads is one channel's; below, neighbouring threads have neighbouring channels.
_LONG = 32
_BLOCKS = 512


def _statistics(name: str, arguments: tuple, rows: int, channels: int, steps: int, char: str) -> tuple[Any, int]:
    """Launch a kernel that leaves (2, chunks, C) partial results; give them, and the number of chunks."""
    across = int(steps < _LONG)
    tiles = -(-channels // 32) if across else channels
    chunks = max(1, min(-(-rows // (64 if across else 2048)), _BLOCKS // tiles))
    partial = empty((2, chunks, channels), "d" if char == "d" else "f")
    kernel("batch_norm", name, char)((tiles, chunks), (32, 8) if across else (256, 1),
                                     (*arguments, partial, rows, channels, steps, across))
    return partial, chunks


def _given(x: Any) -> Any:
    return 0 if x is None else contiguous(x)


def forward(x: Any, weight: Any, bias: Any, *, eps: float) -> tuple:
    x, char, channels, steps = contiguous(x), x.dtype.char, x.shape[1], math.prod(x.shape[2:])
    rows, blocks = x.shape[0] * steps, -(-channels // 128)
    partial, chunks = _statistics("moments", (x,), rows, channels, steps, char)
    kept, out = empty((2, channels), partial.dtype), empty(x.shape, x.dtype)
    mean, variance = empty((channels,), x.dtype), empty((channels,), x.dtype)
    kernel("batch_norm", "join_moments", char)((blocks,), (128,), (partial, kept, mean, variance, rows, channels,
                                                                  chunks, float(eps)))
    elements(kernel("batch_norm", "normalize", char), x,
             (x, _given(weight), _given(bias), kept, out, x.size, channels, steps))
    return (out, mean, variance), (x, weight, kept, channels, steps)


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    (g_y, g_mean, g_variance), (x, weight, kept, channels, steps) = g, saved
    char, rows, partial, chunks = x.dtype.char, x.size // channels, 0, 0
    g_x = g_weight = g_bias = None
    if g_y is not None:
        g_y = contiguous(g_y)
        partial, chunks = _statistics("products", (x, g_y, kept), rows, channels, steps, char)
        g_weight, g_bias = (empty((channels,), x.dtype) if need else None for need in needs[1:3])
    factors = empty((3, channels), kept.dtype)
    results = (0 if a is None else a for a in (g_weight, g_bias))
    kernel("batch_norm", "join_products", char)(
        (-(-channels // 128),), (128,), (partial, kept, _given(weight), _given(g_mean), _given(g_variance), *results,
                                         factors, rows, channels, chunks))
    if needs[0]:
        g_x = empty(x.shape, x.dtype)
        elements(kernel("batch_norm", "normalize_backward", char), x,
                 (x, 0 if g_y is None else g_y, kept, factors, g_x, x.size, channels, steps))
    return g_x, g_weight, g_bias


def supports(x: Any, weight: Any, bias: Any, *, eps: float) -> bool:
    return is_floating(x) and x.size > 0


register("batch_norm", "cupy", forward, backward, supports)
