"""layer_norm: the formula, flat rows, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portable_nn import Tensor, functional
from portable_nn.backend.errors import DTypeError, ShapeError
from tests.helpers import Backend, to_numpy


@pytest.mark.parametrize("over", [(5,), (3, 5)])
def test_formula(backend: Backend, over: tuple, rng: np.random.Generator) -> None:
    x, weight, bias = 3 + rng.standard_normal((4, 3, 5)), rng.standard_normal(over), rng.standard_normal(over)
    axes = tuple(range(-len(over), 0))
    mean, var = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    expected = (x - mean) / np.sqrt(var + 1e-5) * weight + bias
    got = functional.layer_norm(*(backend.asarray(a, "float32") for a in (x, weight, bias)), eps=1e-5)
    backend.assert_close(got, expected.astype("float32"), rtol=1e-5)


@pytest.mark.parametrize("row", [[7, 7, 7, 7], [1e4, -1e4, 1e4, -1e4], [0, 0, 0, 0]])
def test_extreme_rows(backend: Backend, row: list[float]) -> None:
    x = Tensor(backend.asarray(np.asarray([row], dtype="float32")), requires_grad=True)
    one = backend.asarray(np.ones(4, dtype="float32"))
    out = functional.layer_norm(x, one, None, eps=1e-5)
    out.backward(backend.asarray(np.asarray([[1, 2, 3, 4]], dtype="float32")))
    assert np.all(np.isfinite(to_numpy(out)))
    assert np.all(np.isfinite(to_numpy(x.grad)))


def test_half_precision_has_statistics_in_float32() -> None:
    """A variance of 1e8 is too large for float16."""
    x = np.asarray([[1e4, -1e4] * 50], dtype=np.float16)
    out = functional.layer_norm(x, np.ones(100, dtype=np.float16), None, eps=1e-5)
    assert out.dtype == np.float16
    np.testing.assert_allclose(out.astype(float), [[1, -1] * 50], rtol=1e-3)


def test_one_feature_is_the_bias(backend: Backend) -> None:
    x, weight, bias = backend.asarray(np.ones((3, 1))), backend.asarray(np.ones(1)), backend.asarray(np.asarray([2.0]))
    backend.assert_close(functional.layer_norm(x, weight, bias, eps=1e-5), np.full((3, 1), 2.0))


@pytest.mark.parametrize(("x", "weight", "bias", "error"), [
    (np.ones((3, 4)), np.ones(3), None, ShapeError),
    (np.ones((3, 4)), np.ones((2, 3, 4)), None, ShapeError),
    (np.ones((3, 4)), np.ones(4), np.ones(3), ShapeError),
    (np.ones((3, 0)), np.ones(0), None, ShapeError),
    (np.ones(()), None, None, ShapeError),
    (np.ones((3, 4), dtype=int), np.ones(4), None, DTypeError),
])
def test_refusals(backend: Backend, x: Any, weight: Any, bias: Any, error: Any) -> None:
    arrays = [None if a is None else backend.asarray(a) for a in (x, weight, bias)]
    with pytest.raises(error):
        functional.layer_norm(*arrays, eps=1e-5)
