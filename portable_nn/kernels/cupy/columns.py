"""Sums over the rows of a matrix on CuPy, in a fixed order: the gradients of weights and biases."""

from __future__ import annotations

from typing import Any

from portable_nn.kernels.cupy.launch import contiguous, empty, kernel
from portable_nn.kernels.cupy.workspace import workspace

#: Blocks that are wanted, so that every multiprocessor has some; a fixed number, so that sums have a fixed order.
_BLOCKS = 512


def sum_columns(function: Any, arguments: tuple, outputs: tuple, rows: int, width: int, char: str) -> None:
    """Launch a kernel made with `sum_columns` of columns.cuh.

    The kernel takes the arguments, the workspace, the outputs (arrays of shape (width,), at most two, 0 where one is
    not wanted), rows and width.
    """
    tiles = -(-width // 32)
    if tiles:
        chunks = max(1, min(-(-rows // 32), _BLOCKS // tiles))
        partial = workspace() if chunks > 1 else 0
        function((tiles, chunks), (32, 8), (*arguments, partial, *outputs, rows, width))


def sum_rows(x: Any, dtype: Any = None) -> Any:
    """The sum of a matrix over its first axis, in its dtype or another floating one."""
    x, (count, width), char = contiguous(x), x.shape, x.dtype.char
    out = empty((width,), "d" if char == "d" else "f")
    sum_columns(kernel("columns", "sum_rows", char), (x,), (out,), count, width, char)
    return out.astype(x.dtype if dtype is None else dtype, copy=False)
