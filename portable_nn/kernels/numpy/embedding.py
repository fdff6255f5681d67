"""embedding and embedding_bag on NumPy: a bag is a sparse row, so SciPy's sparse product sums it."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.functional.embedding import check_offsets
from portable_nn.kernels.numpy.blocks import is_floating
from portable_nn.kernels.numpy.buffers import empty
from portable_nn.kernels.numpy.indices import check_range
from portable_nn.kernels.numpy.rows import add_bags, add_rows, take_rows
from portable_nn.kernels.registry import register


def embedding(indices: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, Any]:
    check_range("indices", indices.reshape(-1), weight.shape[0])
    return take_rows(weight, indices), (indices, weight.shape)


def embedding_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    indices, shape = saved
    g_weight = empty(shape, g.dtype)
    g_weight.fill(0)
    add_rows(g_weight, indices.reshape(-1), None, np.ascontiguousarray(g).reshape(-1, shape[1]))
    return None, g_weight


def embedding_supports(indices: Any, weight: Any) -> bool:
    return type(indices) is np.ndarray and is_floating(weight) and weight.size > 0


def make_bags(indices: np.ndarray, offsets: np.ndarray, weight: np.ndarray, per_sample_weights: np.ndarray | None,
              mode: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each bag begins and the last ends, how long they are, and what each row counts; indices are checked."""
    check_range("indices", indices, weight.shape[0])
    check_offsets(offsets, indices.shape[0])
    ends = np.append(offsets, indices.shape[0]).astype(np.int64, copy=False)
    lengths, values = np.diff(ends), per_sample_weights
    if values is None:
        values = np.ones(indices.shape, dtype=weight.dtype)
        if mode == "mean":
            values /= np.repeat(lengths, lengths)
    return ends, lengths, np.ascontiguousarray(values)


def embedding_bag(indices: np.ndarray, offsets: np.ndarray, weight: np.ndarray, per_sample_weights: np.ndarray | None,
                  *, mode: str) -> tuple[np.ndarray, Any]:
    ends, lengths, values = make_bags(indices, offsets, weight, per_sample_weights, mode)
    saved = indices, ends, values, lengths, weight
    if indices.size and lengths.min() == lengths.max():
        rows = take_rows(weight, indices).reshape(lengths.size, -1, weight.shape[1])
        return np.matmul(values.reshape(lengths.size, 1, -1), rows)[:, 0], saved
    from scipy.sparse import csr_matrix

    bags = csr_matrix((values, indices.astype(np.int64, copy=False), ends), shape=(lengths.size, weight.shape[0]))
    return bags @ weight, saved


def embedding_bag_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    indices, ends, values, lengths, weight = saved
    g_weights = np.vecdot(np.repeat(g, lengths, axis=0), weight.take(indices, axis=0)) if needs[3] else None
    g_weight = None
    if needs[2]:
        g_weight = empty(weight.shape, weight.dtype)
        g_weight.fill(0)
        add_bags(g_weight, indices, ends, values, g)
    return None, None, g_weight, g_weights


def embedding_bag_supports(indices: Any, offsets: Any, weight: Any, per_sample_weights: Any, *, mode: str) -> bool:
    return is_floating(weight) and weight.size > 0


register("embedding", "numpy", embedding, embedding_backward, embedding_supports)
register("embedding_bag", "numpy", embedding_bag, embedding_bag_backward, embedding_bag_supports)
