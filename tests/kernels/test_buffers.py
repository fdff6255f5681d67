"""Memory is used again only where nothing can see it: whoever holds an array, or any view of one, keeps it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portable_nn import Tensor, functional, kernels, optim
from portable_nn.kernels import registry
from portable_nn.kernels.numpy import blocks, buffers
from portable_nn.layers import GELU, Dropout, Embedding, LayerNorm, Linear, Sequential

counted = pytest.mark.skipif(not buffers._COUNTS, reason="this interpreter does not count references")

#: Ways to hold on to (part of) an array.
VIEWS = {
    "itself": lambda x: x,
    "slice": lambda x: x[x.shape[0] // 2:],
    "transposed": lambda x: x.T,
    "bytes": lambda x: x.reshape(-1).view(np.uint8)[3:40],
    "row": lambda x: x[-1],
    "view of a view": lambda x: x[1:].reshape(-1)[::2],
    "memoryview": lambda x: memoryview(x),
    "dlpack": lambda x: np.from_dlpack(x),
    "frombuffer": lambda x: np.frombuffer(x, dtype=np.uint8),
    "interface": lambda x: np.asarray(Interface(x)),
    "record": lambda x: x.view(np.recarray),
}


class Interface:
    """An object that hands out an array's memory by `__array_interface__`."""

    def __init__(self, x: np.ndarray) -> None:
        self.x, self.__array_interface__ = x, x.__array_interface__


def content(held: Any) -> bytes:
    return held.tobytes()


@counted
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["take", "drop", "drop", "check"]), st.integers(0, 10**6),
                          st.sampled_from(sorted(VIEWS))), max_size=60))
def test_what_is_held_is_never_overwritten(actions):
    pool, held = buffers.Pool(), []
    for number, (action, choice, view) in enumerate(actions):
        if action == "take":
            rows = 140 + choice % 3 * 40
            x = pool.empty((rows, 60), np.float64)
            x.fill(number)
            kept = VIEWS[view](x)
            held.append((kept, content(kept)))
            del x, kept
        elif action == "drop" and held:
            held.pop(choice % len(held))
        for kept, expected in held:
            assert content(kept) == expected


@counted
def test_memory_is_used_again_once_nothing_refers_to_it():
    pool = buffers.Pool()
    places = set()
    for _ in range(10):
        x, y = pool.empty((100, 200), np.float32), pool.empty(20_000, np.float32)
        assert x.ctypes.data != y.ctypes.data
        places |= {x.ctypes.data, y.ctypes.data}
        del x, y
    assert len(places) == 2
    assert all(place % 64 == 0 for place in places)


@counted
def test_memory_is_referred_to_before_another_thread_can_take_it():
    """The lock is held until then; here the switch to another thread comes right after it."""
    pool, taken = buffers.Pool(), []
    pool.empty(50_000, np.float64)

    class Lock:
        def __enter__(self) -> None:
            pass

        def __exit__(self, *error: Any) -> None:
            pool.lock = threading.Lock()
            taken.append(pool.empty(50_000, np.float64))

    pool.lock = Lock()
    taken.append(pool.empty(50_000, np.float64))
    assert taken[0].ctypes.data != taken[1].ctypes.data


@counted
def test_a_larger_piece_stands_in_where_there_is_no_room():
    pool = buffers.Pool()
    for _ in range(5):  # one after the other: neither is let go for the other
        first = pool.empty(1_000_000, np.float64).ctypes.data
        assert pool.empty(600_000, np.float64).ctypes.data == first
    pool.empty(400_000, np.float64)  # too small for it, so it is let go
    assert pool.held() < 1_000_000 * 8


@counted
def test_what_is_kept_never_exceeds_what_was_in_use_at_once(monkeypatch):
    monkeypatch.setattr(buffers, "ROOM", 0)
    pool = buffers.Pool()
    for count in range(20_000, 90_000, 1111):  # each of another size, one at a time
        x = pool.empty(count, np.float64)
        assert pool.held() <= 90_000 * 8 * 17 // 16
        del x
    several = [pool.empty(50_000, np.float64) for _ in range(5)]
    most = pool.held()
    del several
    for count in range(20_000, 90_000, 1111):
        pool.empty(count, np.float64)
        assert pool.held() <= most


@counted
def test_what_is_not_asked_for_again_is_let_go(monkeypatch):
    monkeypatch.setattr(buffers, "PERIOD", 10)
    pool = buffers.Pool()
    kept = [pool.empty(30_000, np.float64) for _ in range(5)]  # still in use: it goes from the pool, not from its owner
    pool.empty(60_000, np.float64)
    kept[0].fill(7)
    for _ in range(30):
        pool.empty(10_000, np.float64)
    assert sum(map(len, pool.pieces.values())) == 1
    assert np.all(kept[0] == 7)
    pool.clear()
    assert pool.held() == 0


