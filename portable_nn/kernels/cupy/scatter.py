"""Sums of rows that have the same index on CuPy, in the order of their positions: the gradient of an embedding.

The indices are sorted by kernels of ours, which CUDA graphs can record; nothing is added atomically, so results do not
depend on which thread comes first.
"""

from __future__ import annotations

from typing import Any

import cupy

from portable_nn.backend.scatter import register_kernel
from portable_nn.kernels.cupy.launch import as_int64, contiguous, empty, is_floating, kernel

#: What one block of the sort works on, and the keys that one warp sums.
_TILE, _CHUNK = 2048, 32
_LIMIT = 2**31 - 1


def sort_indices(indices: Any, size: int) -> tuple[Any, Any]:
    """Indices (n,) of int64 in order, as uint32, and the positions they come from, as int32; stable.

    An index out of range is taken as `size`, so that it comes last.
    """
    count = indices.size
    blocks, passes = -(-count // _TILE), -(-size.bit_length() // 8)
    counts = empty((256, blocks), "I")
    keys, positions = 0, 0
    for digit in range(max(passes, 1)):
        first = indices if digit == 0 else 0
        sorted_keys, sorted_positions = empty((count,), "I"), empty((count,), "i")
        kernel("sort", "count_digits")((blocks,), (256,), (first, keys, counts, count, size, 8 * digit))
        kernel("sort", "scan_counts")((1,), (1024,), (counts, counts.size))
        kernel("sort", "place_digits")((blocks,), (256,), (first, keys, positions, counts, sorted_keys,
                                                           sorted_positions, count, size, 8 * digit))
        keys, positions = sorted_keys, sorted_positions
    return keys, positions


def sum_by_index(indices: Any, values: Any, size: int, *, source: Any = 0, share: Any = 0) -> Any:
    """A table (size, D) of zeros, with row `source[i]` of `values` times `share[i]` added at row `indices[i]`.

    Without a source that is row i of values, without a share 1. Indices out of range are passed over.
    """
    width, char, count = values.shape[1], values.dtype.char, indices.size
    out = cupy.zeros((size, width), values.dtype)
    if not (count and out.size):
        return out
    indices, values = as_int64(indices), contiguous(values)
    keys, positions = sort_indices(indices, size)
    chunks = -(-count // _CHUNK)
    heads, tails = (empty((chunks, width), "d" if char == "d" else "f") for _ in range(2))
    grid = (-(-chunks // 4),)
    kernel("embedding", "sum_runs", char)(grid, (32, 4), (keys, positions, values, source, share, out, heads, tails,
                                                          count, size, width))
    if chunks > 1:
        kernel("embedding", "join_runs", char)(grid, (32, 4), (keys, out, heads, tails, count, size, width))
    return out


def supports(indices: Any, values: Any, size: int) -> bool:
    """Whether `sum_by_index` takes these: positions are int32, indices uint32."""
    return is_floating(values) and indices.size < _LIMIT and size < _LIMIT


register_kernel("cupy", sum_by_index, supports)
