"""attention in half precision through cuDNN (nvidia-cudnn-frontend), forward and its deterministic backward.

It takes bfloat16 and float16, and float32 where the context stores half precision: rounded on the way in, half on the
way out. Arrays are read and written where they lie. Padding is taken as lengths; masks of booleans, which could be
anything, and only the device knows, are for our own kernels: see `attention`.

Dropout here is cuDNN's own, over a seed and an offset that one launch of ours draws on the device from the Stream
(seed, path, step, call, rank): runs with one seed agree in every bit, replays of a recorded step draw anew, forward and
backward the same; but the mask is not the one that other libraries draw. It is the one exception.
"""

from __future__ import annotations

import functools
from typing import Any

import cupy

from portable_nn.backend.notices import notice
from portable_nn.backend.random import keep_threshold
from portable_nn.kernels.cupy import attention
from portable_nn.kernels.cupy.cudnn_calls import attend, pull, sizes_of
from portable_nn.kernels.cupy.cudnn_plans import obstacle
from portable_nn.kernels.cupy.heads import PIECE, alike, four_axes, like, parts, readable, returned, stored
from portable_nn.kernels.cupy.launch import empty
from portable_nn.kernels.cupy.products import half_dtype
from portable_nn.kernels.registry import register

_WIDEST = 128  # of what cuDNN has a gradient for on every GPU since Ampere
_FLOAT32 = cupy.dtype("float32")


@functools.cache
def _is_recent(device: int) -> bool:
    return int(cupy.cuda.Device(device).compute_capability) >= 80


def _separate(arrays: tuple, mask: Any, keeps: bool, causal: bool, scale: float, dropout_p: float,
              stream: Any) -> tuple | None:
    arrays = tuple([readable(stored(four_axes(x))) for x in arrays])
    return attend(arrays, mask, stream, sizes_of(arrays, mask, causal, scale, dropout_p, stream, False), keeps)


def forward(query: Any, key: Any, value: Any, mask: Any, **options: Any) -> tuple[Any, Any]:
    found = _separate((query, key, value), mask, True, **options)
    if found is None:
        out, saved = attention.forward(query, key, value, mask, **options)
        return out, (None, saved)
    given = [(x.dtype, x.shape) for x in (query, key, value)]
    return found[1].reshape(*query.shape[:-1], value.shape[-1]), (found, given)


def infer(query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
    found = _separate((query, key, value), mask, False, **options)
    if found is None:
        return attention.infer(query, key, value, mask, **options)
    return found[1].reshape(*query.shape[:-1], value.shape[-1])


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    found, given = saved
    if found is None:
        return attention.backward(xp, g, given, needs)
    gradients = tuple([like(x, x.shape[3]) for x in found[0].arrays])
    pull(g, found, gradients)
    return *(returned(x, dtype).reshape(shape) if need else None
             for x, need, (dtype, shape) in zip(gradients, needs, given, strict=False)), None


def supports(query: Any, key: Any, value: Any, mask: Any, *, causal: bool, scale: float, dropout_p: float,
             stream: Any) -> bool:
    widths = query.shape[-1], value.shape[-1]
    return (alike(query, key, value) and query.size * key.size * value.size > 0 and (mask is None or query.ndim <= 4)
            and _takes(query, mask, widths, query.shape[-2], dropout_p, stream))


def _takes(x: Any, mask: Any, widths: tuple[int, ...], queries: int, dropout_p: float, stream: Any) -> bool:
    if x.dtype == _FLOAT32 and half_dtype() is None or x.dtype.char == "d":
        return False
    if (mask is not None and mask.dtype.char == "?" or stream is not None and keep_threshold(dropout_p) == 65536
            or any(n % PIECE or n > _WIDEST for n in widths) or queries < 2
            or not _is_recent(cupy.cuda.runtime.getDevice())):
        return False
    reason = obstacle()
    if reason is not None:
        notice(f"attention in half precision is our own kernel's, several times slower than cuDNN's: {reason}")
    return reason is None


def _packed(packed: Any, mask: Any, keeps: bool, causal: bool, scale: float, dropout_p: float, stream: Any) -> Any:
    packed = stored(packed)
    if not packed.flags.c_contiguous or packed.data.ptr % (2 * PIECE):
        packed = packed.copy(order="C")
    arrays = parts(packed)
    return attend(arrays, mask, stream, sizes_of(arrays, mask, causal, scale, dropout_p, stream, True), keeps)


def forward_packed(packed: Any, mask: Any, **options: Any) -> tuple[Any, Any]:
    found = _packed(packed, mask, True, **options)
    if found is None:
        out, saved = attention.forward_packed(packed, mask, **options)
        return out, (None, saved)
    return cupy.swapaxes(found[1], 1, 2), (found, (packed.dtype, packed.shape))


def infer_packed(packed: Any, mask: Any, **options: Any) -> Any:
    found = _packed(packed, mask, False, **options)
    return attention.infer_packed(packed, mask, **options) if found is None else cupy.swapaxes(found[1], 1, 2)


def backward_packed(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    found, given = saved
    if found is None:
        return attention.backward_packed(xp, g, given, needs)
    gradient = empty(given[1], found[1].dtype)
    pull(cupy.swapaxes(g, 1, 2), found, parts(gradient))
    return returned(gradient, given[0]), None


def supports_packed(packed: Any, mask: Any, *, causal: bool, scale: float, dropout_p: float, stream: Any) -> bool:
    return (alike(packed) and packed.size > 0
            and _takes(packed, mask, packed.shape[-1:], packed.shape[1], dropout_p, stream))


register("attention", "cupy", forward, backward, supports, infer=infer)
register("packed_attention", "cupy", forward_packed, backward_packed, supports_packed, infer=infer_packed)
