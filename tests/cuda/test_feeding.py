"""Batches reach the GPU in the order and with the values the host has them in, ahead of their use or kept there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from portable_nn import data, layers, optim
from portable_nn.autodiff.tree import leaves
from portable_nn.data import Batches
from portable_nn.training import feeding, fit, prefetching
from portable_nn.training.feeding import Feed
from tests.helpers import to_numpy


def model_on(device: str) -> layers.Module:
    return layers.Linear(3, 2).to(device).initialize(0)


def arrays(rows: int = 23) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, 3)), rng.integers(0, 2, rows), rng.random(rows)


def seen(train: Any, device: str, epochs: int = 2, **options: Any) -> list[Any]:
    feed = Feed(train, model_on(device), batch_size=5, seed=1, **options)
    return [[to_numpy(x) for x in feeding_leaves(batch)] + [to_numpy(batch.mass) if hasattr(batch.mass, "dtype")
                                                            else batch.mass]
            for epoch in range(epochs) for batch in feed.epoch(epoch)]


def feeding_leaves(batch: Any) -> Iterator[Any]:
    return leaves((batch.x, batch.y, batch.weight))


def series() -> Any:
    rng = np.random.default_rng(0)
    return data.windows(rng.normal(size=(40, 2)), context=6, horizon=2)


def csr() -> Any:
    return sparse.random(23, 6, density=0.4, format="csr", random_state=0), arrays()[1]


SOURCES: dict[str, Any] = {
    "pair": lambda: arrays()[:2], "weighted": arrays, "strided": lambda: (arrays()[0][:, ::-1], arrays()[1]),
    "nested": lambda: ({"a": arrays()[0], "b": (arrays()[2].astype(np.float32),)}, arrays()[1]),
    "windows": series, "csr": csr, "iterable": lambda: [arrays(n)[:2] for n in (4, 1, 7)],
}


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("source", SOURCES)
def test_the_same_batches(gpu: Any, source: str, kept: bool, shuffle: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetching, "SHARE", 0.25 if kept else 0.0)
    expected, found = (seen(SOURCES[source](), device, shuffle=shuffle) for device in ("cpu", "cuda:0"))
    assert len(expected) == len(found)
    for one, other in zip(expected, found, strict=True):
        for x, y in zip(one, other, strict=True):
            assert np.asarray(x).dtype == np.asarray(y).dtype
            np.testing.assert_allclose(x, y, rtol=1e-6 if np.ndim(x) == 0 else 0)


def test_an_epoch_on_the_device_does_not_touch_the_host(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Batches, "raw", lambda self, number: pytest.fail("rows were read on the host"))
    feed = Feed(arrays()[:2], model_on("cuda:0"), batch_size=5)
    assert sum(len(batch.y) for batch in feed.epoch(0)) == 23


def test_rows_of_all_arrays_are_gathered_in_one_launch(gpu: Any) -> None:
    import cupy

    rng = np.random.default_rng(0)
    parts = {"x": (rng.random((23, 7, 301)).astype("f"), rng.integers(0, 9, 23)),
             "y": (rng.random((23, 3)).astype("e"), rng.random((23, 5)) > 0.5, rng.random((23, 0)))}
    resident = prefetching.Resident(Batches(parts, batch_size=5, seed=0, epoch=0, shuffle=True, drop_last=False,
                                            device=None, dtype=None), parts, device="cuda:0", dtype="float32")
    parts["y"] = (parts["y"][0].astype("f"), *(x.astype("f") if x.dtype == "d" else x for x in parts["y"][1:]))
    if hasattr(cupy, "is_stand_in"):
        cupy.cuda.launches.clear()
    for index in (np.array([22, 0, 3, 3, 11]), np.array([], dtype=np.int64), np.arange(23)):
        found = resident.gather(cupy.asarray(index))
        for x, whole in zip(leaves(found), leaves(parts), strict=True):
            np.testing.assert_array_equal(to_numpy(x), whole[index])
    if hasattr(cupy, "is_stand_in"):
        assert [name for name, _, _ in cupy.cuda.launches] == ["gather_rows"] * 2


class Failing:
    """Batches, then an error; it counts what was asked of it."""

    def __init__(self, good: int) -> None:
        self.good, self.asked = good, 0

    def __iter__(self) -> Iterator[Any]:
        for _ in range(self.good):
            self.asked += 1
            yield arrays(4)[:2]
        raise ValueError("the file ends here")


def test_errors_come_where_their_batch_would(gpu: Any) -> None:
    feed = Feed(Failing(3), model_on("cuda:0"), batch_size=5)
    got = []
    with pytest.raises(ValueError, match="ends here"):
        got.extend(feed.epoch(0))
    assert got == [] or len(got) == 3
    batches = feed.epoch(0)
    assert [len(next(batches).y) for _ in range(3)] == [4, 4, 4]
    with pytest.raises(ValueError, match="ends here"):
        next(batches)


def test_few_batches_are_on_their_way_and_none_is_left_behind(gpu: Any) -> None:
    import cupy

    source = Failing(100)
    feed = Feed(source, model_on("cuda:0"), batch_size=5)
    batches = feed.epoch(0)
    next(batches)
    assert source.asked == 1 + prefetching.AHEAD

    def used() -> int:
        cupy.empty((1,), dtype=cupy.uint8)  # CuPy 14 takes note of what was given back when next it is asked for memory
        return cupy.get_default_memory_pool().used_bytes()

    held = used()
    batches.close()
    assert used() < held
    with pytest.raises(StopIteration):
        next(batches)


def test_a_batch_that_fails_half_way_is_waited_for(gpu: Any) -> None:
    """Its first array is given back, which the copy stream must not write to any more."""
    x = np.ones((4, 3), dtype=np.float32)
    feed = Feed([(x, np.zeros(4, dtype=np.int64)), (x, np.array([None] * 4))], model_on("cuda:0"), batch_size=5)
    with pytest.raises((TypeError, ValueError)):
        list(feed.epoch(0))
    assert [len(batch.y) for batch in Feed([(x, x)], feed.model, batch_size=5).epoch(0)] == [4]
    feed._sender._stream.synchronize()


def test_copies_wait_for_what_is_cast_on_the_device(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array that is on the device is cast there, and what it was may be the memory that the next copy goes to."""
    import cupy

    from portable_nn.kernels.cupy.feeding import Sender

    calls: list[str] = []
    for name in ("begin", "wait", "send"):
        real = getattr(Sender, name)
        monkeypatch.setattr(Sender, name, lambda self, *rest, name=name, real=real: (calls.append(name),
                                                                                    real(self, *rest))[1])
    monkeypatch.setattr(prefetching, "SHARE", 0.0)
    x, y, _ = arrays()
    expected, found = seen((x, y), "cpu", 1), seen((cupy.asarray(x), y), "cuda:0", 1)
    for one, other in zip(expected, found, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert calls == ["begin", "wait", "wait", "send"] * 5


def test_a_sender_that_goes_waits_for_its_copies(gpu: Any) -> None:
    """Pinned memory belongs to a pool: the next to get it would write to what is still to be copied."""
    import cupy

    sender = prefetching.make_sender("cuda:0")
    x = np.arange(1000, dtype=np.float32)
    sender.begin()
    out = sender.send(x, x.dtype)
    event = sender.end()
    del sender
    for _ in range(4):
        np.frombuffer(cupy.cuda.alloc_pinned_memory(x.nbytes), np.uint8)[...] = 0xFF
    cupy.cuda.get_current_stream().wait_event(event)
    np.testing.assert_array_equal(to_numpy(out), x)


@pytest.mark.parametrize("kept", [True, False])
def test_fit_learns_the_same(gpu: Any, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetching, "SHARE", 0.25 if kept else 0.0)
    found = []
    for device in ("cpu", "cuda:0"):
        model = model_on(device)
        fit(model, layers.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), train=arrays(), validation=0.2,
            batch_size=4, epochs=3, progress=False)
        found.append(to_numpy(model.weight.data))
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)


def test_on_the_cpu_nothing_is_sent() -> None:
    assert prefetching.make_sender("cpu") is None and not prefetching.fits(arrays(), "cpu", "float32")
    assert feeding.Feed(arrays()[:2], model_on("cpu"), batch_size=5)._sender is None
