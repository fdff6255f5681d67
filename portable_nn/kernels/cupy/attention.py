"""attention on CuPy: one kernel of ours forward and one backward, which never hold the scores in memory.

Heads that lie inside rows, as a layer's projections leave them, are read and written there, without copies; queries,
keys and values that lie side by side get gradients side by side.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import cupy

from portable_nn.backend.random import keep_threshold
from portable_nn.kernels.cupy.dropout import stream_arguments
from portable_nn.kernels.cupy.heads import alike, as_int32, four_axes, like, parts, returned, stored, stored_as
from portable_nn.kernels.cupy.launch import empty, kernel
from portable_nn.kernels.registry import register

#: Widths of heads that the kernels are compiled for, and queries and keys in a tile.
_HEADS, _SIDES = (32, 64, 128, 256), (64, 32, 16)
#: Shared memory of a block, so that an H100 has room for two.
_MOST = 112 * 1024


def strides(x: Any) -> tuple[int, ...]:
    return tuple([step // x.itemsize for step in x.strides[:3]])


@functools.cache
def _device(device: int) -> tuple[int, int]:
    """Shared memory that a block may have, and multiprocessors."""
    found = cupy.cuda.Device(device).attributes
    return min(_MOST, found["MaxSharedMemoryPerBlockOptin"]), found["MultiProcessorCount"]


def tile(widest: int, char: str, squares: tuple[int, int], heads: int = 1,
         rows: tuple[int, ...] = ()) -> tuple[int, int, int] | None:
    """HEAD, SIDE and bytes of shared memory of a kernel with so many tiles (SIDE, HEAD) and (SIDE, SIDE); or None.

    SIDE becomes smaller while blocks, of SIDE of these rows of a head each, would leave half of the device idle.
    """
    head = next((n for n in _HEADS if widest <= n), None)
    if head is None:
        return None
    room, processors = _device(cupy.cuda.runtime.getDevice())
    for side in _SIDES:
        real = 8 if char == "d" else 4
        size = squares[0] * side * (head * real + 16) + squares[1] * side * (side * real + 16)
        few = len(rows) > 0 and side > _SIDES[-1] and 2 * heads * sum(-(-n // side) for n in rows) <= processors
        if size + side * side <= room and not few:
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
    dtypes: tuple


def _rules(mask: Any, shape: tuple[int, ...], causal: bool, dropout_p: float, stream: Any) -> tuple:
    threshold = keep_threshold(dropout_p) if stream is not None else 0
    factor = 0.0 if threshold == 65536 else 1 / (1 - threshold / 65536)
    numbers = stream_arguments(stream) if threshold else (0,) * 6
    hidden: tuple = (0,) * 5
    lengths: tuple = (0, 1)
    lead = shape[:-2]
    if mask is not None and mask.dtype.char == "?":
        outer, inner = (1, 1) if not lead else (lead[0], 1) if len(lead) == 1 else (math.prod(lead[:-1]), lead[-1])
        mask = cupy.broadcast_to(mask, shape).reshape(outer, inner, *shape[-2:])
        hidden = (mask, *mask.strides)
    elif mask is not None:
        lengths = as_int32(mask), math.prod(lead[1:])
    return *hidden, *lengths, int(causal), threshold, factor, *numbers


def _call(query: Any, key: Any, value: Any, mask: Any, causal: bool, scale: float, dropout_p: float,
          stream: Any) -> Call:
    shape, dtypes = (*query.shape[:-1], key.shape[-2]), (query.dtype, key.dtype, value.dtype)
    query, key, value = (stored(four_axes(x)) for x in (query, key, value))
    sizes = (query.shape[1], query.shape[2], key.shape[2], query.shape[3], value.shape[3])
    return Call(query, key, value, _rules(mask, shape, causal, dropout_p, stream), sizes, float(scale), dtypes)


def _launch(name: str, call: Call, squares: tuple[int, int], rows: tuple[int, ...], arguments: tuple,
            more: tuple = ()) -> None:
    """Over tiles of so many rows, for all heads."""
    char, heads = call.query.dtype.char, math.prod(call.query.shape[:2])
    chosen = tile(max(call.sizes[3:]), char, squares, heads, rows)
    head, side, size = chosen  # type: ignore[misc]  # `supports` has asked
    function = kernel("attention", name, char, f"HEAD={head}", f"SIDE={side}")
    if size > 48 * 1024:
        function.max_dynamic_shared_size_bytes = size
    blocks = heads * sum(-(-n // side) for n in rows)
    function((blocks,), (16, 16), (*arguments, *call.rules, *call.sizes, call.scale, *more), shared_mem=size)


def _attend(call: Call, keeps: bool) -> tuple[Any, Any]:
    """The result, of four axes, and the logs of the sums if they are to be kept."""
    q, k, v = call[:3]
    out = like(q, v.shape[3])
    logs = empty(q.shape[:3], "d" if q.dtype.char == "d" else "f") if keeps else 0
    _launch("attention", call, (2, 1), q.shape[2:3],
            (q, *strides(q), k, *strides(k), v, *strides(v), out, *strides(out), logs))
    return out, logs


def _pull(g: Any, call: Call, out: Any, logs: Any, gradients: tuple) -> None:
    """Write gradients, of four axes; keys' and values' come together, and either pair may be missing."""
    q, k, v = call[:3]
    g, (g_q, g_k, _) = stored_as(four_axes(g), q.dtype), gradients
    rows = (*(() if g_q is None else q.shape[2:3]), *(() if g_k is None else k.shape[2:3]))
    pairs = ((x, *strides(x)) if x is not None else (0,) * 4 for x in gradients)
    _launch("attention_backward", call, (4, 1), rows,
            (q, *strides(q), k, *strides(k), v, *strides(v), g, *strides(g), out, *strides(out), logs,
             *(number for pair in pairs for number in pair)), (math.prod(q.shape[:2]),))


def forward(query: Any, key: Any, value: Any, mask: Any, **options: Any) -> tuple[Any, Any]:
    call = _call(query, key, value, mask, **options)
    out, logs = _attend(call, True)
    return out.reshape(*query.shape[:-1], value.shape[-1]), (call, out, logs, query.shape, key.shape, value.shape)


def infer(query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
    return _attend(_call(query, key, value, mask, **options), False)[0].reshape(*query.shape[:-1], value.shape[-1])


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    call, out, logs, *shapes = saved
    wanted = (needs[0], needs[1] or needs[2], needs[1] or needs[2])
    gradients = tuple([like(x, x.shape[3]) if need else None for x, need in zip(call[:3], wanted, strict=True)])
    if any(wanted):
        _pull(g, call, out, logs, gradients)
    return *(returned(x, dtype).reshape(shape) if need else None
             for x, need, dtype, shape in zip(gradients, needs, call.dtypes, shapes, strict=False)), None


def supports(query: Any, key: Any, value: Any, mask: Any, **options: Any) -> bool:
    return (alike(query, key, value) and query.size * key.size * value.size > 0
            and tile(max(query.shape[-1], value.shape[-1]), query.dtype.char, (4, 1)) is not None)


def forward_packed(packed: Any, mask: Any, **options: Any) -> tuple[Any, Any]:
    halves = stored(packed)
    call = _call(*parts(halves), mask, **options)
    out, logs = _attend(call, True)
    return cupy.swapaxes(out, 1, 2), (call, out, logs, packed.dtype, packed.shape)


def infer_packed(packed: Any, mask: Any, **options: Any) -> Any:
    return cupy.swapaxes(_attend(_call(*parts(stored(packed)), mask, **options), False)[0], 1, 2)


def backward_packed(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    call, out, logs, dtype, shape = saved
    gradient = empty(shape, call.query.dtype)
    _pull(cupy.swapaxes(g, 1, 2), call, out, logs, parts(gradient))
    return returned(gradient, dtype), None


def supports_packed(packed: Any, mask: Any, **options: Any) -> bool:
    return alike(packed) and packed.size > 0 and tile(packed.shape[-1], packed.dtype.char, (4, 1)) is not None


register("attention", "cupy", forward, backward, supports, infer=infer)
register("packed_attention", "cupy", forward_packed, backward_packed, supports_packed, infer=infer_packed)
