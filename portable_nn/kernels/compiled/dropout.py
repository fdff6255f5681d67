"""dropout: random words, the mask made of them and the product with it, a piece at a time in the nearest cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.backend.random import Stream, keep_threshold
from portable_nn.kernels.compiled.common import BLOCK, elementwise, flat, takes
from portable_nn.kernels.compiled.jit import Count, Mask, Number, OutMask, OutVector, Vector, Words, compiled
from portable_nn.kernels.compiled.philox import fill, key_of
from portable_nn.kernels.numpy.buffers import empty
from portable_nn.kernels.numpy.threads import share
from portable_nn.kernels.registry import register

#: Elements at a time, and how many of them one block of the cipher serves.
_TILE, _LANES = 4096, 16


@compiled
def drop(out: OutVector, mask: OutMask, x: Vector, first: Count, key: Words, threshold: Count, scale: Number) -> None:
    """`first` is the position of the first element in the whole, a multiple of 16."""
    words, limit = np.empty(_TILE // 4, np.uint64), np.uint16(threshold)
    lanes = words.view(np.uint16)
    for start in range(0, out.size, _TILE):
        to, kept, values = out[start:start + _TILE], mask[start:start + _TILE], x[start:start + _TILE]
        fill(words, key, (first + start) // _LANES)
        for i in range(to.size):
            kept[i] = lanes[i] >= limit
            to[i] = values[i] * (scale if lanes[i] >= limit else 0.0)


@compiled
def masked(out: OutVector, x: Vector, mask: Mask, scale: Number) -> None:
    for i in range(out.size):
        out[i] = x[i] * (scale if mask[i] else 0.0)


def forward(x: np.ndarray, *, p: float, stream: Stream) -> tuple[np.ndarray, Any]:
    threshold, key = keep_threshold(p), key_of(stream)
    scale = 65536 / (65536 - threshold)
    out, mask, vector = empty(x.shape, x.dtype), empty(x.size, np.bool_), flat(x)
    to = out.reshape(-1)

    def block(start: int) -> None:
        part = slice(start, start + BLOCK)
        drop(to[part], mask[part], vector[part], start, key, threshold, scale)

    share(block, range(0, vector.size, BLOCK))
    return out, (mask, scale)


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    mask, scale = saved
    g_x = empty(g.shape, g.dtype)
    elementwise(masked, g_x, g, mask, common=(scale,))
    return (g_x,)


def supports(x: Any, *, p: float, stream: Stream) -> bool:
    return 0 < p < 1 and takes(x, "fd")


register("dropout", "numpy", forward, backward, supports)
