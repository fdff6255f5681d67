"""Heads of attention as the kernels take them: arrays (outer, inner, rows, width), where they lie and in one dtype."""

from __future__ import annotations

import math
from typing import Any

import cupy

from portable_nn.kernels.cupy.launch import contiguous, empty, is_floating
from portable_nn.kernels.cupy.products import cast, half_dtype, widen

#: Elements of half precision in 16 bytes, which cuDNN moves at once: rows and addresses are multiples of that.
PIECE = 8
_FLOAT32, _INT32 = cupy.dtype("float32"), cupy.dtype("int32")


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


def dense(x: Any, width: int) -> tuple[int, ...]:
    """The strides, in elements, of an array like x with rows of `width`, as `like` makes it."""
    outer, inner, rows, _ = x.shape
    if inner > 1 and x.strides[1] < x.strides[2]:
        return inner * rows * width, width, inner * width, 1
    return inner * rows * width, rows * width, width, 1


def steps(x: Any) -> tuple[int, ...]:
    """The strides of x in elements; of axes of length 1, which say nothing, those that a dense array has."""
    return tuple([step // x.itemsize if n > 1 else other
                  for n, step, other in zip(x.shape, x.strides, dense(x, x.shape[3]), strict=True)])


def readable(x: Any) -> Any:
    """x (outer, inner, rows, width) itself if cuDNN can read it where it lies, else a copy in the same order."""
    if x.data.ptr % (2 * PIECE) == 0 and all(step > 0 and step % PIECE == 0 for step in steps(x)[:3]):
        return x
    inside = x.shape[1] > 1 and 0 < x.strides[1] < x.strides[2]
    return cupy.swapaxes(cupy.swapaxes(x, 1, 2).copy(order="C"), 1, 2) if inside else x.copy(order="C")


def parts(packed: Any) -> tuple[Any, Any, Any]:
    """Query, key and value (B, H, T, D) of an array (B, T, 3, H, D), as views."""
    return tuple([cupy.swapaxes(packed[:, :, i], 1, 2) for i in range(3)])


def stored(x: Any) -> Any:
    """float32 as this context stores it, which may be half precision."""
    half = half_dtype() if x.dtype == _FLOAT32 else None
    return x if half is None else stored_as(x, half)


def stored_as(x: Any, dtype: Any) -> Any:
    """x if it is of this dtype; float32 rounded to it, in the order in which its four axes lie."""
    if x.dtype == dtype:
        return x
    inside = x.ndim == 4 and x.shape[1] > 1 and x.strides[1] < x.strides[2]
    x = cast(cupy.swapaxes(x, 1, 2) if inside else x, dtype.char, dtype)
    return cupy.swapaxes(x, 1, 2) if inside else x


def returned(x: Any, dtype: Any) -> Any:
    """A gradient, contiguous or of four axes, in the dtype of what it is of: its own, or float32."""
    return x if x.dtype == dtype else widen(x, x.dtype.char)


def alike(*arrays: Any) -> bool:
    """Whether arrays are of one dtype once `stored`."""
    if not all(map(is_floating, arrays)):
        return False
    dtypes = {x.dtype for x in arrays}
    return len(dtypes) == 1 or (dtypes == {_FLOAT32, half_dtype()})


def as_int32(lengths: Any) -> Any:
    """Lengths as kernels and cuDNN take them."""
    return contiguous(lengths if lengths.dtype == _INT32 else lengths.astype(_INT32))
