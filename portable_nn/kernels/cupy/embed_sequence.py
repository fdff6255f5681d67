"""embed_sequence on CuPy: one kernel forward; backward dropout's, and those of the table and of sums over the batch."""

from __future__ import annotations

import math
from typing import Any

from portable_nn.backend.random import Stream
from portable_nn.kernels.cupy.columns import sum_rows
from portable_nn.kernels.cupy.dropout import BLOCK, drop, dropping
from portable_nn.kernels.cupy.embedding import embedding_backward, embedding_supports
from portable_nn.kernels.cupy.launch import WIDE, as_int64, contiguous, empty, is_floating, kernel
from portable_nn.kernels.registry import register


def forward(indices: Any, weight: Any, positions: Any, *, p: float, stream: Stream | None) -> tuple[Any, Any]:
    indices, weight, positions, how = as_int64(indices), contiguous(weight), contiguous(positions), dropping(p, stream)
    (size, width), char = weight.shape, weight.dtype.char
    out = empty((*indices.shape, width), weight.dtype)
    wide = width % WIDE[char] == 0 and not (weight.data.ptr % 16 or positions.data.ptr % 16)
    if out.size:
        function = kernel("embed_sequence", "embed_sequence", char, f"PACK={WIDE[char] if wide else 1}")
        function((-(-out.size // BLOCK),), (32, 8),
                 (indices, weight, positions, out, out.size, size, width, indices.shape[1], *how))
    return out, (indices, weight.shape, how)


def backward(xp: Any, g: Any, saved: Any, needs: tuple, parents: tuple) -> tuple:
    indices, shape, how = saved
    g = drop(None, g, g.dtype, how) if how[0] else contiguous(g)
    g_weight = embedding_backward(xp, g, (indices, shape), parents[:2])[1] if needs[1] else None
    g_positions = sum_rows(g.reshape(g.shape[0], math.prod(g.shape[1:]))).reshape(g.shape[1:]) if needs[2] else None
    return None, g_weight, g_positions


def supports(indices: Any, weight: Any, positions: Any, *, p: float, stream: Stream | None) -> bool:
    return is_floating(weight) and weight.dtype == positions.dtype and p < 1 and embedding_supports(indices, weight)


register("embed_sequence", "cupy", forward, backward, supports)
