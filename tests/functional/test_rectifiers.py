"""leaky_relu, silu and softplus: at the ends of the range, and near 0 to the last places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special

from portable_nn import Tensor, functional, kernels
from tests.helpers import Backend, to_numpy

ENDS = [-3e38, -1e4, -100, 0, 100, 1e4, 3e38]
NAMES = ("leaky_relu", "silu", "softplus", "sigmoid", "gelu")


def call(name: str, x: Any) -> Any:
    options: dict[str, Any] = {"leaky_relu": {"negative_slope": 0.01}, "softplus": {"beta": 1.0, "threshold": 20.0},
                               "gelu": {"approximate": "none"}}.get(name, {})
    return getattr(functional, name)(x, **options)


@pytest.mark.parametrize("repeats", [1, 8000])
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_at_the_ends(backend: Backend, name: str, repeats: int) -> None:
    """Up to 3e38, where a share that is not quite 0 would count; long arrays take other kernels than short ones."""
    x = np.repeat(np.asarray(ENDS, dtype=np.float32), repeats)
    tensor = Tensor(backend.asarray(x), requires_grad=True)
    with np.errstate(over="ignore"):  # a square of 3e38
        out = call(name, tensor)
        out.backward(backend.asarray(np.ones_like(x)))
    values = {"leaky_relu": np.where(x <= 0, 0.01 * x, x), "sigmoid": np.sign(x) / 2 + 0.5,
              "softplus": np.where(x == 0, np.log(2), np.maximum(x, 0))}.get(name, np.maximum(x, 0))
    slopes = {"leaky_relu": np.where(x <= 0, 0.01, 1), "sigmoid": np.where(x == 0, 0.25, 0)}.get(
        name, np.sign(x) / 2 + 0.5)
    np.testing.assert_allclose(to_numpy(out), values, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(to_numpy(tensor.grad), slopes, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("repeats", [1, 20_000])
@pytest.mark.parametrize("name", NAMES)
def test_infinities_and_nan_on_numpy(name: str, repeats: int) -> None:
    """The limits, or NaN where the definition multiplies infinity by 0."""
    x = np.repeat(np.asarray([-np.inf, np.inf, np.nan]), repeats).astype(np.float32)
    with np.errstate(invalid="ignore"):
        low, high, nan = np.split(call(name, x), 3)
        limit = {"leaky_relu": -np.inf}.get(name, 0.0)
        assert np.all(np.isnan(low)) or np.allclose(low, limit, rtol=0, atol=1e-30)
        with kernels.disabled():
            np.testing.assert_array_equal(high, np.split(call(name, x), 3)[1])
    assert np.all(np.isnan(nan))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [201, 40_000])
def test_softplus_is_accurate_in_its_tail(count: int, dtype: type) -> None:
    """Its logarithm can be taken where it is 1e-30: log(1 + e) must not lose a small e."""
    x = np.linspace(-70, 30, count).astype(dtype)
    expected = -scipy.special.log_expit(-x.astype(np.float64))
    got = functional.softplus(x, beta=1.0, threshold=100.0)
    np.testing.assert_allclose(got, expected, rtol=1e-6 if dtype is np.float32 else 1e-14)
