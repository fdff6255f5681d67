"""A step run twice allocates nothing that stays and reads nothing back: what a captured CUDA graph will need.

array-api-strict stands in for the GPU. Whatever would make the host wait raises inside the step, and the arrays that
live from step to step must stay where they are.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from portable_nn import layers, optim
from portable_nn.autodiff import Tensor
from portable_nn.backend import devices, scatter
from portable_nn.functional import checks
from portable_nn.training.guard import Guard

strict = pytest.importorskip("array_api_strict")


class ReadBack(AssertionError):
    """The host asked for a value."""


def replace_everywhere(monkeypatch: pytest.MonkeyPatch, original: Callable[..., Any], new: Any) -> None:
    """Replace a function in each of our modules that has imported it."""
    for name, module in list(sys.modules.items()):
        if name.startswith("portable_nn"):
            for attribute, value in list(vars(module).items()):
                if value is original:
                    monkeypatch.setattr(module, attribute, new)


@contextmanager
def no_read_backs() -> Iterator[None]:
    """Within this context values of arrays and Tensors cannot be had."""
    def refuse(*args: Any, **options: Any) -> Any:
        raise ReadBack("a value was read back inside the step")

    original = devices.to_numpy
    with pytest.MonkeyPatch.context() as patch:
        for name in ("__bool__", "__int__", "__float__", "__complex__", "__index__", "__array__", "__buffer__",
                     "__dlpack__"):
            if hasattr(type(strict.zeros(1)), name):
                patch.setattr(type(strict.zeros(1)), name, refuse)
        for name in ("item", "numpy"):
            patch.setattr(Tensor, name, refuse)
        replace_everywhere(patch, original, lambda x: x if isinstance(x, np.ndarray) else refuse())
        replace_everywhere(patch, checks.is_on_host, lambda x: False)  # labels and indices go unchecked, as on a GPU
        replace_everywhere(patch, scatter._check_range, lambda *args: None)
        yield


class Model(layers.Module):
    """Dense, normalised and dropped-out features beside an embedding, and a buffer that each call updates."""

    def __init__(self) -> None:
        self.table = layers.Embedding(7, 4)
        self.body = layers.Sequential(layers.Linear(3, 4), layers.GELU(), layers.LayerNorm(4), layers.Dropout(0.25))
        self.head = layers.Linear(4, 5)
        self.register_buffer("mean", (4,), layers.initializers.zeros)

    def forward(self, parts: Any) -> Any:
        x, words = parts
        x = self.body(x) + self.table(words)
        self.update_buffer("mean", self.mean * 0.9 + 0.1 * x.mean(axis=0))
        return self.head(x)


def persistent(model: Any, optimizer: Any, guard: Guard | None) -> dict[str, int]:
    """Where the arrays are that live from step to step."""
    arrays = {f"parameter {p.name}": p.data for p in model.parameters()}
    for number, (run, *_) in enumerate(optimizer._runs):
        arrays.update({f"run {number} array {i}": x for i, x in enumerate(run.arrays)})
    if guard is not None:
        arrays.update({name: x for name, x in vars(guard.latch).items() if isinstance(x, type(strict.zeros(1)))})
    return {name: x._array.__array_interface__["data"][0] for name, x in arrays.items()}


@pytest.fixture(autouse=True)
def _few_objects() -> Iterator[None]:
    """Whatever other tests have left is not counted, which takes seconds."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def count_arrays() -> int:
    gc.collect()
    return sum(type(x) is type(strict.zeros(1)) for x in gc.get_objects())


@pytest.mark.parametrize("latched", [False, True])
@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "RMSprop", "Lion"])
def test_a_step_run_twice(kind: str, latched: bool) -> None:
    rng = np.random.default_rng(0)
    device = strict.Device("device1")
    x = Tensor(strict.asarray(rng.normal(size=(6, 3)).astype("float32"), device=device))
    words = Tensor(strict.asarray(rng.integers(0, 7, 6), device=device))
    target = Tensor(strict.asarray(rng.integers(0, 5, 6), device=device))
    model = Model().to(device, xp=strict).initialize(0)
    options = {"momentum": 0.9} if kind == "SGD" else {}
    optimizer = getattr(optim, kind)(model.parameters(), lr=0.1, clip_norm=0.5, **options)
    guard = Guard(optimizer, "cuda:0") if latched else None
    criterion = layers.CrossEntropyLoss()

    def step() -> None:
        loss = criterion(model((x, words)), target)
        if guard is None:
            loss.backward()
            optimizer.step()
        else:
            guard.check_loss(loss)
            loss.backward()
            guard.step(loss)
        optimizer.zero_grad()

    step()  # builds the arena
    before, where = [p.copy_of(p.data) for p in model.parameters()], persistent(model, optimizer, guard)
    step()
    count = count_arrays()
    with no_read_backs():
        step()
        step()
    assert persistent(model, optimizer, guard) == where
    assert count_arrays() == count
    for parameter, x_before in zip(model.parameters(), before, strict=True):
        assert not np.array_equal(devices.to_numpy(parameter.data), devices.to_numpy(x_before)), parameter.name
    if guard is not None:
        guard.finish()


def test_the_stand_in_catches_what_it_should() -> None:
    """Each way to read a value back raises, and a new array is seen as one."""
    x = strict.ones(())
    with no_read_backs():
        for read in (float, bool, int, np.asarray, devices.to_numpy):
            with pytest.raises(ReadBack):
                read(x)
        for read in (Tensor.item, Tensor.numpy):
            with pytest.raises(ReadBack):
                read(Tensor(x))
        with pytest.raises(ReadBack):
            Guard(optim.SGD([make()]), "cpu").check_loss(Tensor(x))
    count = count_arrays()
    kept = strict.ones(3)
    assert count_arrays() == count + 1 and kept.shape == (3,)


def make() -> layers.Parameter:
    return layers.Parameter((1,), layers.initializers.zeros)
