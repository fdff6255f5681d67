"""attention on CuPy: one kernel of ours forward and three backward, which never hold the scores in memory.

Heads that lie inside rows, as a layer's projections leave them, are read and written there, without copies.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import cupy

from portable_nn.backend.random import keep_threshold
from portable_nn.functional.tiles import as_mask
from portable_nn.kernels.cupy.dropout import stream_arguments
from portable_nn.kernels.cupy.launch import empty, is_floating, kernel
from portable_nn.kernels.registry import register

#: Widths of heads that the kernels are compiled for, and queries and keys in a tile.
_HEADS, _SIDES = (32, 64, 128, 256), (64, 32, 16)
#: Shared memory of a block, so that an H100 has room for two.
_MOST = 112 * 1024


def four_axes(x: Any) -> Any:
    """(..., rows, width) as (outer, inner, rows, width), each row in one piece; a copy only where it must be."""
    lead = x.shape[:-2]
    outer, inner = (1, 1) if not lead else (lead[0], 1) if len(lead) == 1 else (math.prod(lead[:-1]), lead[-1])
    x = x.reshape(outer, inner, *x.shape[-2:])
    return x if x.strides[-1] == x.itemsize or x.shape[-1] < 2 else cupy.ascontiguousarray(x)


def like(x: Any, width: int) -> Any:
    """An empty array for x (outer, inner, rows, width) of another width, its axes in the same order."""
    outer, inner, rows, _ = x.shape
    if inner > 1 and x.strides[1] < x.strides[2]:
        return cupy.swapaxes(empty((outer, rows, inner, width), x.dtype), 1, 2)
    return empty((outer, inner, rows, width), x.dtype)


def strides(x: Any) -> tuple[int, ...]:
    return tuple([step // x.itemsize for step in x.strides[:3]])


@functools.cache
def _room(device: int) -> int:
    return min(_MOST, cupy.cuda.Device(device).attributes["MaxSharedMemoryPerBlockOptin"])


def tile(widest: int, char: str, squares: tuple[int, int]) -> tuple[int, int, int] | None:
    """HEAD, SIDE and bytes of shared memory of a kernel with so many tiles (SIDE, HEAD) and (SIDE, SIDE); or None."""
    head = next((n for n in _HEADS if widest <= n), None)
    if head is None:
        return None
    for side in _SIDES:
        real = 8 if char == "d" else 4
        size = squares[0] * side * (head * real + 16) + squares[1] * side * (side * real + 16)
        if size + side * side <= _room(cupy.cuda.runtime.getDevice()):
            return head, side, size
    return None


class Call(NamedTuple):
    """What forward and backward share: arrays of four axes, what hides and drops scores, and sizes."""

    query: Any
    key: Any
    value: Any
    rules: tuple
    sizes: tuple
    scale: float


def _rules(mask: Any, shape: tuple[int, ...], causal: bool, dropout_p: float, stream: Any) -> tuple:
    threshold = keep_threshold(dropout_p) if stream is not None else 0
    factor = 0.0 if threshold == 65536 else 1 / (1 - threshold / 65536)
    numbers = stream_arguments(stream) if threshold else (0,) * 6
    hidden: tuple = (0, 0, 0, 0, 0)
    mask = as_mask(mask, len(shape), shape[-1])
    if mask is not None:
        lead = shape[:-2]
        outer, inner = (1, 1) if not lead else (lead[0], 1) if len(lead) == 1 else (math.prod(lead[:-1]), lead[-1])
        mask = cupy.broadcast_to(mask, shape).reshape(outer, inner, *shape[-2:])
        hidden = (mask, *mask.strides)
    return *hidden, int(causal), threshold, factor, *numbers


def _call(query: Any, key: Any, value: Any, mask: Any, causal: bool, scale: float, dropout_p: float,
          stream: Any) -> Call:
    shape = (*query.shape[:-1], key.shape[-2])
    query, key, value = four_axes(query), four_axes(key), four_axes(value)
    sizes = (query.shape[1], query.shape[2], key.shape[2], query.shape[3], value.shape[3])
    return Call(query, key, value, _rules(mask, shape, causal, dropout_p, stream), sizes, float(scale))


def _launch(name: str, call: Call, squares: tuple[int, int], rows: int, arguments: tuple) -> None:
    """Over tiles of `rows` queries or keys, of all heads."""
    char = call.query.dtype.char
    head, side, size = tile(max(call.sizes[3:]), char, squares)  # type: ignore[misc]  # `supports` has asked
    function = kernel("attention", name, char, f"HEAD={head}", f"SIDE={side}")
    if size > 48 * 1024:
        function.max_dynamic_shared_size_bytes = size
    blocks = -(-rows // side) * math.prod(call.query.shape[:2])
    function((blocks,), (16, 16), (*arguments, *call.rules, *call.sizes, call.scale), shared_mem=size)


def forward(query: Any, key: Any, value: Any, mask: Any, *, causal: bool, scale: float, dropout_p: float,
            stream: Any) -> tuple[Any, Any]:
    shape = (*query.shape[:-1], value.shape[-1])
    call = _call(query, key, value, mask, causal, scale, dropout_p, stream)
    q, k, v = call.query, call.key, call.value
    out = like(q, v.shape[3])
    logs = empty(q.shape[:3], "d" if q.dtype.char == "d" else "f")
    _launch("attention", call, (2, 1), q.shape[2],
            (q, *strides(q), k, *strides(k), v, *strides(v), out, *strides(out), logs))
    return out.reshape(shape), (call, out, logs, query.shape, key.shape, value.shape)


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    call, out, logs, *shapes = saved
    (q, k, v), g = call[:3], four_axes(g)
    delta = empty(logs.shape, logs.dtype)
    kernel("attention", "attention_delta", q.dtype.char)(
        (-(-logs.size // 8),), (32, 8), (g, *strides(g), out, *strides(out), delta, q.shape[1], q.shape[2], v.shape[3],
                                         logs.size))
    given = (q, *strides(q), k, *strides(k), v, *strides(v), g, *strides(g), logs, delta)
    g_q = g_k = g_v = None
    if needs[0]:
        g_q = like(q, q.shape[3])
        _launch("attention_queries", call, (4, 1), q.shape[2], (*given, g_q, *strides(g_q)))
    if needs[1] or needs[2]:
        g_k, g_v = like(k, k.shape[3]), like(v, v.shape[3])
        _launch("attention_keys", call, (4, 1), k.shape[2], (*given, g_k, *strides(g_k), g_v, *strides(g_v)))
    return *(None if x is None or not need else x.reshape(shape)
             for x, need, shape in zip((g_q, g_k, g_v), needs, shapes, strict=False)), None


def supports(query: Any, key: Any, value: Any, mask: Any, **options: Any) -> bool:
    return (is_floating(query) and query.dtype == key.dtype == value.dtype and query.size * key.size * value.size > 0
            and tile(max(query.shape[-1], value.shape[-1]), query.dtype.char, (4, 1)) is not None)


register("attention", "cupy", forward, backward, supports)
