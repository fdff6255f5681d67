"""Σ x² on CuPy, in a fixed order; nothing is read back."""

from __future__ import annotations

from typing import Any

from portable_nn.kernels.cupy.launch import THREADS, WIDE, contiguous, empty, is_floating, kernel
from portable_nn.kernels.registry import register

#: Blocks of threads at most, whose sums one block then adds.
_BLOCKS = 1024


def square_sum(x: Any) -> Any:
    x = contiguous(x)
    char, out = x.dtype.char, empty((), x.dtype)
    blocks = max(1, min(_BLOCKS, -(-x.size // (THREADS * WIDE[char]))))
    partial = empty((blocks,), "d")
    kernel("sums", "square_sums", char)((blocks,), (THREADS,), (x, partial, x.size))
    kernel("sums", "total", char)((1,), (THREADS,), (partial, out, blocks))
    return out


register("square_sum", "cupy", square_sum, None, is_floating)
