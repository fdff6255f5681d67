"""Labels and indices on NumPy: one pass to see that all are in range."""

from __future__ import annotations

import numpy as np

from portable_nn.functional.checks import refuse_range


def check_range(what: str, x: np.ndarray, size: int) -> None:
    """Raise DataError unless all of the vector x is from 0 to size - 1: read as unsigned, negative numbers are huge."""
    if x.size and np.maximum.reduce(x.view(f"{x.dtype.byteorder}u{x.dtype.itemsize}")) >= size:
        low = int(x.min())
        refuse_range(what, low if low < 0 else int(x.max()), size)
