"""Activations against SciPy, at their ends, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special

from portable_nn import Tensor, functional, kernels
from portable_nn.backend.errors import ArgumentError, DTypeError
from tests.helpers import Backend, to_numpy

REFERENCES = {
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": scipy.special.expit,
    "tanh": np.tanh,
    "gelu": lambda x: x * 0.5 * (1 + scipy.special.erf(x / np.sqrt(2))),
    "gelu tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
}


def call(name: str, x: Any) -> Any:
    operation, _, approximate = name.partition(" ")
    options = {"approximate": approximate or "none"} if operation == "gelu" else {}
    return getattr(functional, operation)(x, **options)


@pytest.mark.parametrize("name", REFERENCES)
def test_reference(backend: Backend, name: str, rng: np.random.Generator) -> None:
    for dtype in backend.float_dtypes:
        x = backend.asarray(3 * rng.standard_normal((4, 5)), dtype)
        expected = REFERENCES[name](to_numpy(x).astype(np.float64)).astype(to_numpy(x).dtype)
        backend.assert_close(call(name, x), expected, rtol=1e-6 if "32" in str(dtype) else 1e-13)
        with kernels.disabled():
            backend.assert_close(call(name, x), expected, rtol=1e-6 if "32" in str(dtype) else 1e-13)


@pytest.mark.parametrize("name", REFERENCES)
def test_extreme_values(backend: Backend, name: str) -> None:
    """±1e4 and 0: values and gradients are finite, and the limits."""
    x = Tensor(backend.asarray(np.asarray([-1e4, -100, 0, 100, 1e4], dtype="float32")), requires_grad=True)
    out = call(name, x)
    out.backward(backend.asarray(np.ones(5, dtype="float32")))
    limits = {"sigmoid": [0, 0, 0.5, 1, 1], "tanh": [-1, -1, 0, 1, 1]}.get(name, [0, 0, 0, 100, 1e4])
    slopes = {"sigmoid": [0, 0, 0.25, 0, 0], "tanh": [0, 0, 1, 0, 0], "relu": [0, 0, 0, 1, 1]}
    np.testing.assert_allclose(to_numpy(out), limits, atol=1e-6)
    np.testing.assert_allclose(to_numpy(x.grad), slopes.get(name, [0, 0, 0.5, 1, 1]), atol=1e-6)


def test_sigmoid_is_accurate_in_both_tails(backend: Backend) -> None:
    """To a few units in the last place where the result is 1e-30, so that its logarithm can be taken."""
    x = np.linspace(-70, 30, 201, dtype=np.float32)
    expected = scipy.special.expit(x.astype(np.float64))
    np.testing.assert_allclose(to_numpy(functional.sigmoid(backend.asarray(x))), expected, rtol=1e-5)


@pytest.mark.parametrize("name", REFERENCES)
def test_nan_stays(name: str) -> None:
    x = np.asarray([np.nan, 1.0])
    assert np.isnan(call(name, x)[0])
    with kernels.disabled(), np.errstate(invalid="ignore"):  # some functions of NumPy warn of a NaN that they are given
        assert np.isnan(call(name, x)[0])


@pytest.mark.parametrize("name", REFERENCES)
def test_integers_are_refused(backend: Backend, name: str) -> None:
    with pytest.raises(DTypeError, match="astype"):
        call(name, backend.asarray(np.arange(3)))


@pytest.mark.parametrize("name", REFERENCES)
def test_half_precision_and_scalars(name: str) -> None:
    """float16 runs through the generic pair; a NumPy scalar is an array of no axes."""
    x = np.asarray([0.5, -1.5], dtype=np.float16)
    assert call(name, x).dtype == np.float16
    assert float(call(name, np.float64(0.5))) == pytest.approx(float(REFERENCES[name](0.5)))


def test_unknown_approximation() -> None:
    with pytest.raises(ArgumentError, match="approximate"):
        functional.gelu(np.ones(2), approximate="quick")


def test_sigmoid_is_accurate_in_its_tails() -> None:
    with kernels.disabled():
        got = functional.sigmoid(np.asarray([-40.0, -300.0]))
    np.testing.assert_allclose(got, scipy.special.expit([-40, -300]), rtol=1e-13)
