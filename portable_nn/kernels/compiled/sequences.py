"""What the compiled recurrent kernels share."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.kernels.compiled import common
from portable_nn.kernels.numpy import sequences

#: Multiplications up to which a step's product is left to SciPy's BLAS, in the compiled loop. Larger ones are NumPy's,
#: one call for each step: two libraries with threads of their own would wait for the same processors in turns.
SMALL = 1_000_000


def supports(x: Any, *arrays: Any, reverse: bool) -> bool:
    """Whether the states of all steps are a large float32 array, and Numba works; W_hh is the fourth from the last."""
    return (sequences.supports(x, *arrays, reverse=reverse) and x.dtype.char == "f" and x.dtype.isnative
            and x.shape[0] * x.shape[1] * arrays[-4].shape[1] >= common.LEAST and common.works())


def is_small(weight: np.ndarray, batch: int) -> bool:
    """Whether the product of each step belongs in the compiled loop."""
    return weight.size * batch <= SMALL


def mask(outside: np.ndarray | None) -> np.ndarray:
    """Which steps are beyond their rows' ends as a vector, empty if none is."""
    return np.empty(0, dtype=bool) if outside is None else np.ascontiguousarray(outside).reshape(-1)


def gradient(g_out: np.ndarray | None, hidden: int, batch: int) -> np.ndarray:
    """The gradient (n, H, B) of a chunk's states, empty if it is zero."""
    return np.empty((0, hidden, batch), dtype=np.float32) if g_out is None else np.ascontiguousarray(g_out)
