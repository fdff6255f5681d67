"""Sums of rows that have the same index on CuPy, in the order of their positions: the gradient of an embedding.

The indices are sorted by kernels of ours, which CUDA graphs can record; nothing is added atomically, so results do not
depend on which thread comes first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cupy
import numpy as np

from portable_nn.autodiff.row_sparse import Unwritten
from portable_nn.backend.scatter import register_kernel
from portable_nn.kernels.cupy.launch import WIDE, as_int64, contiguous, empty, is_floating, kernel, rows

#: Up to so many indices are sorted and summed in one launch each.
FEW = 8192
#: As many lists at most in one launch.
MOST = 8
_SORTING = np.dtype([("indices", "u8"), ("keys", "u8"), ("positions", "u8"), ("count", "i8"), ("size", "i8"),
                     ("bits", "i8")])
_SUMMING = np.dtype([("keys", "u8"), ("positions", "u8"), ("values", "u8"), ("out", "u8"), ("index", "u8"),
                     ("size", "i8"), ("width", "i8"), ("offsets", "u8"), ("weights", "u8"), ("bags", "i8"),
                     ("count", "i8"), ("mean", "i8")])
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


def sort_indices(indices: Any, size: int) -> tuple[Any, Any]:
    """Indices (n,) of int64 in order, as uint32, and the positions they come from, as int32; stable.

    An index out of range is taken as `size`, so that it comes last.
    """
    keys = empty(indices.shape, "I")
    return keys, _sort([(indices, keys, size)])[0]


def _sort(lists: list[tuple[Any, Any, int]]) -> list[Any]:
    """Write each list's indices in order to its keys; the positions they come from."""
    positions = [empty(indices.shape, "i") for indices, _, _ in lists]
    few = []
    for (indices, keys, size), order in zip(lists, positions, strict=True):
        if indices.size <= FEW:
            few.append((indices.data.ptr, keys.data.ptr, order.data.ptr, indices.size, size, _bits(size)))
        else:
            _sort_many(indices, keys, order, size)
    if few:
        kernel("sort", "sort_few")((len(few),), (1024,), (_table(_SORTING, few),))
    return positions


def _sort_many(indices: Any, keys: Any, positions: Any, size: int) -> None:
    count, blocks, digits = indices.size, -(-indices.size // _TILE), range(0, _bits(size), 8)
    counts = empty((256, blocks), "I")
    last: tuple[Any, Any] = (0, 0)
    for shift in digits:
        first = indices if shift == 0 else 0
        target = (keys, positions) if shift == digits[-1] else (empty((count,), "I"), empty((count,), "i"))
        kernel("sort", "count_digits")((blocks,), (256,), (first, last[0], counts, count, size, shift))
        kernel("sort", "scan_counts")((1,), (1024,), (counts, counts.size))
        kernel("sort", "place_digits")((blocks,), (256,), (first, *last, counts, *target, count, size, shift))
        last = target


def _bits(size: int) -> int:
    return max(size.bit_length(), 1)


def _table(entry: np.dtype, entries: list[tuple]) -> np.ndarray:
    """The entries of up to `MOST` blocks or layers of a launch, as a kernel takes them: by value."""
    table = np.zeros(1, dtype=[("entries", entry, MOST)])
    for i, values in enumerate(entries):
        table["entries"][0, i] = values
    return table


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
        _sum([(keys, positions, values, out, None, size, bags)])
        return out
    chunks = -(-count // _CHUNK)
    heads, tails = (empty((chunks, width), "d" if char == "d" else "f") for _ in range(2))
    grid = (-(-chunks // 4),)
    kernel("runs", "sum_runs", char)(grid, (32, 4), (keys, positions, values, *bags, out, heads, tails, count, size,
                                                     width))
    kernel("runs", "join_runs", char)(grid, (32, 4), (keys, out, heads, tails, count, size, width))
    return out


def _sum(layers: list[tuple[Any, Any, Any, Any, Any, int, Bags]]) -> None:
    """Sum the rows of equal keys in one launch: see src/runs.cu for where the sums go."""
    entries, blocks, groups, char = [], 1, 1, layers[0][2].dtype.char
    for keys, positions, values, out, index, size, bags in layers:
        count, width = keys.size, values.shape[1]
        wide = 32 * (WIDE[char] if width % WIDE[char] == 0 else 1)
        blocks, groups = max(blocks, -(-count // _PLACES)), max(groups, min(-(-width // wide), 65_535))
        entries.append((keys.data.ptr, positions.data.ptr, values.data.ptr, out.data.ptr,
                        0 if index is None else index.data.ptr, size, width, *map(_address, bags[:2]), bags.number,
                        count, bags.mean))
    kernel("runs", "sum_few", char)((blocks, groups, len(layers)), (32, _WARPS), (_table(_SUMMING, entries),))


def _address(x: Any) -> int:
    return x if isinstance(x, int) else x.data.ptr


class RowSums(Unwritten):
    """What `sum_by_index` would return, as sums of rows and an index of them; made by `sum_rows`.

    Attributes
    ----------
    values : array (n, D)
        The sums, in the order of the indices, zeros between them.
    index : int32 array
        See src/row_index.cuh.
    """

    __slots__ = ("dtype", "index", "shape", "size", "values")

    def __init__(self, count: int, size: int, width: int, dtype: Any) -> None:
        self.shape, self.dtype, self.size = (size, width), dtype, size * width
        self.index, self.values = empty((2 + count + size,), "i"), empty((count, width), dtype)

    @property
    def keys(self) -> Any:
        return self.index[2:2 + self.values.shape[0]]

    def dense(self) -> Any:
        with self.values.device:
            size, width = self.shape
            out = empty(self.shape, self.dtype)
            rows(kernel("runs", "write_rows", self.dtype.char), size, width,
                 (self.values, self.index, out, size, width))
        return out


def sum_rows(parts: list[tuple[Any, Any, int, Bags]]) -> list[RowSums]:
    """The sums by index of up to `MOST` parts (indices (n,), values (m, D), size, bags), of one dtype and none empty.

    These are two launches for all of them where each has no more than a few thousand indices.
    """
    found = [RowSums(indices.size, size, values.shape[1], values.dtype) for indices, values, size, _ in parts]
    lists = [(as_int64(indices), contiguous(values)) for indices, values, _, _ in parts]
    orders = _sort([(indices, sums.keys, sums.shape[0]) for (indices, _), sums in zip(lists, found, strict=True)])
    _sum([(sums.keys, order, values, sums.values, sums.index, size, bags)
          for sums, order, (_, values), (_, _, size, bags) in zip(found, orders, lists, parts, strict=True)])
    return found


def supports(indices: Any, values: Any, size: int) -> bool:
    """Whether `sum_by_index` takes these: positions are int32, indices uint32."""
    return is_floating(values) and indices.size < _LIMIT and size < _LIMIT


register_kernel("cupy", sum_by_index, supports)
