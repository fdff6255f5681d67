"""Memory as a GPU's allocator gives it: aligned, with nothing sensible in it, and with guards on both sides."""

from __future__ import annotations

import contextvars
import threading
import weakref
from typing import Any

import numpy as np

#: Bytes before and after each piece, all bits set: NaN if they are read, and seen to be changed if they are written.
GUARD = 512
FILL = 0xFF
#: The bytes that a piece lies in -> the piece: how the owner of a view is found.
_pieces: weakref.WeakValueDictionary[int, Piece] = weakref.WeakValueDictionary()


class Piece:
    """Some bytes of "device" memory."""

    def __init__(self, size: int, device: int) -> None:
        self.size, self.device, self.pool, self.thread = size, device, current_pool(), threading.current_thread()
        self._whole = np.full(size + 3 * GUARD, FILL, dtype=np.uint8)
        start = GUARD + -self._whole.ctypes.data % GUARD
        self.bytes = self._whole[start:start + size]
        self._before, self._after = self._whole[start - GUARD:start], self._whole[start + size:start + size + GUARD]
        self.ptr = int(self._whole.ctypes.data) + start
        _pieces[id(self._whole)] = self
        keep(self._whole)
        self.pool.take(size)

    def intact(self) -> bool:
        return bool((self._before == FILL).all() and (self._after == FILL).all())

    def __del__(self) -> None:
        if hasattr(self, "ptr"):
            self.pool.give_back(self.size)


def pieces() -> list[Piece]:
    """All that are somebody's; their references are listed at once, as other threads make pieces meanwhile."""
    return [piece for reference in _pieces.valuerefs() if (piece := reference()) is not None]


def owner(a: np.ndarray) -> Piece | None:
    """The piece that a NumPy array is a view of."""
    while isinstance(a.base, np.ndarray):
        a = a.base
    return _pieces.get(id(a))


def keep(memory: np.ndarray) -> None:
    """A graph's memory stays where it is for as long as the graph: its launches may know it by address alone."""
    from cupy._device import current_stream

    if current_stream().is_capturing():
        current_stream()._memory.append(memory)


def all_intact() -> bool:
    """Whether nobody has written beside a piece."""
    return all(piece.intact() for piece in pieces())


def is_taken(pointer: int) -> bool:
    """Whether an address lies in a piece that somebody has."""
    return any(piece.ptr <= pointer < piece.ptr + max(piece.size, 1) for piece in pieces())


def contents() -> list[tuple[Piece, np.ndarray]]:
    """Every piece that this thread has made, or one that has ended, with a copy of its bytes."""
    own = [piece for piece in pieces()
           if piece.thread is threading.current_thread() or not piece.thread.is_alive()]
    return [(piece, piece.bytes.copy()) for piece in own]


def restore(before: list[tuple[Piece, np.ndarray]]) -> None:
    for piece, old in before:
        piece.bytes[...] = old


class MemoryPool:
    """Counts what its arrays use, in CuPy's units of 512 bytes; what is given back stays its own, as CuPy's does."""

    def __init__(self, allocator: Any = None) -> None:
        self._used = self._total = 0

    def take(self, size: int) -> None:
        self._used += -(-size // 512) * 512
        self._total = max(self._total, self._used)

    def give_back(self, size: int) -> None:
        self._used -= -(-size // 512) * 512

    def malloc(self, size: int) -> Any:
        raise NotImplementedError("of a stand-in's pool only `using_allocator(pool.malloc)` is there")

    def used_bytes(self) -> int:
        return self._used

    def total_bytes(self) -> int:
        return self._total

    def free_bytes(self) -> int:
        return self._total - self._used

    def free_all_blocks(self, stream: Any = None) -> None:
        self._total = self._used


class Memory:
    """Bytes straight from the driver, of no pool."""

    def __init__(self, size: int) -> None:
        from cupy._device import current_device, refuse_capture

        refuse_capture("cudaMalloc")
        with using_allocator(MemoryPool().malloc):
            self.piece = Piece(size, current_device())
        self.ptr, self.size, self.device_id = self.piece.ptr, size, current_device()


class MemoryPointer:
    def __init__(self, mem: Any, offset: int) -> None:
        self.mem, self.ptr = mem.piece, mem.ptr + offset
        self.memory = mem


class _Pinned(np.ndarray):
    """Bytes of the host's; given back, they are overwritten at once, as by the next to get them from CuPy's pool."""

    def __del__(self) -> None:
        if self.base is not None and isinstance(self.base, bytearray):
            np.frombuffer(self.base, np.uint8)[...] = FILL


#: What was given back stays somebody's, so that writing to it does no harm here.
_given: list[bytearray] = []


def alloc_pinned_memory(size: int) -> Any:
    """As CuPy's, from a pool; of 512 bytes and their multiples."""
    _given.append(bytearray(-(-size // 512) * 512))
    return np.ndarray.__new__(_Pinned, (len(_given[-1]),), np.uint8, _given[-1])


default_pool = MemoryPool()
_current: contextvars.ContextVar[MemoryPool] = contextvars.ContextVar("pool", default=default_pool)
current_pool = _current.get


class using_allocator:
    """`with using_allocator(pool.malloc):` for the arrays that are made inside."""

    def __init__(self, allocator: Any = None) -> None:
        self._pool = default_pool if allocator is None else allocator.__self__

    def __enter__(self) -> None:
        self._token = _current.set(self._pool)

    def __exit__(self, *exception: Any) -> None:
        _current.reset(self._token)
