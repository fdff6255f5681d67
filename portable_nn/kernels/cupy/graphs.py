"""CUDA graphs: a step recorded once and launched again, in memory of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import cupy

from portable_nn.backend.devices import working_on
from portable_nn.kernels.cupy import blas
from portable_nn.kernels.cupy.uploads import Upload
from portable_nn.kernels.registry import register

#: Each tells what keeps steps from being recorded, or None; kernels that need something add theirs.
requirements: list[Callable[[], str | None]] = [blas.obstacle]


class RecordingStream(cupy.cuda.Stream):
    """A stream that steps are recorded on. What products work in is its own, as the graphs write to it whenever and
    wherever they are launched: they hold the stream.
    """

    def __init__(self) -> None:
        super().__init__(non_blocking=True)  # so that others may use the default stream meanwhile
        self.workspace: Any = None


class Graphs:
    """The graphs of one captured function on one device, with a stream and a memory pool for all of them.

    Memory that a recorded step has freed stays in the pool, so nothing else is put there between replays. The graphs
    of a pool share it: they run one after the other, and what a step returns is copied out at once.

    Parameters
    ----------
    like : CuPy array
        Of the device.
    """

    def __init__(self, like: Any) -> None:
        self.device = like.device
        self._last: Any = None  # the stream that was last given something to do, which may still be at work
        with working_on(self.device):
            self._stream, self._pool = RecordingStream(), cupy.cuda.MemoryPool()

    @staticmethod
    def obstacle() -> str | None:
        """Why steps cannot be recorded here, and what to do; None if they can."""
        return next(filter(None, (requirement() for requirement in requirements)), None)

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """On our stream and in our pool, after what the current stream has been given; it waits for us."""
        current = self._current()
        self._stream.wait_event(current.record())
        with cupy.cuda.using_allocator(self._pool.malloc), self._stream:
            yield
        current.wait_event(self._stream.record())

    def _current(self) -> Any:
        """The current stream; if it is another than the last time it waits, as all graphs work in the same memory."""
        current = cupy.cuda.get_current_stream()
        if current is not self._last:
            if self._last is not None:
                current.wait_event(self._last.record())
            self._last = current
        return current

    def run(self, function: Callable[[], Any]) -> Any:
        """Call a function as it will be recorded, so that the pool comes to hold the memory it needs."""
        with working_on(self.device), self._aside():
            return function()

    def record(self, function: Callable[[], Any]) -> tuple[Any, Any]:
        """Record what a function launches, without running it; returns its result and the graph."""
        with working_on(self.device), self._aside():
            self._stream.begin_capture()
            try:
                result = function()
            except BaseException:
                with suppress(Exception):  # it was broken by what the function did, and says so
                    self._stream.end_capture()
                raise
            return result, self._stream.end_capture()

    def active(self) -> Any:
        """A context in which this device is the current one, as what follows needs."""
        return working_on(self.device)

    def launch(self, graph: Any) -> None:
        """Run a graph on the current stream."""
        graph.launch(self._current())

    @staticmethod
    def static(x: Any) -> Any:
        """A copy of an input, for a graph to read: `fill` gives it new values."""
        return cupy.array(x, copy=True, order="C")

    @staticmethod
    def fill(static: Any, x: Any) -> None:
        """Copy an input of the same shape and dtype to where a graph reads it, without waiting."""
        if x.flags.c_contiguous:
            cupy.cuda.runtime.memcpyAsync(static.data.ptr, x.data.ptr, x.nbytes,
                                          cupy.cuda.runtime.memcpyDeviceToDevice, cupy.cuda.get_current_stream().ptr)
        else:
            static[...] = x

    @staticmethod
    def copy(x: Any) -> Any:
        """A copy of a result, which the next replay leaves alone."""
        return x.copy()

    @staticmethod
    def upload(size: int) -> Upload:
        """An array of `size` bytes that the host can write to between replays."""
        return Upload(size)


register("graphs", "cupy", Graphs)
