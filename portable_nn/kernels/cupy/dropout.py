"""dropout on CuPy: the mask is drawn inside the kernel, forward and again backward, and is NumPy's bit for bit."""

from __future__ import annotations

from typing import Any

import cupy

from portable_nn.backend.random import Stream, keep_threshold, key_and_counter
from portable_nn.kernels.cupy.launch import contiguous, empty, is_floating, kernel
from portable_nn.kernels.registry import register

#: Elements that one block of threads works on.
_BLOCK = 4096


def stream_arguments(stream: Stream) -> tuple:
    """Seed, path, step, call and rank as a kernel takes them (`uint64`), and a pointer to what is added to the step.

    Of a captured step that is an array on the device, which replays advance; else none.
    """
    (seed, path), (_, step, call, rank) = key_and_counter(stream)
    numbers = tuple([x if x < 2**63 else x - 2**64 for x in (seed, path, step, call, rank)])
    return *numbers, getattr(stream.step, "offset", 0)


def _drop(x: Any, threshold: int, numbers: tuple) -> Any:
    x = contiguous(x)
    out = empty(x.shape, x.dtype)
    if x.size:
        scale = 1 / (1 - threshold / 65536)
        kernel("dropout", "dropout", x.dtype.char)((-(-x.size // _BLOCK),), (256,),
                                                   (x, out, x.size, threshold, scale, *numbers))
    return out


def forward(x: Any, *, p: float, stream: Stream) -> tuple[Any, Any]:
    threshold = keep_threshold(p)
    if threshold == 0:
        return x, None
    if threshold == 65536:
        return cupy.zeros(x.shape, x.dtype), (threshold, None)
    numbers = stream_arguments(stream)
    return _drop(x, threshold, numbers), (threshold, numbers)


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    if saved is None:
        return (g,)
    threshold, numbers = saved
    return (cupy.zeros(g.shape, g.dtype) if numbers is None else _drop(g, threshold, numbers),)


def supports(x: Any, *, p: float, stream: Stream) -> bool:
    return is_floating(x)


register("dropout", "cupy", forward, backward, supports)
