"""attention on NumPy: a few heads at a time, worked on in place while their scores stay in the cache."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from portable_nn.backend.random import Stream, keep_mask
from portable_nn.kernels.numpy.blocks import is_floating, ones
from portable_nn.kernels.registry import register

#: Scores worked on at a time, if heads are that small.
_BLOCK = 2**16
#: Scores of all heads that are kept for the gradient; of more they are made again.
_KEPT = 2**22
#: Scores of one head that are worked on at a time; longer inputs go through the tiles of the generic pair.
_HEAD = 2**20
#: exp of scores within this bound neither over- nor underflows, nor do its sums: no largest one need be subtracted.
_BOUND = 40.0


class _Block:
    """Scratch arrays for the largest block of heads, as views of any block's shape."""

    def __init__(self, count: int, dtype: np.dtype) -> None:
        self.count, self.dtype = count, dtype
        self.arrays: dict[str, np.ndarray] = {}

    def __call__(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name not in self.arrays:
            self.arrays[name] = np.empty(self.count * math.prod(shape[-2:]), dtype=self.dtype)
        return self.arrays[name][:math.prod(shape)].reshape(shape)


def _four(x: np.ndarray) -> np.ndarray:
    """x with two axes in front, in a view where there is one."""
    if x.ndim == 4:
        return x
    return x.reshape(-1, *x.shape[-3:]) if x.ndim > 4 else x.reshape(x.shape[:-2] + (1,) * (4 - x.ndim) + x.shape[-2:])


def _visible(mask: np.ndarray | None, causal: bool, lead: tuple, shape: tuple, dtype: np.dtype) -> np.ndarray | None:
    """1 where a score counts and 0 where it is hidden, with four axes; None where all count."""
    visible = None
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


def _exponentials(query: np.ndarray, key: np.ndarray, visible: np.ndarray | None, e: np.ndarray) -> np.ndarray:
    """Write exp(scores) of a block into `e`, up to a factor for each query; gives one over their sums as a column."""
    np.matmul(query, key.swapaxes(-1, -2), out=e)
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


def _plan(query: np.ndarray, key: np.ndarray, scale: float) -> tuple:
    """The shape of all scores, blocks of heads, scratch for them, and the query scaled, block by block."""
    shape = (*query.shape[:3], key.shape[2])
    blocks = list(_blocks(shape[:2], shape[2] * shape[3]))
    largest = blocks[0]
    scratch = _Block((largest[0].stop - largest[0].start) * (largest[1].stop - largest[1].start), query.dtype)
    factor = np.array(scale, dtype=query.dtype)

    def scaled(block: tuple) -> np.ndarray:
        part = query[block]
        return np.multiply(part, factor, out=scratch("query", part.shape))

    return shape, blocks, scratch, scaled


def forward(query: np.ndarray, key: np.ndarray, value: np.ndarray, mask: np.ndarray | None, *, causal: bool,
            scale: float, dropout_p: float, stream: Stream | None, keeps: bool = True) -> tuple[np.ndarray, Any]:
    lead = query.shape[:-2]
    q, k, v = _four(query), _four(key), _four(value)
    shape, blocks, scratch, scaled = _plan(q, k, scale)
    visible = _visible(mask, causal, lead, shape[2:], q.dtype)
    keep, share = (None, 1.0) if stream is None else keep_mask(stream, shape, dropout_p, xp=np, device="cpu")
    kept = np.empty(shape, dtype=q.dtype) if keeps and math.prod(shape) <= _KEPT else None
    # Queries before heads: what the caller makes of it next, heads side by side, is then a view.
    out = np.empty((shape[0], shape[2], shape[1], v.shape[3]), dtype=q.dtype).swapaxes(1, 2)
    factors = np.empty((*shape[:3], 1), dtype=q.dtype)
    for block in blocks:
        query_block, seen = scaled(block), None if visible is None else _part(visible, block)
        e = scratch("e", (*query_block.shape[:3], shape[3])) if kept is None else kept[block]
        r = factors[block]
        r[...] = _exponentials(query_block, k[block], seen, e)
        weights = e if keep is None else np.multiply(e, keep[block], out=scratch("weights", e.shape))
        np.matmul(weights, v[block], out=out[block])
        np.multiply(out[block], r if keep is None else r * (1 / share if share else 0.0), out=out[block])
    saved = (q, k, v, visible, keep, share, kept, factors, scale, query.shape, key.shape, value.shape)
    return out.reshape(*lead, *out.shape[2:]), saved


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    """With r the factors and e the exponentials, weights are r e: r goes into the small arrays g and δ."""
    q, k, v, visible, keep, share, kept, factors, scale, *shapes = saved
    g = _four(g)
    shape, blocks, scratch, scaled = _plan(q, k, scale)
    inverse = 1 / share if share else 0.0
    # As the result: queries before heads.
    gradients = [np.empty((x.shape[0], x.shape[2], x.shape[1], x.shape[3]), dtype=q.dtype).swapaxes(1, 2)
                 if need else None for x, need in zip((q, k, v), needs)]
    g_q, g_k, g_v = gradients
    for block in blocks:
        query_block, r = scaled(block), factors[block]
        if kept is None:
            e = scratch("e", (*query_block.shape[:3], shape[3]))
            _exponentials(query_block, k[block], None if visible is None else _part(visible, block), e)
        else:
            e = kept[block]
        rg = np.multiply(g[block], r, out=scratch("g", g[block].shape))
        if keep is not None:
            np.multiply(rg, inverse, out=rg)
        if g_v is not None:
            weights = e if keep is None else np.multiply(e, keep[block], out=scratch("weights", e.shape))
            np.matmul(weights.swapaxes(-1, -2), rg, out=g_v[block])
        g_s = np.matmul(rg, v[block].swapaxes(-1, -2), out=scratch("scores", e.shape))
        if keep is not None:
            np.multiply(g_s, keep[block], out=g_s)
        # From these very products, not from g and out: where one weight is all, the difference is then 0, as it should.
        delta = np.vecdot(e, g_s)[..., None] * r
        np.subtract(g_s, delta, out=g_s)
        np.multiply(g_s, e, out=g_s)
        if g_q is not None:
            np.matmul(g_s, k[block], out=g_q[block])
            np.multiply(g_q[block], scale, out=g_q[block])
        if g_k is not None:
            np.matmul(g_s.swapaxes(-1, -2), query_block, out=g_k[block])
    return *(None if x is None else x.reshape(shape) for x, shape in zip(gradients, shapes)), None


def infer(*arrays: Any, **options: Any) -> np.ndarray:
    return forward(*arrays, **options, keeps=False)[0]


def supports(query: Any, key: Any, value: Any, mask: Any, **options: Any) -> bool:
    return (is_floating(query) and 0 < query.shape[-2] * key.shape[-2] <= _HEAD
            and query.size > 0 and value.size > 0)


register("attention", "numpy", forward, backward, supports, infer=infer)
