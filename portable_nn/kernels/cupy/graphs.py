"""CUDA graphs: a step recorded once and launched again, in memory of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import cupy

from portable_nn.autodiff.tree import leaves
from portable_nn.backend.devices import working_on
from portable_nn.kernels.cupy import blas
from portable_nn.kernels.cupy.exchanges import Exchange
from portable_nn.kernels.cupy.uploads import Upload, recorded
from portable_nn.kernels.registry import register

#: Each tells what keeps steps from being recorded, or None; kernels that need something add theirs.
requirements: list[Callable[[], str | None]] = [blas.obstacle]
_HERE = nullcontext()


class RecordingStream(cupy.cuda.Stream):
    """A stream that steps are recorded on. What products work in and blocks of a launch share is its own, as the graphs
    write to it whenever and wherever they are launched: they hold the stream, and what kernels add to `kept` because
    recorded launches need it.
    """

    def __init__(self) -> None:
        super().__init__(non_blocking=True)  # so that others may use the default stream meanwhile
        self.workspace: Any = None
        self.shared: Any = None
        self.kept: set[Any] = set()


class Graphs:
    """The graphs of one captured function on one device, with a stream and a memory pool for all of them.

    Memory that a recorded step has freed stays in the pool, so nothing else is put there between replays. The graphs
    of a pool share it: they run one after the other, and what a step returns is copied out at once. So nothing that is
    to last may be made in the pool once a graph has been recorded there: what steps of new shapes make and keep
    (moments, constants, masks) they make when they first run, outside of it.

    Parameters
    ----------
    like : CuPy array
        Of the device.

    Attributes
    ----------
    name : str
        Of the device.
    """

    def __init__(self, like: Any) -> None:
        self.device, self._number = like.device, like.device.id
        self.name = f"cuda:{self._number}"
        self._last: Any = None  # the stream that was last given something to do, which may still be at work
        with working_on(self.device):
            self._stream, self._pool = RecordingStream(), cupy.cuda.MemoryPool()

    @staticmethod
    def obstacle() -> str | None:
        """Why steps cannot be recorded here, and what to do; None if they can."""
        return next(filter(None, (requirement() for requirement in requirements)), None)

    def __del__(self) -> None:
        if not sys.is_finalizing() and hasattr(self, "_pool"):
            with suppress(Exception), working_on(self.device):
                self._pool.free_all_blocks()  # CuPy 14 keeps what is free in a pool that is gone

    @contextmanager
    def _aside(self, *, in_pool: bool = True) -> Iterator[None]:
        """On our stream and in our pool, after what the current stream has been given; it waits for us."""
        current = self._current()
        self._stream.wait_event(recorded(current))
        with cupy.cuda.using_allocator(self._pool.malloc) if in_pool else _HERE, self._stream:
            yield
        current.wait_event(recorded(self._stream))

    def _current(self) -> Any:
        """The current stream; if it is another than the last time it waits, as all graphs work in the same memory."""
        current = cupy.cuda.get_current_stream()
        if current is not self._last:
            if self._last is not None:
                current.wait_event(recorded(self._last))
            self._last = current
        return current

    def run(self, function: Callable[[], Any], *, first: bool) -> Any:
        """Call a function as it will be recorded, so that the pool comes to hold the memory it needs; the first time
        outside of the pool."""
        with working_on(self.device):
            with self._aside(in_pool=not first):
                result = function()
            if first:  # whatever it does not keep
                cupy.get_default_memory_pool().free_all_blocks(self._stream)
            return result

    def record(self, function: Callable[[], Any], exchange: Exchange) -> tuple[Any, Any]:
        """Record what a function of arrays' trees launches, without running it; returns its result and the graph."""
        with working_on(self.device), self._aside():
            self._stream.begin_capture()
            try:
                exchange.begin()
                result = function()
                exchange.end(list(leaves(result)))
            except BaseException:
                with suppress(Exception):  # it was broken by what the function did, and says so
                    self._stream.end_capture()
                raise
            return result, self._stream.end_capture()

    def active(self) -> Any:
        """A context in which this device is the current one, as what follows needs."""
        return _HERE if cupy.cuda.runtime.getDevice() == self._number else working_on(self.device)

    def owns(self, arrays: list[Any]) -> bool:
        """Whether these are arrays of this device."""
        for x in arrays:  # noqa: SIM110 - all() takes twice as long
            if type(x) is not cupy.ndarray or x.data.device_id != self._number:
                return False
        return True

    def launch(self, graph: Any, exchange: Exchange) -> list[Any]:
        """Run a graph on the current stream; returns copies of its results."""
        return exchange.launch(graph, self._current())

    @staticmethod
    def bring(x: Any) -> Any:
        """A copy of a NumPy array on this device, made without waiting."""
        return cupy.asarray(x, blocking=False)

    @staticmethod
    def copy(x: Any) -> Any:
        """A copy of a result, which later steps leave alone."""
        return x.copy()

    exchange = staticmethod(Exchange)
    upload = staticmethod(Upload)


register("graphs", "cupy", Graphs)
