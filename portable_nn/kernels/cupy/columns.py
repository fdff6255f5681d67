"""Sums over the rows of a matrix on CuPy, in a fixed order: the gradients of weights and biases."""

from __future__ import annotations

import threading
from typing import Any

import cupy

from portable_nn.kernels.cupy.launch import WIDE, contiguous, empty, kernel
from portable_nn.kernels.cupy.workspace import workspace

#: Blocks that are wanted, so that every multiprocessor has some; a fixed number, so that sums have a fixed order.
_BLOCKS = 512
#: Elements from which fewer and fuller threads are quicker.
_LARGE = 2**20


def sum_columns(function: Any, arguments: tuple, outputs: tuple, rows: int, width: int, char: str, *,
                wide: Any = None) -> None:
    """Launch a kernel that ends with `finish_columns` of columns.cuh.

    The kernel takes the arguments, the workspace, the outputs (arrays of shape (width,), at most two, 0 where one is
    not wanted), rows and width. Of `wide`, if it is given, each thread takes 16 bytes of a large matrix's rows.
    """
    packed = wide is not None and rows * width >= _LARGE and width % WIDE[char] == 0 and all(
        x.data.ptr % 16 == 0 for x in arguments if isinstance(x, cupy.ndarray))
    tiles = -(-width // (32 * WIDE[char] if packed else 32))
    if tiles:
        chunks = max(1, min(-(-rows // 32), _BLOCKS // tiles))
        partial = workspace() if chunks > 1 else 0
        (wide if packed else function)((tiles, chunks), (32, 8), (*arguments, partial, *outputs, rows, width))


class _Left(threading.local):
    array: Any = None
    sums: Any = None


_left = _Left()


def leave_sums(x: Any, sums: Any) -> None:
    """Leave the sums over the rows of x (of its last axis) for whoever may ask next.

    The kernel of a residual connection makes a gradient that the bias of the layer before wants the sums of; to take
    them on the way costs nothing. The array is held until then, so that its memory is no other's.
    """
    _left.array, _left.sums = x, sums


def left_sums(x: Any) -> Any:
    """What was left for the matrix x, or None; it is given once, and nobody else gets it."""
    known, sums = _left.array, _left.sums
    leave_sums(None, None)
    same = (known is not None and known.data.ptr == x.data.ptr and known.size == x.size and known.dtype == x.dtype
            and sums.size == x.shape[1] and x.flags.c_contiguous)
    return sums if same else None


def sum_rows(x: Any, dtype: Any = None) -> Any:
    """The sum of a matrix over its first axis, in its dtype or another floating one."""
    (count, width), char = x.shape, x.dtype.char
    out = empty((width,), "d" if char == "d" else "f")
    sum_columns(kernel("columns", "sum_rows", char), (contiguous(x),), (out,), count, width, char,
                wide=kernel("columns", "sum_rows_wide", char))
    return out.astype(x.dtype if dtype is None else dtype, copy=False)
