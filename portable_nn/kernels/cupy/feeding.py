"""Batches on their way to the GPU: pinned memory, and a stream beside the one that computes."""

from __future__ import annotations

import sys
from collections import deque
from contextlib import suppress
from typing import Any

import cupy
import numpy as np

from portable_nn.backend.devices import working_on
from portable_nn.kernels.cupy.launch import empty
from portable_nn.kernels.cupy.uploads import recorded
from portable_nn.kernels.registry import register


class Sender:
    """Copies host arrays to one GPU without waiting, while it computes.

    An array is made in memory of the current stream, so the copy first waits for what that stream has been given so
    far; what is given to it until the batch is taken runs beside the copy.

    Parameters
    ----------
    device : cupy.cuda.Device
    """

    def __init__(self, device: Any) -> None:
        self.device = device
        with working_on(device):
            self._stream = cupy.cuda.Stream(non_blocking=True)
        self._made: list[Any] = []  # arrays of the batch under way
        self._pinned: list[Any] = []
        self._sent: deque[tuple[Any, list[Any]]] = deque()  # pinned memory, until its copy is done

    def begin(self) -> None:
        """Begin a batch."""
        self.wait()
        self._made, self._pinned = [], []

    def wait(self) -> None:
        """Have later copies wait for what the current stream has been given since: it may have given memory back."""
        self._stream.wait_event(recorded(cupy.cuda.get_current_stream()))

    def send(self, x: np.ndarray, dtype: np.dtype) -> Any:
        """Start the copy of one array of the batch, cast to `dtype`."""
        with working_on(self.device):
            out = empty(x.shape, dtype)
            self._made.append(out)
            if out.nbytes:
                memory = cupy.cuda.alloc_pinned_memory(out.nbytes)
                host = np.frombuffer(memory, dtype=dtype, count=out.size).reshape(x.shape)
                np.copyto(host, x, casting="same_kind")
                self._pinned.append(memory)
                cupy.cuda.runtime.memcpyAsync(out.data.ptr, host.ctypes.data, out.nbytes,
                                              cupy.cuda.runtime.memcpyHostToDevice, self._stream.ptr)
            return out

    def end(self) -> Any:
        """End the batch; returns what `take` is to be given."""
        event, self._made = recorded(self._stream), []
        self._sent.append((event, self._pinned))
        while len(self._sent) > 4:
            done, _ = self._sent.popleft()
            done.synchronize()
        return event

    def abandon(self) -> None:
        """Give up a batch that was begun: its memory is given back, but not before it has been written to."""
        made = self._made
        self.take(self.end())
        made.clear()

    def __del__(self) -> None:
        if not sys.is_finalizing() and getattr(self, "_sent", None):
            with suppress(Exception):  # CuPy would give pinned memory away that copies are still to be made from
                self._stream.synchronize()

    @staticmethod
    def take(event: Any) -> None:
        """Have the current stream wait until a batch is there."""
        cupy.cuda.get_current_stream().wait_event(event)


register("sender", "cupy", Sender)
