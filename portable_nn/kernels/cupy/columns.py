"""Sums over the rows of a matrix on CuPy, in a fixed order: the gradients of weights and biases."""

from __future__ import annotations

from typing import Any

from portable_nn.kernels.cupy.launch import contiguous, empty, kernel

#: Blocks that are wanted, so that every multiprocessor has some; a fixed number, so that sums have a fixed order.
_BLOCKS = 512


def sum_columns(function: Any, arguments: tuple, outputs: tuple, rows: int, width: int, char: str) -> None:
    """Launch a kernel made with `sum_columns` of columns.cuh, and add up its partial sums if it leaves any.

    The kernel takes the arguments, the partial sums, the outputs (arrays of shape (width,), at most two, 0 where one is
    not wanted), rows and width.
    """
    tiles = -(-width // 32)
    chunks = max(1, min(-(-rows // 32), _BLOCKS // max(tiles, 1)))
    partial = empty((len(outputs), chunks, width), "d" if char == "d" else "f") if chunks > 1 else 0
    if tiles:
        function((tiles, chunks), (32, 8), (*arguments, partial, *outputs, rows, width))
    if chunks > 1:
        total = kernel("columns", "total_columns", char)
        total((-(-width // 256), len(outputs)), (256,), (partial, *outputs, *[0] * (2 - len(outputs)), chunks, width))


def sum_rows(x: Any) -> Any:
    """The sum of a matrix over its first axis."""
    x, (count, width) = contiguous(x), x.shape
    out = empty((width,), x.dtype)
    sum_columns(kernel("columns", "sum_rows", x.dtype.char), (x,), (out,), count, width, x.dtype.char)
    return out
