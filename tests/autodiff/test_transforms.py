"""Functions of functions: grad, value_and_grad and elementwise_grad."""

from __future__ import annotations

import numpy as np
import pytest

from portable_nn.autodiff import Tensor, elementwise_grad, grad, value_and_grad
from portable_nn.backend.errors import ArgumentError, DTypeError, ShapeError
from tests.helpers import Backend


def test_transforms_nest() -> None:
    third = grad(grad(grad(lambda x: (x**4).sum())))
    np.testing.assert_allclose(third(np.asarray([2.0])), [48.0])
    inner = lambda x, y: (x * x * y).sum()  # noqa: E731
    outer = grad(lambda y: (grad(inner)(np.asarray([3.0]), y) * y).sum())
    np.testing.assert_allclose(outer(np.asarray([2.0])), [24.0])
    np.testing.assert_allclose(elementwise_grad(lambda x: x * x * x)(np.asarray([1.0, 2.0])), [3.0, 12.0])


def test_value_and_grad_of_trees(backend: Backend) -> None:
    tree = {"w": backend.asarray([1.0, 2.0]), "rest": [backend.asarray([3.0]), (backend.asarray([4.0]),)]}
    value, found = value_and_grad(lambda t, k: (t["w"] * t["w"]).sum() * k + (t["rest"][0] * t["rest"][1][0]).sum())(
        tree, 2.0
    )
    backend.assert_close(value, backend.asarray(22.0))
    backend.assert_close(found["w"], backend.asarray([4.0, 8.0]))
    backend.assert_close(found["rest"][0], backend.asarray([4.0]))
    backend.assert_close(found["rest"][1][0], backend.asarray([3.0]))


def test_value_and_grad_options() -> None:
    x, y = np.asarray([1.0]), np.asarray([2.0])
    (value, extra), (gx, gy) = value_and_grad(lambda x, y: ((x * y).sum(), "extra"), (0, 1), has_aux=True)(x, y)
    assert (value, extra, gx[0], gy[0]) == (2.0, "extra", 2.0, 1.0)
    np.testing.assert_array_equal(grad(lambda x: Tensor(np.ones(())))(x), [0.0])
    np.testing.assert_array_equal(grad(lambda x, y: (x * y).sum(), -1)(x, y), x)
    for numbers in (1, -2, (), (0, 0), (0, -1), (0, 1)):
        with pytest.raises(ArgumentError, match="each once"):
            grad(lambda x: x.sum(), numbers)(x)
    for f, numbers in ((lambda x: x.sum(), "0"), (x, 0)):
        with pytest.raises(ArgumentError, match="a function, and integers"):
            grad(f, numbers)
    with pytest.raises(ShapeError):
        grad(lambda x: x)(np.ones(2))
    with pytest.raises(DTypeError):
        grad(lambda x: 3.0)(x)
    with pytest.raises(ShapeError):
        elementwise_grad(lambda x: x.sum())(np.ones(2))
