"""Memory that launches of one stream share: what blocks of a launch leave in for each other, what products work in."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import cupy

#: Counters of 32 bits, as src/last.cuh counts them, and the bytes behind them: 1024 blocks' sums of 256 columns.
COUNTERS, SIZE = 1024, 1024 * 256 * 4
_PER_THREAD = 2  # cudaStreamPerThread: one number for the streams of all threads


class PerStream:
    """Something that every stream has one of, on its device: two streams would write to it at once.

    Launches of one stream run one after the other, so they share it. A stream that records (`graphs.RecordingStream`)
    has its own, which its graphs go on using; they too run one after the other. It is made when a stream first asks for
    it, which must not be while it is recorded.

    Parameters
    ----------
    attribute : str
        Where recording streams keep theirs.
    make : callable
        Makes one on the current device.
    most : int
        Streams whose memory is kept; the one used least recently makes room.
    """

    def __init__(self, attribute: str, make: Callable[[], Any], most: int) -> None:
        self.attribute, self.make, self.most = attribute, make, most
        #: Device, stream and thread -> the stream, which is held so that no other gets its address, and what it has.
        self.kept: OrderedDict[tuple[int, int, int], tuple[Any, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, stream: Any) -> Any:
        """What a stream has on the current device."""
        if hasattr(stream, self.attribute):
            if getattr(stream, self.attribute) is None:
                setattr(stream, self.attribute, self.make())
            return getattr(stream, self.attribute)
        thread = threading.get_ident() if stream.ptr == _PER_THREAD else 0
        key = cupy.cuda.runtime.getDevice(), stream.ptr, thread
        with self._lock:
            if key not in self.kept:
                self.kept[key] = stream, self.make()
            self.kept.move_to_end(key)
            if len(self.kept) > self.most:
                self.kept.popitem(last=False)  # freeing it waits for the device
            return self.kept[key][1]


def _make_shared() -> Any:
    # Not from CuPy's pool: a captured step's would be in use here when the step is gone.
    memory = cupy.cuda.MemoryPointer(cupy.cuda.Memory(4 * COUNTERS + SIZE), 0)
    cupy.ndarray((COUNTERS,), cupy.uint32, memory).fill(0)
    return memory


_shared = PerStream("shared", _make_shared, 64)


def workspace() -> int:
    """The address of what the current stream's blocks share, for a launch of now; each leaves the counters at 0."""
    return _shared.of(cupy.cuda.get_current_stream()).ptr
