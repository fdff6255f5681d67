"""linear: the formula, and what it refuses."""

from __future__ import annotations

import weakref
from contextlib import nullcontext

import numpy as np
import pytest

from portable_nn import Tensor, functional, kernels
from portable_nn.backend.errors import ArgumentError, DTypeError, ShapeError
from tests.helpers import Backend


def test_formula(backend: Backend, rng: np.random.Generator) -> None:
    x, weight, bias = rng.standard_normal((2, 3, 4)), rng.standard_normal((5, 4)), rng.standard_normal(5)
    arrays = [backend.asarray(a, "float32") for a in (x, weight, bias)]
    got = functional.linear(*arrays, activation="tanh")
    backend.assert_close(got, np.tanh(x @ weight.T + bias).astype(np.float32), rtol=1e-5)
    got = functional.linear(*arrays[:2], None, activation=None)
    backend.assert_close(got, (x @ weight.T).astype(np.float32), rtol=1e-5)


@pytest.mark.parametrize(("x", "weight", "bias", "message"), [
    ((32, 63), (8, 64), (8,), "in_features=63"),
    ((), (8, 64), None, "axis of features"),
    ((3, 4), (4,), None, "out_features, in_features"),
    ((3, 4), (5, 4), (4,), r"bias of shape \(5,\)"),
])
def test_shapes_are_refused(backend: Backend, x: tuple, weight: tuple, bias: tuple | None, message: str) -> None:
    arrays = [None if shape is None else backend.asarray(np.ones(shape)) for shape in (x, weight, bias)]
    with pytest.raises(ShapeError, match=message):
        functional.linear(*arrays, activation=None)


def test_mixed_dtypes_are_refused(backend: Backend) -> None:
    x, weight = backend.asarray(np.ones((2, 3)), "float32"), backend.asarray(np.ones((4, 3)))
    if not backend.has_float64:
        pytest.skip("this device has no float64")
    with pytest.raises(DTypeError, match=r"float32 and .*float64.*astype\(x, xp.float64\)"):
        functional.linear(x, weight, None, activation=None)


def test_integers_are_refused(backend: Backend) -> None:
    with pytest.raises(DTypeError, match="astype"):
        x, weight = backend.asarray(np.ones((2, 3), dtype=int)), backend.asarray(np.ones((4, 3)))
        functional.linear(x, weight, None, activation=None)


def test_unknown_activation() -> None:
    with pytest.raises(ArgumentError, match="'relu'"):
        functional.linear(np.ones((2, 3)), np.ones((4, 3)), None, activation="swish")


@pytest.mark.parametrize("fast", [True, False])
def test_a_result_without_activation_is_not_kept_for_the_gradient(fast: bool) -> None:
    """A sum that it went into has all that is needed: for a Transformer that is a tenth of its memory."""
    x, weight = Tensor(np.ones((400, 100), dtype=np.float32), requires_grad=True), np.ones((100, 100), dtype=np.float32)
    with nullcontext() if fast else kernels.disabled():
        y = functional.linear(x, weight, None, activation=None)
    seen = weakref.ref(y.data)
    total = y + 1.0
    del y
    assert seen() is None
    total.backward(np.ones((400, 100), dtype=np.float32))
    np.testing.assert_array_equal(x.grad, np.full((400, 100), 100, dtype=np.float32))
