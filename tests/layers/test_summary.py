"""The table of a model's layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portable_nn import layers
from portable_nn.backend.errors import ArgumentError
from tests.helpers import Backend
from tests.layers.models import Counting, Tied, Twice, mlp

X = np.ones((5, 3), dtype=np.float32)


def test_figures_add_up() -> None:
    model = mlp()
    model[0].freeze()
    found = layers.summary(model, X)
    assert (found.trainable, found.frozen) == (15, 16)
    assert found.parameter_bytes == 31 * 4
    assert found.activation_bytes == (3 * 20 + 15) * 4
    assert [row.path for row in found.rows] == [".", "0", "1", "2", "3"]
    assert [row.shapes for row in found.rows] == [[(5, 3)], [(5, 4)], [(5, 4)], [(5, 4)], [(5, 3)]]
    text = str(found)
    assert "parameters: 15 trainable, 16 frozen, 124 B" in text
    assert "16 frozen" in text.splitlines()[3]


def test_the_model_stays_as_it_is() -> None:
    model = layers.Sequential(Counting(), layers.Dropout(0.5))
    layers.summary(model, X)
    assert not model.is_initialized
    model.initialize(3)
    assert (model[0].count.data, model.random_position) == (0, (3, 0))
    layers.summary(model, X)
    assert (model[0].count.data, model.random_position) == (0, (3, 0))
    assert model.training


def test_modules_called_often_never_or_shared() -> None:
    class Odd(layers.Module):
        def __init__(self) -> None:
            self.twice = Twice()
            self.unused = layers.Linear(3, 1)

        def forward(self, x: Any) -> Any:
            return {"a": self.twice(x), "b": (x, None)}

    found = layers.summary(Odd(), X)
    rows = {row.path: row for row in found.rows}
    assert rows["."].shapes == [(5, 3), (5, 3)]
    assert rows["twice.first"].calls == 2
    assert "not called" in str(found)
    assert "(5, 3) x 2" in str(found)
    assert found.trainable == 12 + 4
    assert layers.summary(Tied(), np.asarray([1, 2])).trainable == 15


def test_it_takes_modules() -> None:
    with pytest.raises(ArgumentError, match="a Module"):
        layers.summary(X, mlp())


def test_large_numbers_are_readable() -> None:
    text = str(layers.summary(layers.Embedding(100_000, 30), np.zeros((2, 4), dtype=np.int64)))
    assert "3,000,000" in text
    assert "11.4 MiB" in text


def test_on_every_backend(backend: Backend) -> None:
    model = mlp().to(backend.device, xp=backend.xp)
    assert str(layers.summary(model, backend.asarray(X))) == str(layers.summary(mlp(), X))
