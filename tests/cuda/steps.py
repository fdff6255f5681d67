"""Small training steps that the tests of captured ones share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from portable_nn import layers, optim
from portable_nn.autodiff import Tensor
from tests.helpers import to_numpy


class Model(layers.Module):
    """Dense, normalised and dropped-out features, twice drawn, and buffers that each call updates."""

    def __init__(self, dropout: float = 0.25) -> None:
        self.body = layers.Sequential(layers.Linear(3, 8), layers.GELU(), layers.LayerNorm(8), layers.Dropout(dropout))
        self.norm, self.drop = layers.BatchNorm1d(8), layers.Dropout(dropout / 2)
        self.head = layers.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        x = self.norm(self.body(x))
        return self.head(self.drop(self.drop(x)))


@contextmanager
def recordable_products() -> Iterator[None]:
    """Skip where CUDA graphs cannot record products; the stand-in has one of nvmath's too, which it records."""
    from portable_nn.kernels.cupy import graphs

    obstacle = graphs.Graphs.obstacle()
    if obstacle is not None:
        pytest.skip(obstacle)
    yield


def batches(count: int, rows: int = 6) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches on the GPU, each with values of its own, every seventh shorter."""
    import cupy

    rng = np.random.default_rng(0)
    for i in range(count):
        size = rows - (i % 7 == 5)
        yield (Tensor(cupy.asarray(rng.normal(size=(size, 3)).astype(np.float32))),
               Tensor(cupy.asarray(rng.integers(0, 5, size))))


def make_step(model: Any, optimizer: optim.Optimizer) -> Any:
    """The step of a loop written by hand."""
    criterion = layers.CrossEntropyLoss()

    def step(x: Any, y: Any) -> Any:
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def everything(model: Any, optimizer: optim.Optimizer) -> dict[str, Any]:
    """All that a run leaves behind, on the host."""
    state = optimizer.state_dict()
    moments = {f"{number} {name}": to_numpy(x) if name != "step" else x
               for number, moments in state["state"].items() for name, x in moments.items()}
    return {**{name: to_numpy(x) for name, x in model.state_dict().items()}, **moments, "steps": state["steps"],
            "random position": model.random_position}


def assert_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Equal to the last bit."""
    assert first.keys() == second.keys()
    for name, x in first.items():
        np.testing.assert_array_equal(x, second[name], err_msg=name)
