"""Gradients written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portable_nn.autodiff import Tensor, custom_gradient, gradcheck, no_grad
from portable_nn.backend.errors import ArgumentError, DTypeError, GradientError, PortableNNError, ShapeError
from tests.helpers import Backend


@custom_gradient
def scaled_product(x: Any, y: Any, *, scale: float) -> Any:
    """x · y · scale, of raw arrays."""
    assert not isinstance(x, Tensor) and not isinstance(y, Tensor)
    return x * y * scale, lambda g: (g * y * scale, g * x * scale)


@custom_gradient
def both(x: Any) -> Any:
    return (x * 2, x * x), lambda g: g[0] * 2 + g[1] * 2 * x


def test_values_and_gradients(backend: Backend) -> None:
    x, y = backend.asarray([1.0, 2.0]), backend.asarray([3.0, 5.0])
    backend.assert_close(scaled_product(x, y, scale=2.0), backend.asarray([6.0, 20.0]))
    tensors = [Tensor(v, requires_grad=True) for v in (x, y)]
    scaled_product(*tensors, scale=2.0).sum().backward()
    backend.assert_close(tensors[0].grad, backend.asarray([6.0, 10.0]))
    backend.assert_close(tensors[1].grad, backend.asarray([2.0, 4.0]))
    if backend.has_float64:
        assert gradcheck(lambda x, y: scaled_product(x, y, scale=0.5), (x, y))
        assert gradcheck(lambda x: both(x * x), (x,))
    assert scaled_product.__doc__.startswith("x · y")


def test_outputs_that_are_not_used_get_zeros() -> None:
    x = Tensor(np.asarray([3.0]), requires_grad=True)
    both(x)[1].sum().backward()
    np.testing.assert_array_equal(x.grad, [6.0])


def test_constants_are_not_recorded() -> None:
    x = Tensor(np.ones(2), requires_grad=True)
    assert not scaled_product(x.detach(), x.detach(), scale=1.0).requires_grad
    with no_grad():
        assert not scaled_product(x, x, scale=1.0).requires_grad
    assert scaled_product(x, np.ones(2), scale=1.0).requires_grad


def test_second_order_raises() -> None:
    with pytest.raises(GradientError, match="scaled_product.*first order"):
        gradcheck(lambda x: scaled_product(x, x, scale=1.0), (np.ones(2),), order=2)


@pytest.mark.parametrize(("backward", "error", "message"), [
    (lambda g: (g, g), ArgumentError, "1 gradients"),
    (lambda g: g[:1], ShapeError, r"shape \(2,\) for argument 0"),
    (lambda g: Tensor(g), DTypeError, "raw array"),
    (lambda g: 3.0, DTypeError, "raw array"),
])
def test_wrong_gradients_raise(backward: Any, error: type[PortableNNError], message: str) -> None:
    f = custom_gradient(lambda x: (x * 1, backward))
    with pytest.raises(error, match=message):
        f(Tensor(np.ones(2), requires_grad=True)).sum().backward()


def test_none_is_no_gradient() -> None:
    x = Tensor(np.ones(2), requires_grad=True)
    (custom_gradient(lambda x: (x * 3, lambda g: None))(x) + x).sum().backward()
    np.testing.assert_array_equal(x.grad, [1.0, 1.0])


def test_wrong_results_raise() -> None:
    x = Tensor(np.ones(2), requires_grad=True)
    with pytest.raises(ArgumentError, match="backward"):
        custom_gradient(lambda x: x)(x)
    with pytest.raises(DTypeError, match="raw arrays"):
        custom_gradient(lambda x: (Tensor(x), lambda g: g))(x)
    with pytest.raises(GradientError, match="real floating"):
        custom_gradient(lambda x: (x > 0, lambda g: g))(x)
