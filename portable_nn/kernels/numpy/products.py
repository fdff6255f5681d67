"""Large matrix products, shared between our own threads rather than BLAS's; either way they agree to rounding.

On two processors that have nothing else to do both take the same time. But OpenBLAS's helpers go on turning for tens
of milliseconds after each product and slow down whatever our threads do in between. And where something else wants a
processor, a product of theirs waits for its last part, while ours takes what it gets: a step of a small Transformer
beside a busy process took 43 ms so, and 700 with BLAS's threads.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from portable_nn.kernels.numpy.buffers import empty
from portable_nn.kernels.numpy.threads import allowed, share

#: Multiplications from which a product is worth sharing, and the fewest rows to a thread: fewer make it slow.
LEAST, ROWS = 2**22, 64


def product(a: np.ndarray, b: np.ndarray, finish: Callable[[slice, np.ndarray], None] | None = None) -> np.ndarray:
    """The product of two matrices, in memory that may have been used before.

    `finish(rows, part)` is called on the product's rows once they are there: all of them, or each thread's own.
    """
    out = empty((a.shape[0], b.shape[1]), a.dtype)
    threads = min(allowed(), a.shape[0] // ROWS) if out.size * a.shape[1] >= LEAST else 1
    if threads < 2:
        np.dot(a, b, out)
        if finish is not None:
            finish(slice(0, a.shape[0]), out)
        return out

    def part(rows: slice) -> None:
        np.matmul(a[rows], b, out=out[rows])  # np.dot would copy the rows of a transposed matrix
        if finish is not None:
            finish(rows, out[rows])

    size = -(-a.shape[0] // threads)
    share(part, [slice(start, min(start + size, a.shape[0])) for start in range(0, a.shape[0], size)], products=True)
    return out
