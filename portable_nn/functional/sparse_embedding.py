"""embedding and embedding_bag whose gradient of the table is row-sparse: as large as what was looked up."""

from __future__ import annotations

import math
from typing import Any

from portable_nn.autodiff.engine import Leaf
from portable_nn.autodiff.row_sparse import RowSparse
from portable_nn.backend.namespace import array_namespace
from portable_nn.functional.checks import as_index
from portable_nn.functional.embedding import (
    _bags,
    _check_bag,
    _check_embedding,
    _define_bag,
    _define_embedding,
    _embedding,
    _embedding_bag,
    _share,
)
from portable_nn.functional.fused import fused
from portable_nn.functional.products import in_float32

# Both ask for `saved`, so that second order runs the definition, whose gradient is dense, and can be recorded.


def _forward_embedding(indices, weight):
    return _embedding(indices, weight), None


def _embedding_backward(xp, g, saved, indices, weight):
    count = math.prod(indices.shape)
    flat = xp.reshape(as_index(xp, indices), (count,))
    rows = xp.astype(xp.reshape(g, (count, weight.shape[1])), weight.dtype, copy=False)
    return None, RowSparse(flat, rows, weight.shape)


def _forward_bag(indices, offsets, weight, per_sample_weights, *, mode):
    return _embedding_bag(indices, offsets, weight, per_sample_weights, mode=mode), None


def _bag_backward(xp, g, saved, indices, offsets, weight, per_sample_weights, mode, needs):
    bag, lengths = _bags(xp, offsets, indices.shape[0])
    indices = as_index(xp, indices)
    rows = xp.take(g * _share(xp, lengths, g.dtype) if mode == "mean" else g, bag, axis=0)
    g_weights = xp.sum(rows * xp.take(weight, indices, axis=0), axis=-1) if needs[3] else None
    if per_sample_weights is not None:
        rows = rows * xp.expand_dims(per_sample_weights, axis=-1)
    return None, None, RowSparse(indices, rows, weight.shape) if needs[2] else None, g_weights


_sparse_embedding = fused("sparse_embedding", definition=_define_embedding, forward=_forward_embedding,
                          backward=_embedding_backward, check=_check_embedding)
_sparse_bag = fused("sparse_embedding_bag", definition=_define_bag, forward=_forward_bag, backward=_bag_backward,
                    check=_check_bag)


def sparse_embedding(indices: Any, weight: Any) -> Any:
    """As `embedding`; the gradient of a `weight` that is a Parameter, or a Tensor of its own, is a `RowSparse`.

    A weight computed from others gets a dense one: no rule of theirs takes rows.
    """
    return _sparse_embedding(indices, weight) if is_leaf(weight) else _embedding(indices, weight)


def sparse_embedding_bag(indices: Any, offsets: Any, weight: Any, per_sample_weights: Any, *, mode: str) -> Any:
    """As `embedding_bag`, with the gradient of `sparse_embedding`."""
    array_namespace(indices, offsets)
    operation = _sparse_bag if is_leaf(weight) else _embedding_bag
    return operation(indices, offsets, weight, in_float32(per_sample_weights), mode=mode)


def is_leaf(weight: Any) -> bool:
    """Whether a gradient of this ends here, so that no rule needs to take it further."""
    return type(getattr(weight, "_node", None)) is Leaf
