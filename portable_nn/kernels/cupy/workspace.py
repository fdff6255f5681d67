"""Memory that the blocks of a launch leave something in for each other: see src/last.cuh."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import cupy

#: Counters of 32 bits, as last.cuh counts them, and the bytes behind them: 1024 blocks' sums of 256 columns.
COUNTERS, SIZE = 1024, 1024 * 256 * 4
#: Streams whose memory is kept.
_STREAMS = 64
_PER_THREAD = 2  # cudaStreamPerThread: one number for the streams of all threads
#: Device, stream and thread -> the stream, which is held so that no other gets its address, and its memory.
_kept: OrderedDict[tuple[int, int, int], tuple[Any, Any]] = OrderedDict()


def workspace() -> int:
    """The address of the current stream's memory on the current device, for a launch of this moment.

    Launches of one stream run one after the other, so they share it, and each leaves all counters at 0. A stream that
    records (`graphs.RecordingStream`) has its own, which its graphs go on using; they too run one after the other. It
    is made when a stream first asks for it, which must not be while it is recorded.
    """
    stream = cupy.cuda.get_current_stream()
    if hasattr(stream, "shared"):
        if stream.shared is None:
            stream.shared = _made()
        return stream.shared.ptr
    key = cupy.cuda.runtime.getDevice(), stream.ptr, threading.get_ident() if stream.ptr == _PER_THREAD else 0
    found = _kept.get(key)
    if found is None:
        found = _kept.setdefault(key, (stream, _made()))
        while len(_kept) > _STREAMS:
            _kept.popitem(last=False)  # freeing it waits for the device
    return found[1].ptr


def _made() -> Any:
    # Not from CuPy's pool: a captured step's would be in use here when the step is gone.
    memory = cupy.cuda.MemoryPointer(cupy.cuda.Memory(4 * COUNTERS + SIZE), 0)
    cupy.ndarray((COUNTERS,), cupy.uint32, memory).fill(0)
    return memory
