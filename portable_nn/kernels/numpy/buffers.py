"""Memory for large arrays that is used again once nobody can see it any more.

Why it pays: malloc takes large pieces (from 128 KiB on) straight from the system and gives them back when they are
freed, and the first touch of every new page costs a fault: three temporaries of 1 MB take 1.3 ms where the additions in
them take 0.07. `empty(shape, dtype)` stands in for `np.empty`. It keeps the memory that it hands out, and hands it out
again only when nothing but the pool refers to it: an array holds on to its memory through its `base`, and so do
views of it, of whatever kind and whoever took them. What is kept never exceeds what has been in use at one time (or
2 MB), and what has not been asked for again for a while is let go.

`scratch(shape, dtype)` is memory of the calling thread, for work arrays inside a kernel: small, warm in the cache, and
free again when the kernel drops it. Both count references, so elsewhere than on CPython with its lock they are
`np.empty`.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from operator import attrgetter
from typing import Any

import numpy as np

#: Bytes from which an array is worth a place in the pool: malloc is quick below.
LEAST = 65_536
#: Requests after which the pool lets go of what was not asked for in between.
PERIOD = 2048
#: Bytes that may be kept whatever has been in use.
ROOM = 1 << 21
_ALIGNMENT = 64  # a cache line, and the widest vector register


class _Piece:
    """Memory from the system, and the request that it was last handed out for."""

    __slots__ = ("base", "offset", "request", "size")

    def __init__(self, size: int, request: int) -> None:
        self.size, self.request = size, request
        self.base = np.empty(size + _ALIGNMENT, dtype=np.uint8)
        self.offset = -self.base.ctypes.data % _ALIGNMENT

    def references(self) -> int:
        return sys.getrefcount(self.base)


_size, _request = attrgetter("size"), attrgetter("request")


class Pool:
    """Pieces of memory, by size. `Pool().empty` is `np.empty`, in memory that may have been used before."""

    def __init__(self) -> None:
        self.pieces: dict[int, list[_Piece]] = {}
        self.lock = threading.Lock()
        self.requests = self.trimmed = self.peak = 0

    def empty(self, shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array of a shape and dtype, uninitialised."""
        dtype = np.dtype(dtype)
        count = shape if isinstance(shape, int) else math.prod(shape)
        size = count * dtype.itemsize
        if size < LEAST or not _COUNTS or dtype.hasobject:
            return np.empty(shape, dtype=dtype)
        step = 1 << (size.bit_length() - 5)  # sizes that differ by less than 1/16 share their memory
        base, offset = self._take(-(-size // step) * step)
        return np.ndarray(shape, dtype, base, offset)

    def _take(self, size: int) -> tuple[np.ndarray, int]:
        with self.lock:  # until the memory is referred to, or two threads would get the same
            self.requests += 1
            if self.requests - self.trimmed >= PERIOD:
                self._trim()
            for piece in self.pieces.get(size, ()):
                if piece.references() <= _IDLE:
                    piece.request = self.requests
                    return piece.base, piece.offset
            larger = self._make_room(size)
            if larger is not None:
                larger.request = self.requests
                return larger.base, larger.offset
        piece = _Piece(size, self.requests)
        memory = piece.base, piece.offset
        with self.lock:
            self.pieces.setdefault(size, []).append(piece)
        return memory

    def _make_room(self, size: int) -> _Piece | None:
        """Room for a new piece within the most that was ever in use at once.

        Where there is none, the smallest idle piece of up to twice the size stands in, or idle ones are let go, the
        longest unused first.
        """
        pieces = [piece for group in self.pieces.values() for piece in group]
        idle = [piece for piece in pieces if piece.references() <= _IDLE]
        total = sum(piece.size for piece in pieces) + size
        self.peak = max(self.peak, ROOM, total - sum(piece.size for piece in idle))
        if total > self.peak:
            larger = min((piece for piece in idle if size < piece.size <= 2 * size), key=_size, default=None)
            if larger is not None:
                return larger
        for piece in sorted(idle, key=_request):
            if total <= self.peak:
                break
            total -= piece.size
            self.pieces[piece.size].remove(piece)
        return None

    def _trim(self) -> None:
        """Let go of all pieces that were not handed out since the last time, those still in use elsewhere included."""
        for size, group in list(self.pieces.items()):
            self.pieces[size] = [piece for piece in group if piece.request > self.trimmed]
        self.trimmed = self.requests
        self.peak = sum(piece.size for group in self.pieces.values() for piece in group)

    def clear(self) -> None:
        """Let go of everything."""
        with self.lock:
            self.pieces, self.peak = {}, 0

    def held(self) -> int:
        """Bytes of all pieces, idle or in use."""
        return sum(piece.size for group in self.pieces.values() for piece in group)


#: References to a piece's memory while nobody uses it: how many the interpreter itself has differs by version.
_IDLE = _Piece(0, 0).references() if hasattr(sys, "getrefcount") else 0
#: Whether counts of references can be trusted.
_COUNTS = sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()


class _Local(threading.local):
    def __init__(self) -> None:
        self.pool = Pool()


_shared, _local = Pool(), _Local()


def _forget() -> None:
    """In a forked child: another thread may have held the lock."""
    global _shared, _local
    _shared, _local = Pool(), _Local()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def empty(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """`np.empty`; a large array's memory is used again once neither it nor a view of it is referred to."""
    return _shared.empty(shape, dtype)


def scratch(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """A work array of the calling thread, uninitialised, to be dropped before the kernel returns.

    Several at once are the rows of one: `t, u = scratch((2, count), dtype)`.
    """
    return _local.pool.empty(shape, dtype)


def clear() -> None:
    """Give idle memory back to the system: what is in use goes once it is no longer needed."""
    _shared.clear()
    _local.pool.clear()
