"""Labels and indices on NumPy: one pass to see that all are in range."""

from __future__ import annotations

import functools

import numpy as np

from portable_nn.functional.checks import refuse_range


def in_range(x: np.ndarray, size: int) -> bool:
    """Whether all of the vector x is from 0 to size - 1: read as unsigned, negative numbers are huge."""
    unsigned = x.view(_unsigned(x.dtype))
    return not x.size or bool(unsigned[unsigned.argmax()] < size)


def check_range(what: str, x: np.ndarray, size: int) -> None:
    """Raise DataError unless all of the vector x is from 0 to size - 1."""
    if not in_range(x, size):
        low = int(x.min())
        refuse_range(what, low if low < 0 else int(x.max()), size)


@functools.cache
def _unsigned(dtype: np.dtype) -> np.dtype:
    return np.dtype(f"{dtype.byteorder}u{dtype.itemsize}")
