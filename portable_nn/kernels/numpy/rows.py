"""Rows of a table on NumPy: looked up, summed in bags, and added to by index, by SciPy's sparse products."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from portable_nn.kernels.numpy.buffers import empty
from portable_nn.kernels.numpy.indices import check_range
from portable_nn.kernels.registry import register

#: Numbers from which on a result is worth memory that is used again.
_LARGE = 16_384


def take_rows(table: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """table[indices], of indices that have been checked."""
    width = table.shape[1]
    out = empty((*indices.shape, width), table.dtype) if indices.size * width >= _LARGE else None
    return table.take(indices, axis=0, out=out, mode="clip")  # "clip" skips a second check


def add_rows(table: np.ndarray, indices: np.ndarray, coefficients: np.ndarray | None, vectors: np.ndarray, *,
             factor: float = 1.0) -> None:
    """table[indices[i]] += factor · coefficients[b, k] · vectors[b] for i = b K + k, in place; repeated rows add up.

    Without coefficients K = 1 and they are 1.
    """
    check_range("indices", indices, table.shape[0])
    if coefficients is None:
        entries = np.full(indices.shape, factor, dtype=table.dtype)
    else:
        entries = np.multiply(coefficients, table.dtype.type(factor)).reshape(-1)
    ends = np.arange(0, indices.size + 1, indices.size // vectors.shape[0] if indices.size else 1)
    add_bags(table, indices, ends, entries, vectors)


def add_bags(table: np.ndarray, indices: np.ndarray, ends: np.ndarray, entries: np.ndarray,
             vectors: np.ndarray) -> None:
    """table[indices[i]] += entries[i] · vectors[b] for i from ends[b] to ends[b + 1]: a sparse product, in place."""
    ends, indices = ends.astype(np.int64, copy=False), indices.astype(np.int64, copy=False)
    add_product, (rows, width) = _sparse_loop(), table.shape
    if add_product is None:
        from scipy.sparse import csc_matrix

        table += csc_matrix((entries, indices, ends), shape=(rows, vectors.shape[0])) @ vectors
    else:
        add_product(rows, vectors.shape[0], width, ends, indices, entries, np.ascontiguousarray(vectors).reshape(-1),
                    table.reshape(-1))


@functools.cache
def _sparse_loop() -> Callable[..., None] | None:
    """The loop beneath `csc_matrix @ array`, which adds to what is there, as no public function of SciPy does.

    None from a SciPy that has it elsewhere.
    """
    try:
        from scipy.sparse._sparsetools import csc_matvecs
    except ImportError:
        return None
    return csc_matvecs


def supports(table: Any, indices: Any, coefficients: Any, vectors: Any, **options: Any) -> bool:
    return (table.dtype.char in "fd" and table.ndim == 2 and table.flags.c_contiguous and table.flags.writeable
            and vectors.dtype == table.dtype and type(indices) is np.ndarray)


register("add_rows", "numpy", add_rows, None, supports)
