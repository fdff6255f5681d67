"""The number 1 on each device, which backward passes begin with: made once, so that a step need not fill it in."""

from __future__ import annotations

from typing import Any

import cupy

_kept: dict[tuple[int, str], Any] = {}


def one_like(x: Any) -> Any:
    """A 1 of x's dtype, on the current device. That of an x of no axes is kept, and must not be written to."""
    if x.shape:
        return cupy.ones_like(x)
    key = cupy.cuda.runtime.getDevice(), x.dtype.char
    found = _kept.get(key)
    if found is None:
        stream = cupy.cuda.get_current_stream()
        if stream.is_capturing():
            return cupy.ones_like(x)
        # Not from CuPy's pool: a captured step's would keep the whole of it.
        memory = cupy.cuda.MemoryPointer(cupy.cuda.Memory(x.dtype.itemsize), 0)
        made = cupy.ndarray((), x.dtype, memory)
        made.fill(1)
        stream.synchronize()  # once: other streams will read it
        found = _kept.setdefault(key, made)
    return found


def is_one(x: Any) -> bool:
    """Whether x is a 1 that `one_like` keeps, so that what is multiplied with it stays as it is."""
    return any(x is one for one in tuple(_kept.values()))  # another thread may add one
