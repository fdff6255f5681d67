"""Large matrix products, by BLAS and its threads, and what follows row by row, by ours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from portable_nn.kernels.numpy.blocks import BLOCK
from portable_nn.kernels.numpy.buffers import empty
from portable_nn.kernels.numpy.threads import allowed, share


def product(a: np.ndarray, b: np.ndarray, finish: Callable[[slice, np.ndarray], None] | None = None) -> np.ndarray:
    """The product of two matrices, in memory that may have been used before.

    `finish(rows, part)` is called on the product's rows once they are there: all of them, or each thread's own.
    """
    out = empty((a.shape[0], b.shape[1]), a.dtype)
    np.dot(a, b, out)
    if finish is not None:
        threads = allowed() if out.size >= 4 * BLOCK else 1
        size = -(-a.shape[0] // threads) or 1
        share(lambda rows: finish(rows, out[rows]),
              [slice(start, min(start + size, a.shape[0])) for start in range(0, a.shape[0], size)])
    return out
