"""Clipping by the global norm, on every backend."""

from __future__ import annotations

import numpy as np
import pytest

from portable_nn import optim
from portable_nn.layers import Parameter, initializers
from portable_nn.optim.arena import LARGE
from tests.helpers import Backend, dtype_name, to_numpy


def make(backend: Backend, gradients: list[np.ndarray | None]) -> list[Parameter]:
    made = []
    for g in gradients:
        parameter = Parameter((2,), initializers.zeros, dtype_name(backend.float_dtype))
        parameter.data = backend.asarray(np.zeros(2), backend.float_dtype)
        parameter.grad = None if g is None else backend.asarray(g, backend.float_dtype)
        made.append(parameter)
    return made


def test_clip_grad_norm(backend: Backend) -> None:
    gradients = [np.asarray([3.0, 0.0]), None, np.asarray([0.0, 4.0])]
    parameters = make(backend, gradients)
    given = [p.grad for p in parameters]
    norm = optim.clip_grad_norm(parameters, 1.0)
    backend.assert_close(norm, np.asarray(5.0, dtype=dtype_name(backend.float_dtype)))
    for parameter, g in zip(parameters, gradients, strict=True):
        assert parameter.grad is None if g is None else np.allclose(to_numpy(parameter.grad), g / 5, rtol=1e-5)
    np.testing.assert_array_equal(to_numpy(given[0]), gradients[0])  # nothing written in place
    optim.clip_grad_norm(parameters, 7.0)
    np.testing.assert_allclose(to_numpy(parameters[0].grad), gradients[0] / 5, rtol=1e-5)


def test_no_gradients(backend: Backend) -> None:
    assert float(optim.clip_grad_norm(make(backend, [None, None]), 1.0)) == 0.0
    optimizer = optim.SGD(make(backend, [None, None]), clip_norm=1.0)
    optimizer.step(check_finite=True)
    assert optimizer.steps == 1


def test_clip_norm_inside_the_step(backend: Backend) -> None:
    gradients = [np.asarray([3.0, 0.0]), None, np.asarray([0.0, 4.0])]
    parameters = make(backend, gradients)
    optim.SGD(parameters, lr=1.0, clip_norm=1.0).step(check_finite=True)
    np.testing.assert_allclose(to_numpy(parameters[0].data), [-0.6, 0], rtol=1e-5)
    np.testing.assert_allclose(to_numpy(parameters[2].data), [0, -0.8], rtol=1e-5)
    np.testing.assert_array_equal(to_numpy(parameters[2].grad), gradients[2])


def test_clipping_leaves_the_given_gradients_alone() -> None:
    """Large ones too, which updates without clipping read where they are."""
    g = np.full((LARGE + 1,), 1 / np.sqrt(LARGE + 1))
    given = g.copy()
    parameter = Parameter(g.shape, initializers.zeros, "float64")
    parameter.data = np.zeros_like(g)
    optim.SGD([parameter], lr=1.0, clip_norm=0.5).step([g])
    np.testing.assert_array_equal(g, given)
    np.testing.assert_allclose(parameter.data, -0.5 / (1 + 1e-6) * given, rtol=1e-12)  # PyTorch's 1e-6


@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float64", "float32")])
def test_one_norm_over_two_dtypes(dtypes: tuple[str, str]) -> None:
    parameters = []
    for dtype, g in zip(dtypes, ([3.0], [4.0]), strict=True):
        parameter = Parameter((1,), initializers.zeros, dtype)
        parameter.data, parameter.grad = np.zeros(1, dtype=dtype), np.asarray(g, dtype=dtype)
        parameters.append(parameter)
    optim.SGD(parameters, lr=1.0, clip_norm=1.0).step()
    np.testing.assert_allclose([p.data[0] for p in parameters], [-0.6, -0.8], rtol=1e-5)
    assert [p.data.dtype.name for p in parameters] == list(dtypes)
    optim.clip_grad_norm(parameters, 1.0)
    assert [p.grad.dtype.name for p in parameters] == list(dtypes)