def test_small_arrays_and_odd_dtypes_are_numpys():
    pool = buffers.Pool()
    for shape, dtype in (((3, 4), np.float32), (0, np.int64), ((0, 5), np.float64), ((), np.float32), (20_000, object)):
        x = pool.empty(shape, dtype)
        assert x.base is None and x.dtype == dtype
        assert x.shape == (shape if isinstance(shape, tuple) else (shape,))


@counted
def test_threads_share_the_pool_and_have_scratch_of_their_own():
    failures, places = [], {}

    def work(number: int) -> None:
        places[number] = buffers.scratch(50_000, np.float32).ctypes.data
        for i in range(300):
            x, t = buffers.empty((200, 100), np.float64), buffers.scratch((2, 20_000), np.float32)
            x.fill(number), t.fill(number)
            y = buffers.empty((200, 100), np.float64)
            y.fill(-i)
            if not (np.all(x == number) and np.all(t == number)):
                failures.append(number)
        barrier.wait()  # the memory of a thread goes with it

    barrier = threading.Barrier(4)
    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures
    assert len(set(places.values())) == 4


class Watch:
    """Holds on to every array that any kernel returns, with a copy of it as it was."""

    def __init__(self, choose: Any) -> None:
        self.seen: list[tuple[Any, bytes]] = []
        self.choose = choose

    def see(self, out: Any) -> None:
        for x in out if isinstance(out, tuple) else (out,):
            if isinstance(x, np.ndarray) and x.ndim and x.size and (view := self.choose()) is not None:
                kept = VIEWS[view](x) if x.flags.c_contiguous else x
                self.seen.append((kept, content(kept)))

    def wrap(self, kernel: registry.Kernel) -> registry.Kernel:
        def forward(*arrays: Any, **options: Any) -> tuple:
            out, saved = kernel.forward(*arrays, **options)
            self.see(out)
            return out, saved

        def backward(xp: Any, g: Any, *rest: Any) -> tuple:
            gradients = kernel.backward(xp, g, *rest)
            self.see(gradients)
            return gradients

        return kernel if kernel.backward is None else kernel._replace(forward=forward, backward=backward)

    def assert_unchanged(self) -> None:
        for kept, expected in self.seen:
            assert content(kept) == expected


@contextmanager
def pooled() -> Iterator[None]:
    """Every array of more than a few elements comes from the pool, and kernels can be wrapped."""
    originals = {k.operation: list(registry.entries(k.operation, "numpy")) for k in kernels.available("numpy")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buffers, "LEAST", 1)
        patch.setattr(blocks, "BLOCK", 16)
        yield
    for operation, original in originals.items():
        registry.entries(operation, "numpy")[:] = original


def train(watch: Watch, steps: int) -> None:
    """A few steps of a small model, every intermediate of which is seen."""
    rng = np.random.default_rng(0)
    for kernel in kernels.available("numpy"):
        entries = registry.entries(kernel.operation, "numpy")
        entries[:] = [watch.wrap(k) if k.forward is kernel.forward else k for k in entries]
    body = Sequential(LayerNorm(16), Linear(16, 32), GELU(), Dropout(0.1), Linear(32, 16)).initialize(0)
    words, head = Embedding(50, 16).initialize(0), Linear(16, 5).initialize(1)
    optimizer = optim.Adam([*words.parameters(), *body.parameters(), *head.parameters()])
    for step in range(steps):
        x = words(Tensor(rng.integers(0, 50, (7, 9))))
        x = functional.silu(x + functional.softmax(body(x), axis=-1))
        loss = functional.cross_entropy(head(x), Tensor(rng.integers(0, 5, (7, 9))), None)
        for tensor in (x, loss):
            watch.see(tensor.data)
        optimizer.zero_grad()
        loss.backward(np.full((7, 9), 1 / 63, dtype="float32"))
        watch.see(tuple(p.grad.data for p in optimizer.parameters if step % 2))
        optimizer.step()


@counted
def test_every_intermediate_of_a_step_stays_as_it_was():
    watch = Watch(lambda: "itself")
    with pooled():
        train(watch, 3)
    assert watch.seen
    watch.assert_unchanged()


@counted
@settings(max_examples=12, deadline=None)
@given(st.randoms(use_true_random=False))
def test_any_views_that_are_kept_stay_as_they_were(random):
    watch = Watch(lambda: random.choice([None, *sorted(VIEWS)]))
    with pooled():
        train(watch, 2)
    watch.assert_unchanged()


@counted
def test_memory_that_is_used_too_early_is_noticed(monkeypatch):
    monkeypatch.setattr(buffers, "_IDLE", buffers._IDLE + 1)
    watch = Watch(lambda: "itself")
    with pooled(), pytest.raises(AssertionError):
        train(watch, 3)
        watch.assert_unchanged()
