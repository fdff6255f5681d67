"""Blocks of work shared between threads: NumPy lets go of the interpreter while it computes.

`share(function, blocks)` is `[function(block) for block in blocks]`, on as many threads as the user lets BLAS have now:
OMP_NUM_THREADS, OPENBLAS_NUM_THREADS and threadpoolctl's limits set the number of ours too. The calling thread takes
part; helpers are started at first need, sleep while there is nothing to do, and are left behind by a fork. Inside
workers of joblib, of multiprocessing's pools, and inside our own helpers, the calling thread works alone.

Results do not depend on the number of threads, for kernels that keep two rules: what the blocks are depends on shapes
alone, and partial sums are returned per block and added in the order of the blocks. When it pays: a helper wakes in
some 20 µs, and between NumPy's calls the threads take turns, so that all blocks together should take 200 µs or more
and one call 5 (65,536 elements: 1.8 times as fast on two processors; 8,192: slower than alone). A product inside a
block would wake BLAS's threads as well: `share(..., products=True)` holds BLAS to one thread meanwhile, for 9 µs, and
one job at a time does so.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache
from queue import SimpleQueue
from typing import Any


class _Job:
    """Blocks that are still to be done, and what came of the others."""

    def __init__(self, function: Callable[[Any], Any], blocks: Sequence[Any]) -> None:
        self.function: Callable[[Any], Any] | None = function
        self.blocks = deque(enumerate(blocks))
        self.results: list[Any] = [None] * len(blocks)
        self.errors: dict[int, BaseException] = {}
        self.left, self.lock, self.finished = len(blocks), threading.Lock(), threading.Event()

    def work(self) -> None:
        """Do blocks until none is left."""
        while True:
            try:
                i, block = self.blocks.popleft()
            except IndexError:
                return
            try:
                if not self.errors:  # called as an attribute: a helper must not hold on to arrays once it is done
                    self.results[i] = self.function(block)  # type: ignore[misc]
            except BaseException as error:  # the calling thread raises it
                self.errors[i] = error
            with self.lock:
                self.left -= 1
                if not self.left:
                    self.finished.set()

    def result(self) -> list[Any]:
        """Wait for the blocks under way."""
        self.finished.wait()
        self.function, results, self.results = None, self.results, []
        if self.errors:
            raise self.errors.pop(min(self.errors))
        return results


class _Crew:
    """The helpers of this process."""

    def __init__(self) -> None:
        self.jobs: SimpleQueue[tuple[contextvars.Context, _Job]] = SimpleQueue()
        self.size, self.lock, self.local = 0, threading.Lock(), threading.local()
        self.products = threading.Lock()  # held while BLAS is kept to one thread

    def call(self, count: int, job: _Job) -> None:
        """Ask that many helpers for a job, each in a copy of the caller's context: NumPy's errstate is part of it."""
        with self.lock:
            while self.size < count:
                try:
                    threading.Thread(target=self._serve, name="portable_nn", daemon=True).start()
                except RuntimeError:  # no more threads, or none at all, as in a browser
                    break
                self.size += 1
        for _ in range(min(count, self.size)):
            self.jobs.put((contextvars.copy_context(), job))

    def _serve(self) -> None:
        self.local.alone = True
        while True:
            context, job = self.jobs.get()
            context.run(job.work)
            del context, job

    def is_alone(self) -> bool:
        """Whether this thread is itself one of several workers."""
        try:
            return self.local.alone
        except AttributeError:
            self.local.alone = _is_worker()
            return self.local.alone


_crew = _Crew()


def _forget() -> None:
    """In a forked child: the helpers and whoever held a lock are gone."""
    global _crew
    _crew = _Crew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _is_worker() -> bool:
    """Whether joblib or a pool of multiprocessing runs this process, or this thread."""
    from multiprocessing.process import current_process

    process = current_process()
    return (process.daemon or type(process).__name__ == "LokyProcess"
            or type(threading.current_thread()).__name__ == "DummyProcess")


@cache
def _blas() -> Any:
    """threadpoolctl's controller of the BLAS libraries."""
    from threadpoolctl import ThreadpoolController  # comes with scikit-learn

    return ThreadpoolController().select(user_api="blas")


@cache
def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def allowed() -> int:
    """How many threads may work now: BLAS's number, no more than processors, 1 where it cannot be told."""
    if _processors() == 1 or _crew.is_alone():
        return 1
    numbers = [library.num_threads for library in _blas().lib_controllers]
    return max(1, min(_processors(), *[number or 1 for number in numbers])) if numbers else 1


def share(function: Callable[[Any], Any], blocks: Sequence[Any], *, products: bool = False) -> list[Any]:
    """`[function(block) for block in blocks]`, on as many threads as `allowed`.

    Parameters
    ----------
    function : callable
        Writes where no other block does; its results come back in the order of the blocks.
    blocks : sequence
        Depending on shapes alone. One block is done without further ado.
    products : bool
        Whether `function` calls BLAS, which then keeps to one thread of its own in each of ours.

    Raises
    ------
    BaseException
        The error of the first block that had one; blocks that had not begun are left.
    """
    helpers = min(allowed(), len(blocks)) - 1 if len(blocks) > 1 else 0
    if helpers < 1:
        return [function(block) for block in blocks]
    crew = _crew
    if products and not crew.products.acquire(blocking=False):
        # Another thread keeps BLAS to one of its own: whoever came second would find that number, and restore it last.
        return [function(block) for block in blocks]
    crew.local.alone = True  # blocks share out no more work
    try:
        with _blas().limit(limits=1) if products else nullcontext():
            job = _Job(function, blocks)
            crew.call(helpers, job)
            job.work()
            return job.result()
    finally:
        crew.local.alone = False
        if products:
            crew.products.release()
