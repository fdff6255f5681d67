"""Sums of rows that have the same index on CuPy, in the order of their positions: the gradient of an embedding.

The indices are sorted by kernels of ours, which CUDA graphs can record; nothing is added atomically, so results do not
depend on which thread comes first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cupy

from portable_nn.autodiff.row_sparse import Unwritten
from portable_nn.backend.scatter import register_kernel
from portable_nn.kernels.cupy.launch import WIDE, as_int64, contiguous, empty, is_floating, kernel, rows

#: Up to so many indices are sorted and summed in one launch each.
FEW = 8192
#: Beyond: what one block of the sort works on, and the keys that one warp sums.
_TILE, _CHUNK = 2048, 32
#: Of sum_few: the places of a block, and its warps.
_PLACES, _WARPS = 32, 16
_LIMIT = 2**31 - 1


class Bags(NamedTuple):
    """Bags that the indices of a sum are in: one row of values each, times 1 / length or the index's weight."""

    offsets: Any = 0  # int64 (B,), or 0 where every index has a row of its own
    weights: Any = 0  # (n,), or 0
    number: int = 0
    mean: int = 0


ALONE = Bags()


def sort_indices(indices: Any, size: int, out: Any = None) -> tuple[Any, Any]:
    """Indices (n,) of int64 in order, in `out` or as uint32, and the positions they come from, as int32; stable.

    An index out of range is taken as `size`, so that it comes last.
    """
    count, bits = indices.size, max(size.bit_length(), 1)
    if count <= FEW:
        keys, positions = empty((count,), "I") if out is None else out, empty((count,), "i")
        kernel("sort", "sort_few")((1,), (1024,), (indices, keys, positions, count, size, bits))
        return keys, positions
    blocks = -(-count // _TILE)
    counts = empty((256, blocks), "I")
    keys, positions = 0, 0
    for shift in range(0, bits, 8):
        first = indices if shift == 0 else 0
        sorted_keys, sorted_positions = empty((count,), "I"), empty((count,), "i")
        if out is not None and shift + 8 >= bits:
            sorted_keys = out
        kernel("sort", "count_digits")((blocks,), (256,), (first, keys, counts, count, size, shift))
        kernel("sort", "scan_counts")((1,), (1024,), (counts, counts.size))
        kernel("sort", "place_digits")((blocks,), (256,), (first, keys, positions, counts, sorted_keys,
                                                           sorted_positions, count, size, shift))
        keys, positions = sorted_keys, sorted_positions
    return keys, positions


def sum_by_index(indices: Any, values: Any, size: int, bags: Bags = ALONE) -> Any:
    """A table (size, D) of zeros, with row i of `values` (or that of i's bag) added at row `indices[i]`.

    Indices out of range are passed over.
    """
    width, char, count = values.shape[1], values.dtype.char, indices.size
    out = cupy.zeros((size, width), values.dtype)
    if not (count and out.size):
        return out
    indices, values = as_int64(indices), contiguous(values)
    keys, positions = sort_indices(indices, size)
    if count <= FEW:
        sum_few(keys, positions, values, out, 0, size, bags)
        return out
    chunks = -(-count // _CHUNK)
    heads, tails = (empty((chunks, width), "d" if char == "d" else "f") for _ in range(2))
    grid = (-(-chunks // 4),)
    kernel("runs", "sum_runs", char)(grid, (32, 4), (keys, positions, values, *bags, out, heads, tails, count, size,
                                                     width))
    kernel("runs", "join_runs", char)(grid, (32, 4), (keys, out, heads, tails, count, size, width))
    return out


def sum_few(keys: Any, positions: Any, values: Any, out: Any, index: Any, size: int, bags: Bags = ALONE) -> None:
    """Sum the rows of equal keys in one launch: see src/runs.cu for where the sums go."""
    (count,), width, char = keys.shape, values.shape[1], values.dtype.char
    wide = WIDE[char] if width % WIDE[char] == 0 else 1
    grid = -(-count // _PLACES), min(-(-width // (32 * wide)), 65_535)
    kernel("runs", "sum_few", char)(grid, (32, _WARPS), (keys, positions, values, *bags, out, index, count, size,
                                                         width))


class RowSums(Unwritten):
    """What `sum_by_index` would return, as sums of rows and an index of them.

    Parameters
    ----------
    indices : integer array (n,)
    values : array (m, D)
    size : int
    bags : Bags

    Attributes
    ----------
    values : array (n, D)
        The sums, in the order of the indices, zeros between them.
    index : int32 array
        See src/row_index.cuh.
    """

    __slots__ = ("dtype", "index", "shape", "size", "values")

    def __init__(self, indices: Any, values: Any, size: int, bags: Bags = ALONE) -> None:
        count, width = indices.size, values.shape[1]
        self.shape, self.dtype, self.size = (size, width), values.dtype, size * width
        self.index, self.values = empty((2 + count + size,), "i"), empty((count, width), values.dtype)
        keys = self.index[2:2 + count]
        positions = sort_indices(as_int64(indices), size, keys)[1]
        sum_few(keys, positions, contiguous(values), self.values, self.index, size, bags)

    def dense(self) -> Any:
        with self.values.device:
            size, width = self.shape
            out = empty(self.shape, self.dtype)
            rows(kernel("runs", "write_rows", self.dtype.char), size, width,
                 (self.values, self.index, out, size, width))
        return out


def supports(indices: Any, values: Any, size: int) -> bool:
    """Whether `sum_by_index` takes these: positions are int32, indices uint32."""
    return is_floating(values) and indices.size < _LIMIT and size < _LIMIT


register_kernel("cupy", sum_by_index, supports)
