"""embedding and embedding_bag on CuPy: one kernel forward; on the way back the indices are sorted, and runs summed."""

from __future__ import annotations

from typing import Any

from portable_nn.autodiff.engine import Leaf
from portable_nn.autodiff.row_sparse import RowSparse
from portable_nn.kernels.cupy.launch import WIDE, as_int64, contiguous, empty, is_floating, kernel, rows
from portable_nn.kernels.cupy.scatter import ALONE, FEW, Bags, sum_by_index, sum_rows
from portable_nn.kernels.cupy.scatter import supports as scatter_supports
from portable_nn.kernels.registry import register

#: Of sum_bags: the warps of a block, and the mean length of bags from which on all of them share one.
_WARPS, _LONG = 8, 12


def embedding(indices: Any, weight: Any) -> tuple[Any, Any]:
    indices, weight, (size, width) = as_int64(indices), contiguous(weight), weight.shape
    out = empty((*indices.shape, width), weight.dtype)
    if width:
        rows(kernel("embedding", "take_rows", weight.dtype.char), indices.size, width,
             (indices, weight, out, indices.size, size, width))
    return out, (indices, weight.shape)


def embedding_backward(xp: Any, g: Any, saved: Any, parents: Any) -> tuple:
    indices, (size, width) = saved
    return None, _gradient(indices.reshape(-1), contiguous(g).reshape(indices.size, width), size, parents[1])


def embedding_supports(indices: Any, weight: Any) -> bool:
    return scatter_supports(indices, weight, weight.shape[0])


def embedding_bag(indices: Any, offsets: Any, weight: Any, per_sample_weights: Any, *, mode: str) -> tuple[Any, Any]:
    indices, offsets, weight = as_int64(indices), as_int64(offsets), contiguous(weight)
    weights = 0 if per_sample_weights is None else contiguous(per_sample_weights)
    (size, width), mean = weight.shape, int(mode == "mean")
    out = empty((offsets.size, width), weight.dtype)
    if out.size:
        char, bags = weight.dtype.char, offsets.size
        warps = _WARPS if indices.size > _LONG * bags else 1
        wide = 32 * (WIDE[char] if width % WIDE[char] == 0 else 1)
        kernel("embedding", "sum_bags", char)(
            (-(-bags * warps // _WARPS), min(-(-width // wide), 65_535)), (32, _WARPS),
            (indices, offsets, weights, weight, out, bags, indices.size, size, width, mean, warps))
    return out, (indices, offsets, weight, weights, mean)


def embedding_bag_backward(xp: Any, g: Any, saved: Any, needs: Any, parents: Any) -> tuple:
    indices, offsets, weight, weights, mean = saved
    g, g_weight = contiguous(g), None
    if needs[2]:
        g_weight = _gradient(indices, g, weight.shape[0], parents[2], Bags(offsets, weights, offsets.size, mean))
    return None, None, g_weight, _bag_weights(g, saved) if needs[3] else None


def sparse_bag_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    """As of embedding_bag, with the rows one by one: only those looked up, each as often as it was."""
    indices, offsets, weight, weights, mean = saved
    g, g_weight = contiguous(g), None
    if needs[2]:
        g_rows, width = empty((indices.size, weight.shape[1]), g.dtype), weight.shape[1]
        rows(kernel("embedding", "bag_rows", g.dtype.char), indices.size, width,
             (g, offsets, weights, offsets.size, mean, g_rows, indices.size, width))
        g_weight = RowSparse(indices, g_rows, weight.shape)
    return None, None, g_weight, _bag_weights(g, saved) if needs[3] else None


def _bag_weights(g: Any, saved: Any) -> Any:
    """The gradient of the per-sample weights."""
    indices, offsets, weight, *_ = saved
    out, (size, width) = empty(indices.shape, weight.dtype), weight.shape
    rows(kernel("embedding", "bag_weights", weight.dtype.char), indices.size, width,
         (indices, offsets, weight, g, out, offsets.size, indices.size, size, width))
    return out


def _gradient(indices: Any, g: Any, size: int, parent: Any, bags: Bags = ALONE) -> Any:
    """The gradient of a table, which is left to be written by whoever needs it where nobody else computes with it.

    Very many indices of few rows, long runs that is, are quicker summed by chunks, and the table is then small anyway.
    """
    if type(parent) is Leaf and indices.size and g.size and size and (indices.size <= FEW or indices.size < size):
        return sum_rows([(indices, g, size, bags)])[0]
    return sum_by_index(indices, g, size, bags)


def embedding_bag_supports(indices: Any, offsets: Any, weight: Any, per_sample_weights: Any, *, mode: str) -> bool:
    return is_floating(weight) and embedding_supports(indices, weight)


register("embedding", "cupy", embedding, embedding_backward, embedding_supports)
register("embedding_bag", "cupy", embedding_bag, embedding_bag_backward, embedding_bag_supports)
register("sparse_embedding_bag", "cupy", embedding_bag, sparse_bag_backward, embedding_bag_supports)
