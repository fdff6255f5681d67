"""softmax and log_softmax against SciPy, and at extreme values."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

from portable_nn import Tensor, functional
from portable_nn.backend.errors import ArgumentError, DTypeError
from tests.helpers import Backend, to_numpy


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("scale", [1, 30])
def test_reference(backend: Backend, name: str, axis: int, scale: float, rng: np.random.Generator) -> None:
    x = backend.asarray(scale * rng.standard_normal((4, 5, 6)))
    expected = getattr(scipy.special, name)(to_numpy(x).astype(np.float64), axis=axis)
    rtol = 1e-13 if backend.has_float64 else 1e-5
    backend.assert_close(getattr(functional, name)(x, axis=axis), expected, rtol=rtol)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("row", [[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [7, 7, 7]])
def test_extreme_values(backend: Backend, name: str, row: list[float]) -> None:
    x = Tensor(backend.asarray(np.asarray([row], dtype="float32")), requires_grad=True)
    out = getattr(functional, name)(x, axis=-1)
    out.backward(backend.asarray(np.asarray([[1, 2, 3]], dtype="float32")))
    assert np.all(np.isfinite(to_numpy(x.grad)))
    expected = getattr(scipy.special, name)(np.asarray([row], dtype="float64"), axis=-1)
    backend.assert_close(out, expected.astype("float32"), rtol=1e-6)


def test_infinite_scores_are_no_probability() -> None:
    """A score of -inf gives 0, as in SciPy, though masks of ours are finite."""
    np.testing.assert_allclose(functional.softmax(np.asarray([[0.0, -np.inf]]), axis=-1), [[1, 0]])


def test_refusals(backend: Backend) -> None:
    with pytest.raises(ArgumentError, match="axis 2"):
        functional.softmax(backend.asarray(np.ones((2, 3))), axis=2)
    with pytest.raises(ArgumentError, match="at least one axis"):
        functional.log_softmax(backend.asarray(np.ones(())), axis=0)
    with pytest.raises(DTypeError, match="astype"):
        functional.softmax(backend.asarray(np.arange(3)), axis=0)


def test_half_precision_sums_in_float32() -> None:
    x = np.full((1, 5000), 2, dtype=np.float16)
    out = functional.log_softmax(x, axis=-1)
    assert out.dtype == np.float16
    np.testing.assert_allclose(out.astype(float), -np.log(5000), rtol=1e-3)
