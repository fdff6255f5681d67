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


def takes(x: Any, chars: str = "f") -> bool:
    """Whether x is a large NumPy array of float32 (of a dtype whose character is among `chars`), and Numba works."""
    return (type(x) is np.ndarray and x.size >= LEAST and x.dtype.char in chars and x.dtype.isnative and x.ndim > 0
            and works())


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


def elementwise(function: Callable[..., None], *arrays: np.ndarray) -> None:
    """Run a compiled function over blocks of arrays of one shape; those it writes to must be contiguous."""
    vectors = [flat(x) for x in arrays]
    size = vectors[0].size
    if size <= BLOCK:
        function(*vectors)
    else:
        share(lambda start: function(*[x[start:start + BLOCK] for x in vectors]), range(0, size, BLOCK))


def rows_of(x: np.ndarray) -> np.ndarray:
    """x as a contiguous matrix whose rows are its last axis."""
    return np.ascontiguousarray(x.reshape(-1, x.shape[-1]))
