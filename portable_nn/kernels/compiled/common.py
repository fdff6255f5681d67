"""Which arrays the compiled kernels take."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from portable_nn.kernels.numpy.threads import share

#: Elements from which on a call is worth it: below, NumPy's overhead is small beside Numba's import and the work.
#: By size alone, never by what happened before, so that one input always gives the same bits.
LEAST = 32_768
#: Elements in a block for one thread: some tens of µs of work, beside which a call's µs is little.
BLOCK = 131_072
#: Rows in a block whose sum is taken: so many that the sums are few, so few that float32 adds them up exactly enough.
_SUMMED = 16, 1024


def takes(x: Any, chars: str = "f", size: int | None = None) -> bool:
    """Whether x is a large NumPy array of float32 (of a dtype whose character is among `chars`), and Numba works.

    `size` is that of the result, if it differs from that of x.
    """
    return (type(x) is np.ndarray and (x.size if size is None else size) >= LEAST and x.dtype.char in chars
            and x.dtype.isnative and x.ndim > 0 and works())


@functools.cache
def works() -> bool:
    """Import Numba, which may refuse a NumPy that is newer than itself; or be told not to compile at all."""
    try:
        import numba

        return not numba.config.DISABLE_JIT
    except ImportError as reason:
        warnings.warn(f"Numba cannot be used, so NumPy does the work: {reason}", RuntimeWarning, stacklevel=2)
        return False


def flat(x: np.ndarray) -> np.ndarray:
    """x as a contiguous vector."""
    return np.ascontiguousarray(x).reshape(-1)


def as_rows(x: np.ndarray, width: int) -> np.ndarray:
    """x as a contiguous matrix of that many columns."""
    return np.ascontiguousarray(x).reshape(-1, width)


def elementwise(function: Callable[..., None], *arrays: np.ndarray, common: tuple = ()) -> None:
    """As `by_rows`, over arrays of one shape; those it writes to must be contiguous."""
    by_rows(function, *[flat(x) for x in arrays], common=common)


def by_rows(function: Callable[..., None], *arrays: np.ndarray, common: tuple = ()) -> None:
    """Run a compiled function over blocks of arrays of one length, and whatever is common to all blocks."""
    blocks = row_blocks(arrays[0])
    share(lambda block: function(*[x[block] for x in arrays], *common), blocks)


def sums_by_rows(function: Callable[..., None], count: int, *arrays: np.ndarray, common: tuple = ()) -> np.ndarray:
    """As `by_rows`, with a function whose last argument is a matrix (count, columns) to which it adds: their sum.

    The blocks and the order in which they are added do not depend on the number of threads.
    """
    blocks = row_blocks(arrays[0], *_SUMMED)
    sums = np.zeros((len(blocks), count, arrays[0].shape[1]), dtype=arrays[0].dtype)
    share(lambda i: function(*[x[blocks[i]] for x in arrays], *common, sums[i]), range(len(blocks)))
    return sums[0] if len(blocks) == 1 else np.add.reduce(sums, axis=0)


def row_blocks(x: np.ndarray, least: int = 1, most: int = BLOCK) -> list[slice]:
    """Slices along the first axis of x, of about BLOCK elements each, of at least and at most that many rows."""
    size = min(max(least, BLOCK // max(1, x[:1].size)), most)
    return [slice(start, start + size) for start in range(0, x.shape[0], size)]
