"""Exponential decay, one cycle, and clipping by value."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portable_nn import optim
from portable_nn.backend.errors import ArgumentError
from portable_nn.layers import Parameter, initializers
from tests.helpers import Backend, dtype_name, to_numpy

RATES = st.floats(1e-6, 10)


@given(lr=RATES, factor=st.floats(0.01, 1), every=st.integers(1, 100), step=st.integers(0, 1000))
def test_exponential(lr: float, factor: float, every: int, step: int) -> None:
    schedule = optim.Exponential(lr, factor, every)
    assert schedule(0, None) == lr
    assert schedule(step + every, None) == pytest.approx(schedule(step, None) * factor, rel=1e-9, abs=1e-300)
    assert schedule(step + 1, None) <= schedule(step, None)
    dropped = optim.Step(lr, every, factor)(step * every, None)
    assert dropped == pytest.approx(schedule(step * every, None), rel=1e-9, abs=1e-300)


@given(lr=RATES, steps=st.integers(1, 500), rise=st.floats(0, 1), step=st.integers(0, 600))
def test_one_cycle(lr: float, steps: int, rise: float, step: int) -> None:
    schedule = optim.OneCycle(lr, steps, rise)
    assert 0 < schedule(step, None) <= lr * (1 + 1e-12)
    assert schedule(step, None) == optim.OneCycle(lr, None, rise)(step, steps)
    assert schedule(steps + step, None) == pytest.approx(lr / 25e4)
    assert pickle.loads(pickle.dumps(schedule))(step, None) == schedule(step, None)


@pytest.mark.parametrize("bad", [
    lambda: optim.Exponential(0.1, 0.0), lambda: optim.Exponential(0.1, 0.5, 0), lambda: optim.OneCycle(0.1, rise=1.5),
    lambda: optim.OneCycle(0.1, start_factor=0), lambda: optim.OneCycle(0.1)(3, None),
    lambda: optim.clip_grad_value([], 0), lambda: optim.RMSprop([_parameter()], alpha=1.0),
    lambda: optim.RMSprop([_parameter()], momentum=-1), lambda: optim.Lion([_parameter()], betas=(0.9,)),
    lambda: optim.Lion([_parameter()], betas=("a", "b")),
])
def test_bad_arguments(bad: Any) -> None:
    with pytest.raises(ArgumentError):
        bad()


def _parameter() -> Parameter:
    return Parameter((2,), initializers.zeros)


def test_clipping_by_value(backend: Backend) -> None:
    parameters = [Parameter((3,), initializers.zeros, dtype_name(backend.float_dtype)) for _ in range(2)]
    given = backend.asarray(np.asarray([-3.0, 0.5, 2.0]), backend.float_dtype)
    for parameter, g in zip(parameters, (given, None)):
        parameter.data, parameter.grad = backend.asarray(np.zeros(3), backend.float_dtype), g
    optim.clip_grad_value(parameters, 1.0)
    backend.assert_close(parameters[0].grad, np.asarray([-1.0, 0.5, 1.0]).astype(dtype_name(backend.float_dtype)))
    np.testing.assert_array_equal(to_numpy(given), [-3.0, 0.5, 2.0])
    assert parameters[1].grad is None
