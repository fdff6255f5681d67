"""Small device arrays that the host writes to again and again without waiting for the device, and reads late."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from portable_nn.backend.capturing import captured_step
from portable_nn.kernels.registry import register

#: Copies under way at a time. An event is recorded after each half of them, and waited for before the half is reused.
SLOTS = 64


def recorded(stream: Any) -> Any:
    """An event after what a stream has been given so far; one that takes no times, as CuPy's own would."""
    return stream.record(cupy.cuda.Event(disable_timing=True))


class Upload:
    """An array on the device, and pinned memory on the host from which it is filled by asynchronous copies.

    What is sent goes along the current stream, so launches queued before still read the old values and later ones the
    new. Within a captured step that is being recorded nothing is sent: the graph itself brings what was written to its
    place, now and whenever it is launched; see `exchanges`.

    Parameters
    ----------
    size : int
        In bytes, a multiple of 8.

    Attributes
    ----------
    array : CuPy uint8 array (size,)
    sent : NumPy uint8 array (size,)
        What was written for the step that is being recorded.
    into : NumPy uint8 array (size,) or None
        Where a graph about to be launched looks for what would be sent.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.array = cupy.zeros((size,), dtype=cupy.uint8)
        # Not from CuPy's pool: the next to get it would write to what the last copies are still to be made from.
        self._memory = cupy.cuda.PinnedMemoryPointer(cupy.cuda.PinnedMemory(SLOTS * size), 0)
        host = np.frombuffer(self._memory, dtype=np.uint8, count=SLOTS * size).reshape(SLOTS, size)
        host[...] = 0
        self._slots = list(host)
        self._host, self._target = host.ctypes.data, self.array.data.ptr
        self._events = [cupy.cuda.Event(disable_timing=True) for _ in range(2)]
        self._next = 0
        self.sent: np.ndarray = self._slots[0]
        self.into: np.ndarray | None = None

    def view(self, start: int, count: int, dtype: Any) -> Any:
        """`count` numbers from byte `start` of the device array."""
        return self.array[start:start + count * np.dtype(dtype).itemsize].view(dtype)

    def slot(self) -> np.ndarray:
        """Host memory to write the next values to, all of them: it holds those of some earlier copy. One of `SLOTS`
        arrays, always the same ones.
        """
        half, place = divmod(self._next % SLOTS, SLOTS // 2)
        if place == 0:
            self._events[half].synchronize()
        return self._slots[self._next % SLOTS]

    def send(self) -> None:
        """Copy what was written to the slot."""
        number = self._next % SLOTS
        if self.into is not None:
            self.into[...] = self._slots[number]
            return
        step = captured_step()
        if step is not None and step.recording:
            self.sent = self._slots[number].copy()
            step.hold(self)
            return
        self._next += 1
        stream = cupy.cuda.get_current_stream()
        cupy.cuda.runtime.memcpyAsync(self._target, self._host + number * self.size, self.size,
                                      cupy.cuda.runtime.memcpyHostToDevice, stream.ptr)
        if self._next % (SLOTS // 2) == 0:
            stream.record(self._events[number // (SLOTS // 2)])


class Download:
    """What is in a small device array at some point of the current stream, read by the host when that is past.

    Parameters
    ----------
    array : CuPy array
    """

    def __init__(self, array: Any) -> None:
        self._array = array
        self._memory = cupy.cuda.PinnedMemoryPointer(cupy.cuda.PinnedMemory(array.nbytes), 0)  # not from CuPy's pool
        self._host = np.frombuffer(self._memory, dtype=array.dtype, count=array.size)
        self._event = cupy.cuda.Event(disable_timing=True)

    def start(self) -> None:
        """Have it read after what the current stream has been given."""
        stream = cupy.cuda.get_current_stream()
        cupy.cuda.runtime.memcpyAsync(self._host.ctypes.data, self._array.data.ptr, self._array.nbytes,
                                      cupy.cuda.runtime.memcpyDeviceToHost, stream.ptr)
        stream.record(self._event)

    def numbers(self) -> np.ndarray:
        """What was there then. Waits for it."""
        self._event.synchronize()
        return self._host


register("download", "cupy", Download)
