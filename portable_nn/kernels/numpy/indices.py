"""Labels and indices on NumPy: one pass to see that all are in range."""

from __future__ import annotations

import functools

import numpy as np

from portable_nn.functional.checks import refuse_range


def check_range(what: str, x: np.ndarray, size: int) -> None:
    """Raise DataError unless all of the vector x is from 0 to size - 1: read as unsigned, negative numbers are huge."""
    unsigned = x.view(_unsigned(x.dtype))
    if x.size and unsigned[unsigned.argmax()] >= size:
        low = int(x.min())
        refuse_range(what, low if low < 0 else int(x.max()), size)


@functools.cache
def _unsigned(dtype: np.dtype) -> np.dtype:
    return np.dtype(f"{dtype.byteorder}u{dtype.itemsize}")
