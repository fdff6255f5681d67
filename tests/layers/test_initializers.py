"""Initializers: moments, fans and bounds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from portable_nn import layers
from portable_nn.backend.errors import ShapeError
from portable_nn.backend.random import Stream
from portable_nn.layers import initializers
from tests.helpers import Backend, assert_close, dtype_name


def draw(initializer: Any, shape: tuple[int, ...]) -> np.ndarray:
    return initializer(Stream(1, "weight"), shape, dtype=np.float64, xp=np, device="cpu")


@pytest.mark.parametrize(("initializer", "variance"), [
    (initializers.glorot_uniform, 2 / (300 + 200)), (initializers.glorot_normal, 2 / (300 + 200)),
    (initializers.he_uniform, 2 / 200), (initializers.he_normal, 2 / 200),
    (initializers.lecun_uniform, 1 / 200), (initializers.lecun_normal, 1 / 200),
    (initializers.Normal(0.3), 0.09), (initializers.Uniform(-0.6, 0.6), 0.12),
    (initializers.torch_uniform(200), 1 / 600),
])
def test_variance(initializer: Any, variance: float) -> None:
    x = draw(initializer, (300, 200))
    assert np.var(x) == pytest.approx(variance, rel=0.03)
    assert np.mean(x) == pytest.approx(0, abs=4 * math.sqrt(variance / x.size))


def test_kernels_count_in_the_fans() -> None:
    x = draw(initializers.he_uniform, (40, 10, 3, 3))
    assert np.max(np.abs(x)) == pytest.approx(math.sqrt(6 / 90), rel=0.01)


def test_constants_and_rows() -> None:
    assert np.all(draw(initializers.zeros, (3, 2)) == 0)
    assert np.all(draw(initializers.ones, (3, 2)) == 1)
    x = draw(initializers.ZeroRow(initializers.Normal(), 1), (3, 2))
    assert np.all(x[1] == 0)
    np.testing.assert_array_equal(x[[0, 2]], draw(initializers.Normal(), (3, 2))[[0, 2]])


def test_vectors_have_no_fans() -> None:
    with pytest.raises(ShapeError, match="Normal or Uniform"):
        draw(initializers.he_normal, (3,))
    assert draw(initializers.torch_uniform(0), (2, 0)).shape == (2, 0)


@pytest.mark.parametrize("initializer", [initializers.he_normal, initializers.he_uniform, initializers.zeros,
                                         initializers.ZeroRow(initializers.Normal(), 1)])
def test_every_backend_gets_the_same_numbers(initializer: Any, backend: Backend) -> None:
    x = initializer(Stream(1, "weight"), (4, 3), dtype=backend.float_dtype, xp=backend.xp, device=backend.device)
    expected = initializer(Stream(1, "weight"), (4, 3), dtype=np.dtype(dtype_name(backend.float_dtype)), xp=np,
                           device="cpu")
    assert_close(x, backend.asarray(expected), rtol=0.0, atol=0.0)


def test_layers_draw_as_pytorch_does() -> None:
    linear = layers.Linear(400, 300).initialize(1)
    assert np.max(np.abs(linear.weight.data)) == pytest.approx(1 / 20, rel=0.01)
    assert np.max(np.abs(linear.bias.data)) == pytest.approx(1 / 20, rel=0.05)
    embedding = layers.Embedding(400, 300).initialize(1)
    assert np.std(embedding.weight.data) == pytest.approx(1, rel=0.02)
