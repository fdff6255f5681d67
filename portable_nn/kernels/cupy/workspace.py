"""Memory that the blocks of a launch leave something in for each other: see src/last.cuh."""

from __future__ import annotations

import threading
from typing import Any

import cupy

#: Counters of 32 bits, as last.cuh counts them, and the bytes behind them: 1024 blocks' sums of 256 columns.
COUNTERS, SIZE = 1024, 1024 * 256 * 4
_PER_THREAD = 2  # cudaStreamPerThread: one number for the streams of all threads
_kept: dict[tuple[int, int, int], Any] = {}


def workspace() -> int:
    """The address of the current stream's workspace on the current device, for a launch of this moment.

    Launches of one stream run one after the other, so they share it, and each leaves all counters at 0. A graph keeps
    that of the stream it was recorded on, and graphs of one stream run one after the other too (`graphs.Graphs`). It
    is made when a stream first asks for it, which must not be while it is recorded.
    """
    stream = cupy.cuda.get_current_stream().ptr
    key = cupy.cuda.runtime.getDevice(), stream, threading.get_ident() if stream == _PER_THREAD else 0
    found = _kept.get(key)
    if found is None:
        # Not from CuPy's pool: a captured step's would be in use here when the step is gone.
        memory = cupy.cuda.MemoryPointer(cupy.cuda.Memory(4 * COUNTERS + SIZE), 0)
        cupy.ndarray((COUNTERS,), cupy.uint32, memory).fill(0)
        found = _kept.setdefault(key, memory)
    return found.ptr
