"""dropout and add_dropout on CuPy: the mask is drawn inside the kernel, forward and again backward, and is NumPy's bit
for bit."""

from __future__ import annotations

from typing import Any

import cupy

from portable_nn.backend.random import Stream, keep_threshold, key_and_counter
from portable_nn.kernels.cupy.launch import SCALARS, WIDE, contiguous, empty, is_floating, kernel
from portable_nn.kernels.registry import register

#: Elements that one block of threads works on.
BLOCK = 4096
_NOTHING_DROPPED = (0, 1.0, 0, 0, 0, 0, 0, 0)


def stream_arguments(stream: Stream) -> tuple:
    """Seed, path, step, call and rank as a kernel takes them (`uint64`), and a pointer to what is added to the step.

    Of a captured step that is an array on the device, which replays advance; else none.
    """
    (seed, path), (_, step, call, rank) = key_and_counter(stream)
    numbers = tuple([x if x < 2**63 else x - 2**64 for x in (seed, path, step, call, rank)])
    return *numbers, getattr(stream.step, "offset", 0)


def dropping(p: float, stream: Stream | None) -> tuple:
    """What DROPPING_PARAMETERS of dropping.cuh take: the threshold, 0 where nothing is dropped, then the rest."""
    threshold = keep_threshold(p)
    if threshold == 0 or stream is None:
        return _NOTHING_DROPPED
    return threshold, 65536 / (65536 - threshold) if threshold < 65536 else 0.0, *stream_arguments(stream)


def wider(x: Any, y: Any) -> Any:
    """The dtype of a sum."""
    return x.dtype if x.dtype.itemsize >= y.dtype.itemsize else y.dtype


def drop(x: Any, y: Any, dtype: Any, how: tuple) -> Any:
    """x + dropout(y), where x may be None, in a dtype."""
    x, y = None if x is None else contiguous(x), contiguous(y)
    out = empty(y.shape, dtype)
    if y.size:
        chars = {dtype.char, y.dtype.char} if x is None else {dtype.char, y.dtype.char, x.dtype.char}
        if len(chars) == 1:
            function = kernel("dropout", "dropout", dtype.char)
        else:
            types = [f"{name}={SCALARS[(y if z is None else z).dtype.char]}" for name, z in (("X", x), ("Y", y))]
            function = kernel("dropout", "dropout", "d" if "d" in chars else "f", *types, f"OUT={SCALARS[dtype.char]}",
                              f"PACK={max(WIDE[char] for char in chars)}")
        function((-(-y.size // BLOCK),), (32, 8), (0 if x is None else x, y, out, y.size, *how))
    return out


def forward(x: Any, *, p: float, stream: Stream) -> tuple[Any, Any]:
    how = dropping(p, stream)
    if how[0] == 0:
        return x, None
    return drop(None, x, x.dtype, how) if how[0] < 65536 else cupy.zeros(x.shape, x.dtype), (how, x.dtype)


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    if saved is None:
        return (g,)
    how, dtype = saved
    return (drop(None, g, dtype, how) if how[0] < 65536 else cupy.zeros(g.shape, dtype),)


def add_dropout(x: Any, y: Any, *, p: float, stream: Stream | None) -> tuple[Any, Any]:
    how = dropping(p, stream)
    return drop(x, y, wider(x, y), how), (how, x.dtype, y.dtype)


def add_dropout_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    how, x_dtype, y_dtype = saved
    g_x = g.astype(x_dtype, copy=False) if needs[0] else None
    if not needs[1]:
        return g_x, None
    if how[0]:
        return g_x, drop(None, g, y_dtype, how)
    return g_x, g_x if g_x is not None and x_dtype == y_dtype else g.astype(y_dtype, copy=False)


def supports(x: Any, *, p: float, stream: Stream) -> bool:
    return is_floating(x)


def supports_sum(x: Any, y: Any, *, p: float, stream: Stream | None) -> bool:
    return is_floating(x) and is_floating(y) and p < 1


register("dropout", "cupy", forward, backward, supports)
register("add_dropout", "cupy", add_dropout, add_dropout_backward, supports_sum)
