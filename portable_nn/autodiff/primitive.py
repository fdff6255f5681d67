"""Primitives of our own: functions that the standard lacks and gradient rules need, on arrays and on Tensors alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import array_api_compat

from portable_nn.autodiff.rules import define_rule
from portable_nn.backend.namespace import array_namespace
from portable_nn.backend.scatter import scatter_add


class Primitive:
    """A function of one array, `forward(xp, x, **options)`, recorded under `name` when x is a Tensor."""

    def __init__(self, name: str, forward: Callable[..., Any]) -> None:
        self.name, self.forward = name, forward

    def __call__(self, x: Any, **options: Any) -> Any:
        xp = array_namespace(x)
        if not hasattr(xp, "record_operation"):
            return self.forward(xp, x, **options)
        options = {key: xp.unwrap(value) if hasattr(value, "_node") else value for key, value in options.items()}
        return xp.record_operation(self.name, partial(self.forward, xp.raw), ("x",), (x,), options)


def _scatter_rows(xp: Any, x: Any, *, indices: Any, size: int) -> Any:
    negative = indices < 0
    return scatter_add(xp.where(negative, indices + size, indices), x, size)


def _place(xp: Any, x: Any, *, key: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of `shape` with x added at `key`; whatever the key, its flat positions say where each element goes."""
    device = x.device
    if x.size == math.prod(shape) and _is_basic(key) and not _turns(key):
        return xp.reshape(x, shape)  # all of it was taken, as by h[-1, ...] of one layer: nothing to add zeros to
    if _is_basic(key) and hasattr(type(x), "__setitem__") and "jax" not in xp.__name__:
        whole = xp.zeros(shape, dtype=x.dtype, device=device)
        write(xp, whole, key, x)
        return whole
    size = math.prod(shape)
    positions = xp.reshape(xp.arange(size, dtype=index_dtype(xp, device), device=device), shape)[key]
    return xp.reshape(scatter_add(xp.reshape(positions, (-1,)), xp.reshape(x, (-1,)), size), shape)


def index_dtype(xp: Any, device: Any) -> Any:
    """The integer dtype of positions: int64, but some devices have none."""
    return xp.__array_namespace_info__().default_dtypes(device=device)["indexing"]


def write(xp: Any, whole: Any, key: Any, x: Any) -> None:
    """`whole[key] = x` for x of the shape of `whole[key]`; None may occur, which the standard does not assign to."""
    if isinstance(key, tuple) and any(part is None for part in key):
        key = tuple([part for part in key if part is not None])
        x = xp.reshape(x, whole[key].shape)
    whole[key] = x


def _is_basic(key: Any) -> bool:
    parts = key if isinstance(key, tuple) else (key,)
    return all(part is None or part is Ellipsis or isinstance(part, (int, slice)) for part in parts)


def _turns(key: Any) -> bool:
    """Whether a basic key takes elements backwards."""
    parts = key if isinstance(key, tuple) else (key,)
    return any(isinstance(part, slice) and part.step is not None and part.step < 0 for part in parts)


def _place_along_axis(xp: Any, x: Any, *, indices: Any, axis: int, shape: tuple[int, ...]) -> Any:
    axis %= len(shape)
    length = shape[axis]
    moved = (*shape[:axis], *shape[axis + 1:], length)
    indices = xp.moveaxis(xp.broadcast_to(indices, x.shape), axis, -1)
    indices = xp.where(indices < 0, indices + length, indices)
    rows = math.prod(moved[:-1])
    start = xp.reshape(xp.arange(rows, dtype=indices.dtype, device=x.device) * length, (rows, 1))
    flat = xp.reshape(xp.reshape(indices, (rows, indices.shape[-1])) + start, (-1,))
    values = xp.reshape(xp.moveaxis(x, axis, -1), (-1,))
    whole = xp.reshape(scatter_add(flat, values, rows * length), moved)
    return xp.moveaxis(whole, -1, axis)


def to_native_device(x: Any, device: Any, stream: Any = None) -> Any:
    """x on another device of its own library."""
    options = {} if stream is None else {"stream": stream}
    return x.to_device(device, **options) if hasattr(x, "to_device") else array_api_compat.to_device(x, device,
                                                                                                     **options)


scatter_rows = Primitive("scatter_rows", _scatter_rows)
place = Primitive("place", _place)
place_along_axis = Primitive("place_along_axis", _place_along_axis)

define_rule("scatter_rows", x=lambda xp, g, indices: xp.take(g, indices, axis=0))
define_rule("place", x=lambda xp, g, key: g[key])
define_rule("place_along_axis", x=lambda xp, g, indices, axis: xp.take_along_axis(g, indices, axis=axis))
