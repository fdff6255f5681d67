"""What the kernels share: which arrays they take, blocks that stay in the cache, and constants of the right dtype.

Large results live in `buffers.empty`, work arrays in `buffers.scratch`. `sweep` and `into` go over arrays element by
element, `over_rows` over blocks of rows; all three share large arrays between threads (`threads.share`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from portable_nn.kernels.numpy.buffers import empty
from portable_nn.kernels.numpy.threads import share

#: Elements worked on at a time: a few arrays of it fit in a core's L2 cache, and NumPy's calls cost little beside them.
BLOCK = 32_768
#: Elements from which several threads are quicker than one.
SHARED = 8 * BLOCK
_ones: dict[str, np.ndarray] = {}


class Constants:
    """0-d arrays of one dtype: as operands they cost half of what Python scalars do."""

    def __init__(self, dtype: type) -> None:
        self.zero, self.one, self.half, self.minus_half = (np.array(c, dtype=dtype) for c in (0, 1, 0.5, -0.5))


CONSTANTS = {"f": Constants(np.float32), "d": Constants(np.float64)}


def is_floating(x: Any, *others: Any) -> bool:
    """Whether x is a NumPy array of float32 or float64 with at least one axis.

    That the others have its dtype and library, the operation itself has checked.
    """
    return type(x) is np.ndarray and x.dtype.char in CONSTANTS and x.ndim > 0


def ones(count: int, dtype: np.dtype) -> np.ndarray:
    """A read-only vector of ones: a product with it sums rows several times faster than np.add.reduce."""
    known = _ones.get(dtype.char)
    if known is None or known.size < count:
        known = np.ones(max(2 * count, 1024), dtype=dtype)
        known.flags.writeable = False
        _ones[dtype.char] = known
    return known[:count]


def row_blocks(rows: int, width: int) -> Iterator[slice]:
    """Slices of rows, each of about BLOCK elements, as few as will do."""
    size = max(1, BLOCK // max(width, 1))
    return (slice(start, start + size) for start in range(0, rows, size))


def tiled(row: np.ndarray | None, rows: int) -> np.ndarray | None:
    """A vector once for each row of the largest of `row_blocks`: as an operand twice as fast as one that is broadcast.

    A single block is not worth it: then it is the vector as one row, which broadcasts.
    """
    if row is None or rows * row.size <= BLOCK:
        return None if row is None else row[None]
    result = np.empty((max(1, BLOCK // row.size), row.size), dtype=row.dtype)
    result[...] = row
    return result


def over_rows(function: Callable[[slice], Any], rows: int, width: int, *, products: bool = False) -> list[Any]:
    """`[function(block) for block in row_blocks(rows, width)]`, on several threads where there are SHARED elements.

    What sums over rows returns its block's part, to be added in order; `products` says that it calls BLAS.
    """
    blocks = row_blocks(rows, width)
    if rows * width < SHARED:
        return [function(block) for block in blocks]
    return share(function, list(blocks), products=products)


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product of two matrices, in memory that may have been used before.

    By BLAS's threads, not ours: they go on turning for a while after every product, and ours gain nothing beside them.
    """
    return np.dot(a, b, empty((a.shape[0], b.shape[1]), a.dtype))


def sweep(function: Callable[..., None], *inputs: np.ndarray) -> np.ndarray:
    """A new array of the first input's shape and dtype, filled block by block with `function(out, *inputs)`.

    The inputs have one shape; `function` works element by element, and may use `out` as it goes.
    """
    first = inputs[0]
    if first.size <= BLOCK:
        out = np.empty(first.shape, dtype=first.dtype)
        function(out, *inputs)
    else:
        out = empty(first.shape, first.dtype)
        into(function, out.reshape(-1), *[np.ascontiguousarray(x).reshape(-1) for x in inputs])
    return out


def into(function: Callable[..., None], *flat: np.ndarray, size: int | None = None) -> None:
    """Run `function` over blocks of contiguous vectors of one length, on several threads where they are long.

    Blocks of a smaller `size` stay on this thread: there the calls are too short to be shared.
    """
    size = size or BLOCK

    def part(block: slice) -> None:
        function(*[x[block] for x in flat])

    blocks = [slice(start, start + size) for start in range(0, flat[0].size, size)]
    if flat[0].size < SHARED or size < BLOCK:
        for block in blocks:
            part(block)
    else:
        share(part, blocks)


def as_rows(x: np.ndarray) -> np.ndarray:
    """x as a contiguous matrix whose rows are its last axis."""
    return np.ascontiguousarray(x.reshape(-1, x.shape[-1]))
