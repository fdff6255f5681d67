"""embedding and embedding_bag on NumPy: a bag is a sparse row, so SciPy's sparse product sums it."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.backend.scatter import scatter_add
from portable_nn.functional.embedding import check_offsets
from portable_nn.kernels.numpy.blocks import is_floating
from portable_nn.kernels.numpy.indices import check_range
from portable_nn.kernels.registry import register


def embedding(indices: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, Any]:
    check_range("indices", indices.reshape(-1), weight.shape[0])
    return weight.take(indices, axis=0, mode="clip"), (indices, weight.shape)  # "clip" skips a second check


def embedding_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    indices, shape = saved
    return None, scatter_add(indices.reshape(-1), np.ascontiguousarray(g).reshape(-1, shape[1]), shape[0])


def embedding_supports(indices: Any, weight: Any) -> bool:
    return type(indices) is np.ndarray and is_floating(weight) and weight.size > 0


def embedding_bag(indices: np.ndarray, offsets: np.ndarray, weight: np.ndarray, per_sample_weights: np.ndarray | None,
                  *, mode: str) -> tuple[np.ndarray, Any]:
    from scipy.sparse import csr_matrix

    check_range("indices", indices, weight.shape[0])
    check_offsets(offsets, indices.shape[0])
    ends = np.append(offsets, indices.shape[0]).astype(np.int64, copy=False)
    lengths = np.diff(ends)
    values = per_sample_weights
    if values is None:
        values = np.ones(indices.shape, dtype=weight.dtype)
        if mode == "mean":
            values /= np.repeat(lengths, lengths)
    bags = csr_matrix((values, indices.astype(np.int64, copy=False), ends), shape=(lengths.size, weight.shape[0]))
    return bags @ weight, (bags, lengths, indices, weight)


def embedding_bag_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    bags, lengths, indices, weight = saved
    g = np.ascontiguousarray(g)
    g_weights = np.vecdot(np.repeat(g, lengths, axis=0), weight.take(indices, axis=0)) if needs[3] else None
    return None, None, bags.T @ g if needs[2] else None, g_weights


def embedding_bag_supports(indices: Any, offsets: Any, weight: Any, per_sample_weights: Any, *, mode: str) -> bool:
    return is_floating(weight) and weight.size > 0


register("embedding", "numpy", embedding, embedding_backward, embedding_supports)
register("embedding_bag", "numpy", embedding_bag, embedding_bag_backward, embedding_bag_supports)
