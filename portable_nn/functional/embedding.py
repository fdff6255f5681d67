"""Rows of a table: one for each index, or a sum or mean of them for each bag of indices."""

from __future__ import annotations

import math
from typing import Any

from portable_nn.autodiff.primitive import scatter_rows
from portable_nn.backend.errors import ArgumentError, DataError, ShapeError
from portable_nn.backend.namespace import array_namespace, is_tensor
from portable_nn.functional.checks import as_index, check_floating, check_integer, check_range, is_on_host
from portable_nn.functional.fused import fused
from portable_nn.functional.products import in_float32


def _define_embedding(indices, weight, /):
    xp = array_namespace(indices, weight)
    check_range("indices", indices, weight.shape[0])
    flat = xp.reshape(as_index(xp, indices), (math.prod(indices.shape),))
    return xp.reshape(xp.take(weight, flat, axis=0), (*indices.shape, weight.shape[1]))


def _embedding_backward(xp, g, indices, weight):
    count = math.prod(indices.shape)
    flat = xp.reshape(as_index(xp, indices), (count,))
    return None, scatter_rows(xp.reshape(g, (count, weight.shape[1])), indices=flat, size=weight.shape[0])


def _check_embedding(indices, weight):
    check_floating("embedding", weight)
    check_integer("embedding", "indices", indices)
    if weight.ndim != 2:
        raise ShapeError("weight of shape (V, D)", f"{weight.shape}", "reshape it")


def _bags(xp, offsets, count):
    """For each of `count` indices the number of its bag, and for each bag its length."""
    offsets = as_index(xp, offsets)
    ends = xp.concat([offsets, xp.full((1,), count, dtype=offsets.dtype, device=offsets.device)])
    beginnings = scatter_rows(xp.ones(offsets.shape, dtype=xp.int32, device=offsets.device),
                              indices=offsets, size=count + 1)          # how many bags begin at each index
    return xp.cumulative_sum(beginnings, dtype=xp.int32)[:count] - 1, ends[1:] - ends[:-1]


def _share(xp, lengths, dtype):
    """1 / length of each bag, as a column; 1 for an empty one."""
    return xp.expand_dims(1 / xp.astype(xp.where(lengths > 0, lengths, xp.ones_like(lengths)), dtype), axis=-1)


def _define_bag(indices, offsets, weight, per_sample_weights, /, *, mode):
    xp = array_namespace(indices, offsets, weight, per_sample_weights)
    check_range("indices", indices, weight.shape[0])
    check_offsets(offsets, indices.shape[0])
    bag, lengths = _bags(xp, offsets, indices.shape[0])
    rows = xp.take(weight, as_index(xp, indices), axis=0)                # (n, D)
    rows = rows if per_sample_weights is None else rows * xp.expand_dims(per_sample_weights, axis=-1)
    sums = scatter_rows(rows, indices=bag, size=offsets.shape[0])        # (B, D)
    return sums * _share(xp, lengths, weight.dtype) if mode == "mean" else sums


def _bag_backward(xp, g, indices, offsets, weight, per_sample_weights, mode, needs):
    bag, lengths = _bags(xp, offsets, indices.shape[0])
    indices = as_index(xp, indices)
    g_rows = xp.take(g * _share(xp, lengths, g.dtype) if mode == "mean" else g, bag, axis=0)
    g_weights = xp.sum(g_rows * xp.take(weight, indices, axis=0), axis=-1) if needs[3] else None
    if per_sample_weights is not None:
        g_rows = g_rows * xp.expand_dims(per_sample_weights, axis=-1)
    return None, None, scatter_rows(g_rows, indices=indices, size=weight.shape[0]) if needs[2] else None, g_weights


def check_offsets(offsets: Any, count: int) -> None:
    """Require bags that cover `count` indices; as `check_range`, only where looking is free."""
    offsets = offsets.data if is_tensor(offsets) else offsets
    if not is_on_host(offsets):
        return
    xp = array_namespace(offsets)
    bags = offsets.shape[0]
    good = (int(offsets[0]) == 0 and int(offsets[-1]) <= count and bool(xp.all(offsets[1:] >= offsets[:-1]))
            if bags else count == 0)
    if not good:
        raise DataError(f"offsets that start at 0, never fall, and end at {count} or before",
                        f"{bags} of them{f' from {int(offsets[0])} to {int(offsets[-1])}' if bags else ''}",
                        "pass where each bag begins among the indices, as indptr[:-1] of a CSR matrix")


def _check_bag(indices, offsets, weight, per_sample_weights, *, mode):
    check_floating("embedding_bag", weight, per_sample_weights)
    check_integer("embedding_bag", "indices", indices)
    check_integer("embedding_bag", "offsets", offsets)
    if len(indices.shape) != 1 or len(offsets.shape) != 1 or len(weight.shape) != 2:
        raise ShapeError("indices (n,), offsets (B,) and weight (V, D)",
                         f"{indices.shape}, {offsets.shape} and {weight.shape}",
                         "flatten the indices of all bags into one array")
    if per_sample_weights is not None and per_sample_weights.shape != indices.shape:
        raise ShapeError(f"one weight for each index, shape {indices.shape}", f"{per_sample_weights.shape}",
                         "reshape them")
    if mode != "sum" and (mode != "mean" or per_sample_weights is not None):
        raise ArgumentError('mode "sum", or "mean" without per-sample weights', repr(mode),
                            "divide the weights by their sum in each bag and use mode=\"sum\" for a weighted mean")


_embedding = fused("embedding", definition=_define_embedding, backward=_embedding_backward, check=_check_embedding)
_embedding_bag = fused("embedding_bag", definition=_define_bag, backward=_bag_backward, check=_check_bag)


def embedding(indices: Any, weight: Any) -> Any:
    """weight[indices]: one row of the table for each index.

    Parameters
    ----------
    indices : integer array of any shape
        From 0 to V - 1. On a GPU and under JAX they are not looked at, for that would make the device wait: there the
        row of an index out of range is unspecified.
    weight : floating array of shape (V, D)

    Returns
    -------
    array of shape (*indices.shape, D)

    Raises
    ------
    ShapeError, DTypeError
        weight is no table; indices are no integers; weight is not floating.
    DataError
        An index is out of range; the message names it.

    References
    ----------
    As PyTorch's `torch.nn.functional.embedding`.
    """
    return _embedding(indices, weight)


def embedding_bag(indices: Any, offsets: Any, weight: Any, per_sample_weights: Any, *, mode: str) -> Any:
    """The sum or mean of weight[indices] over each bag; an empty bag gives zeros.

    A batch of sparse rows is a batch of bags: a CSR matrix's product with `weight` is the "sum" of its `indices`, with
    its `indptr[:-1]` as offsets and its `data` as per-sample weights.

    Parameters
    ----------
    indices : integer array of shape (n,)
        Rows of the table, all bags in one run; checked as `embedding` does.
    offsets : integer array of shape (B,)
        Where each bag begins; the first is 0.
    weight : floating array of shape (V, D)
    per_sample_weights : array of shape (n,) and weight's dtype, or None
        What each row is multiplied by; for "sum" alone.
    mode : "sum" or "mean"

    Returns
    -------
    array of shape (B, D)

    Raises
    ------
    ShapeError, DTypeError, DeviceError, ArgumentError
        Shapes or dtypes do not fit; devices differ; the mode is unknown, or "mean" with weights.
    DataError
        An index or the offsets are out of range.

    References
    ----------
    As PyTorch's `torch.nn.functional.embedding_bag`.
    """
    return _embedding_bag(indices, offsets, weight, in_float32(per_sample_weights), mode=mode)
