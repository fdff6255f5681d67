"""Work shared between threads: the same bits for any number of them, and never more than the user allows."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from portable_nn import Tensor, functional
from portable_nn.backend import Stream
from portable_nn.kernels.numpy import buffers, threads


@pytest.fixture
def use(monkeypatch):
    """Sets the number of threads, whatever the machine has."""
    return lambda count: monkeypatch.setattr(threads, "allowed", lambda: count)


def names(count: int = 40) -> set[str]:
    """The threads that take part in a shared job whose blocks wait for each other a little."""
    return set(threads.share(lambda block: (threading.Event().wait(0.002), threading.current_thread().name)[1],
                             range(count)))


def step() -> list[np.ndarray]:
    """Values and gradients of operations over arrays that are large enough to be shared."""
    rng = np.random.default_rng(0)
    x = Tensor(rng.standard_normal((600, 701)).astype("float32"), requires_grad=True)
    w = Tensor(rng.standard_normal(701).astype("float32"), requires_grad=True)
    y = functional.layer_norm(functional.silu(functional.sigmoid(x)), w, None, eps=1e-5)
    y = functional.dropout(y, p=0.2, stream=Stream(1, "a"))
    functional.softmax(y, axis=-1).backward(rng.standard_normal(x.shape).astype("float32"))
    return [y.numpy(), x.grad, w.grad]


def test_results_come_in_order(use):
    use(3)
    assert threads.share(lambda block: block * block, range(100)) == [i * i for i in range(100)]
    assert threads.share(str, []) == []


def test_the_same_bits_for_any_number_of_threads(use):
    with threadpool_limits(1, "blas"):
        use(1)
        expected = step()
        for count in (2, 3):
            use(count)
            assert all(a.tobytes() == b.tobytes() for a, b in zip(step(), expected, strict=True))


def test_helpers_take_part_and_so_does_the_caller(use):
    use(2)
    assert names() == {threading.current_thread().name, "portable_nn"}


def test_a_block_does_not_share_again(use):
    use(1)
    assert threads.share(lambda block: threads._crew.is_alone(), range(2)) == [False, False]
    use(2)
    assert threads.share(lambda block: threads._crew.is_alone(), range(20)) == [True] * 20
    assert not threads._crew.is_alone()


@pytest.mark.parametrize("count", [1, 3])
def test_the_first_error_is_raised(use, count):
    use(count)

    def fail(block: int) -> None:
        if block >= 5:
            raise ValueError(f"block {block}")

    with pytest.raises(ValueError, match="block 5"):
        threads.share(fail, range(50))
    assert threads.share(lambda block: block, range(5)) == list(range(5))


def test_errstate_reaches_the_helpers(use):
    use(3)
    infinite = np.full(10, 1e300)
    with np.errstate(over="ignore"):
        assert all(np.isinf(x).all() for x in threads.share(lambda block: infinite * infinite, range(20)))
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        threads.share(lambda block: infinite * infinite, range(20))


def test_nothing_is_held_once_it_is_done(use):
    use(3)
    for _ in range(50):
        x = np.zeros(10)
        threads.share(lambda block, x=x: x.sum(), range(4))
        pool = buffers.Pool()
        y = pool.empty(100_000, np.float64)
        threads.share(lambda block, y=y: y.fill(0), range(4))
        place = y.ctypes.data
        del y
        assert pool.empty(100_000, np.float64).ctypes.data == place


def test_the_limit_of_blas_is_ours(monkeypatch):
    monkeypatch.setattr(threads, "_processors", lambda: 8)
    with threadpool_limits(1):
        assert threads.allowed() == 1
    with threadpool_limits(2, "blas"):
        assert threads.allowed() == 2
        assert threads.share(lambda block: min(x["num_threads"] for x in threads._blas().info()), range(4),
                             products=True) == [1] * 4
        assert threads.allowed() == 2
    monkeypatch.setattr(threads, "_processors", lambda: 1)
    assert threads.allowed() == 1


def test_no_more_threads_can_be_started(use, monkeypatch):
    use(64)

    def refuse(self: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert threads.share(lambda block: block, range(5)) == list(range(5))


@pytest.mark.parametrize("kind", ["loky", "threading"])
def test_off_in_workers_of_joblib(kind, monkeypatch):
    from joblib import Parallel, delayed

    monkeypatch.setattr(threads, "_processors", lambda: 8)

    def worker() -> int:
        from portable_nn.kernels.numpy import threads

        threads._processors = lambda: 8
        with threadpool_limits(2, "blas"):
            return threads.allowed()

    assert worker() == 2
    assert Parallel(n_jobs=2, backend=kind)(delayed(worker)() for _ in range(2)) == [1, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_helpers_of_its_own(use):
    use(2)
    names()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if len(names()) == 2 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(names()) == 2


def test_blas_gets_its_threads_back_when_jobs_of_two_threads_overlap(use, monkeypatch):
    class Blas:
        number = 2

        @contextmanager
        def limit(self, limits: int) -> Iterator[None]:
            before, self.number = self.number, limits
            yield
            self.number = before

    def job(begun: threading.Event, leave: threading.Event) -> list[None]:
        def block(i: int) -> None:
            begun.set()
            assert leave.wait(10)

        return threads.share(block, range(2), products=True)

    blas = Blas()
    monkeypatch.setattr(threads, "_blas", lambda: blas)
    use(2)
    begun, leave = [threading.Event() for _ in range(2)], [threading.Event() for _ in range(2)]
    jobs = [threading.Thread(target=job, args=pair) for pair in zip(begun, leave, strict=True)]
    for thread, started in zip(jobs, begun, strict=True):
        thread.start()
        assert started.wait(10)
    for thread, event in zip(jobs, leave, strict=True):  # the first is done first
        event.set()
        thread.join(10)
    assert blas.number == 2
