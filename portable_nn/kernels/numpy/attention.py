"""attention on NumPy: a few heads at a time, worked on in place while their scores stay in the cache."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from portable_nn.backend.random import Stream, keep_mask
from portable_nn.functional.tiles import as_mask
from portable_nn.kernels.numpy.blocks import SHARED, is_floating, ones
from portable_nn.kernels.numpy.buffers import empty, scratch
from portable_nn.kernels.numpy.threads import share
from portable_nn.kernels.registry import register

#: Scores worked on at a time, if heads are that small.
_BLOCK = 2**16
#: Scores of all heads that are kept for the gradient; of more they are made again, which costs a step some 2 %.
_KEPT = _BLOCK
#: Scores of one head that are worked on at a time; longer inputs go through the tiles of the generic pair.
HEAD = 2**20
#: exp of scores within this bound neither over- nor underflows, nor do its sums: no largest one need be subtracted.
_BOUND = 40.0


def _four(x: np.ndarray) -> np.ndarray:
    """x with two axes in front, in a view where there is one."""
    if x.ndim == 4:
        return x
    return x.reshape(-1, *x.shape[-3:]) if x.ndim > 4 else x.reshape(x.shape[:-2] + (1,) * (4 - x.ndim) + x.shape[-2:])


def _visible(mask: np.ndarray | None, causal: bool, lead: tuple, shape: tuple, dtype: np.dtype) -> np.ndarray | None:
    """1 where a score counts and 0 where it is hidden, with four axes; None where all count."""
    visible, mask = None, as_mask(mask, len(lead) + 2, shape[1])
    if mask is not None:
        mask = mask.reshape((1,) * (len(lead) + 2 - mask.ndim) + mask.shape)
        mask = np.broadcast_to(mask, (*lead, *mask.shape[-2:])) if len(lead) > 2 else mask
        visible = _four(np.logical_not(mask)).astype(dtype)
    if causal:
        triangle = np.tri(*shape, dtype=dtype)
        visible = triangle[None, None] if visible is None else visible * triangle
    return visible


def _blocks(heads: tuple[int, int], scores: int) -> Iterator[tuple[slice, slice]]:
    """Slices along the two axes in front, of some BLOCK scores each."""
    batch, count = heads
    size = max(1, _BLOCK // scores)
    if size >= count:
        step = size // count
        return ((slice(a, min(a + step, batch)), slice(0, count)) for a in range(0, batch, step))
    return ((slice(a, a + 1), slice(h, min(h + size, count))) for a in range(batch) for h in range(0, count, size))


def _part(x: np.ndarray, block: tuple[slice, slice]) -> np.ndarray:
    """A block of an array whose axes in front may have length 1."""
    return x[tuple(one if n > 1 else slice(None) for one, n in zip(block, x.shape))]


def _exponentials(e: np.ndarray, visible: np.ndarray | None) -> np.ndarray:
    """Scores become exponentials, up to a factor for each query; gives one over their sums as a column."""
    flat = e.reshape(-1)
    if not (np.maximum.reduce(flat) <= _BOUND and np.minimum.reduce(flat) >= -_BOUND):
        if visible is not None:
            np.copyto(e, np.finfo(e.dtype).min, where=visible == 0)
        np.subtract(e, np.maximum.reduce(e, axis=-1, keepdims=True), out=e)
    np.exp(e, out=e)
    if visible is not None:
        np.multiply(e, visible, out=e)
    sums = np.dot(e.reshape(-1, e.shape[-1]), ones(e.shape[-1], e.dtype))
    if visible is not None:
        sums[sums == 0] = 1  # nothing to be seen: zeros
    return np.reciprocal(sums, out=sums).reshape(*e.shape[:-1], 1)


def _score_gradient(g_s: np.ndarray, e: np.ndarray, r: np.ndarray, keep: np.ndarray | None) -> None:
    """From the gradient of the weights to that of the scores, in place."""
    if keep is not None:
        np.multiply(g_s, keep, g_s)
    # From these very products, not from g and out: where one weight is all, the difference is then 0, as it should.
    delta = np.vecdot(e, g_s)[..., None]
    np.multiply(delta, r, delta)
    np.subtract(g_s, delta, g_s)
    np.multiply(g_s, e, g_s)


class Between(NamedTuple):
    """What lies between the products."""

    exponentials: Callable[..., np.ndarray]
    score_gradient: Callable[..., None]


NUMPY = Between(_exponentials, _score_gradient)


def _over(heads: tuple[int, int], scores: int, function: Callable[[tuple[slice, slice]], None]) -> None:
    """Run `function` over blocks of heads, on several threads where there is enough to do."""
    blocks = list(_blocks(heads, scores))
    if math.prod(heads) * scores < SHARED:
        for block in blocks:
            function(block)
    else:
        share(function, blocks, products=True)


def _scaled(query: np.ndarray, scale: float) -> np.ndarray:
    return np.multiply(query, query.dtype.type(scale), scratch(query.shape, query.dtype))


def _side_by_side(x: np.ndarray, width: int) -> np.ndarray:
    """A new array (B, H, T, width) for x (B, H, T, …), queries before heads in memory: what the caller makes of it
    next, heads side by side, is then a view."""
    return empty((x.shape[0], x.shape[2], x.shape[1], width), x.dtype).swapaxes(1, 2)


def forward(query: np.ndarray, key: np.ndarray, value: np.ndarray, mask: np.ndarray | None, *, causal: bool,
            scale: float, dropout_p: float, stream: Stream | None, keeps: bool = True,
            between: Between = NUMPY) -> tuple[np.ndarray, Any]:
    lead = query.shape[:-2]
    q, k, v = _four(query), _four(key), _four(value)
    shape = (*q.shape[:3], k.shape[2])
    visible = _visible(mask, causal, lead, shape[2:], q.dtype)
    keep, kept_share = (None, 1.0) if stream is None else keep_mask(stream, shape, dropout_p, xp=np, device="cpu")
    kept = empty(shape, q.dtype) if keeps and math.prod(shape) <= _KEPT else None
    out, factors = _side_by_side(q, v.shape[3]), np.empty((*shape[:3], 1), dtype=q.dtype)
    inverse = 1 / kept_share if kept_share else 0.0

    def part(block: tuple[slice, slice]) -> None:
        query_block, seen = _scaled(q[block], scale), None if visible is None else _part(visible, block)
        e = scratch((*query_block.shape[:3], shape[3]), q.dtype) if kept is None else kept[block]
        r = factors[block]
        np.matmul(query_block, k[block].swapaxes(-1, -2), out=e)
        r[...] = between.exponentials(e, seen)
        weights = e if keep is None else np.multiply(e, keep[block], scratch(e.shape, e.dtype))
        y = np.matmul(weights, v[block], out=scratch((*e.shape[:3], v.shape[3]), e.dtype))
        np.multiply(y, r if keep is None else r * inverse, out[block])

    _over(shape[:2], shape[2] * shape[3], part)
    saved = (q, k, v, visible, keep, inverse, kept, factors, scale, query.shape, key.shape, value.shape)
    return out.reshape(*lead, *out.shape[2:]), saved


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    return gradients_of(g, saved, needs, NUMPY)


def gradients_of(g: np.ndarray, saved: Any, needs: Any, between: Between) -> tuple:
    """In new arrays."""
    (q, k, v), shapes = saved[:3], saved[-3:]
    gradients = [_side_by_side(x, x.shape[3]) if need else None for x, need in zip((q, k, v), needs)]
    write_gradients(_four(g), saved, gradients, between)
    return *(None if x is None else x.reshape(shape) for x, shape in zip(gradients, shapes)), None


def write_gradients(g: np.ndarray, saved: Any, gradients: Any, between: Between) -> None:
    """To arrays for query, key and value, None where there is none. With r the factors and e the exponentials, weights
    are r e: r goes into the small arrays g and δ."""
    q, k, v, visible, keep, inverse, kept, factors, scale = saved[:9]
    g_q, g_k, g_v = gradients

    def part(block: tuple[slice, slice]) -> None:
        query_block, r = _scaled(q[block], scale), factors[block]
        if kept is None:
            e = scratch((*query_block.shape[:3], k.shape[2]), q.dtype)
            np.matmul(query_block, k[block].swapaxes(-1, -2), out=e)
            between.exponentials(e, None if visible is None else _part(visible, block))
        else:
            e = kept[block]
        rg = np.multiply(g[block], r if keep is None else r * inverse, scratch(g[block].shape, g.dtype))
        g_s, weights = scratch((2, *e.shape), e.dtype)
        if g_v is not None:
            weights = e if keep is None else np.multiply(e, keep[block], weights)
            np.matmul(weights.swapaxes(-1, -2), rg, out=g_v[block])
        np.matmul(rg, v[block].swapaxes(-1, -2), out=g_s)
        between.score_gradient(g_s, e, r, None if keep is None else keep[block])
        if g_q is not None:
            np.matmul(g_s, k[block], out=g_q[block])
            np.multiply(g_q[block], g_q.dtype.type(scale), g_q[block])
        if g_k is not None:
            np.matmul(g_s.swapaxes(-1, -2), query_block, out=g_k[block])

    _over(q.shape[:2], q.shape[2] * k.shape[2], part)


def infer(*arrays: Any, **options: Any) -> np.ndarray:
    return forward(*arrays, **options, keeps=False)[0]


def supports(query: Any, key: Any, value: Any, mask: Any, **options: Any) -> bool:
    return (is_floating(query) and 0 < query.shape[-2] * key.shape[-2] <= HEAD
            and query.size > 0 and value.size > 0)


register("attention", "numpy", forward, backward, supports, infer=infer)
