"""Schedules are functions of the step number alone."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portable_nn import optim
from portable_nn.layers import Parameter, initializers

RATES = st.floats(1e-6, 10)
STEPS = st.integers(0, 10_000)
SCHEDULES = st.one_of(
    st.builds(optim.Constant, RATES),
    st.builds(optim.Step, RATES, st.integers(1, 100), st.floats(0.01, 1)),
    st.builds(lambda lr, steps, share: optim.Cosine(lr, steps, lr * share), RATES, st.integers(1, 1000),
              st.floats(0, 1)),
    st.builds(lambda lr: optim.Cosine(lr), RATES),
)


@given(schedule=SCHEDULES, warm=st.integers(0, 50), step=STEPS, total=st.integers(1, 10_000))
def test_rates_are_between_zero_and_the_peak(schedule: Any, warm: int, step: int, total: int) -> None:
    for candidate in (schedule, optim.Warmup(schedule, warm)):
        assert 0 <= candidate(step, total) <= schedule.lr * (1 + 1e-12)
        assert pickle.loads(pickle.dumps(candidate))(step, total) == candidate(step, total)


@given(schedule=SCHEDULES, step=STEPS, total=st.integers(1, 10_000))
def test_they_never_rise_but_in_a_warm_up(schedule: Any, step: int, total: int) -> None:
    assert schedule(step + 1, total) <= schedule(step, total) * (1 + 1e-12)


@given(schedule=SCHEDULES, warm=st.integers(1, 50), total=st.integers(100, 10_000))
def test_warm_up_climbs_evenly_to_the_start(schedule: Any, warm: int, total: int) -> None:
    whole = optim.Warmup(schedule, warm)
    peak = schedule(0, total - warm)
    np.testing.assert_allclose([whole(k, total) for k in range(warm)], peak * np.arange(1, warm + 1) / warm)
    for k in (0, 1, 17):
        assert whole(warm + k, total) == schedule(k, total - warm)


@given(lr=RATES, steps=st.integers(1, 1000), share=st.floats(0, 1))
def test_cosine_ends(lr: float, steps: int, share: float) -> None:
    schedule = optim.Cosine(lr, steps, lr * share)
    assert schedule(0, None) == pytest.approx(lr)
    assert schedule(steps, None) == schedule(steps + 7, None) == pytest.approx(lr * share)
    assert schedule(steps // 2, None) + schedule(steps - steps // 2, None) == pytest.approx(lr * (1 + share))


@given(lr=RATES, every=st.integers(1, 100), step=STEPS)
def test_step_drops(lr: float, every: int, step: int) -> None:
    assert optim.Step(lr, every, 0.5)(step, None) == pytest.approx(lr * 0.5 ** (step // every))


@pytest.mark.parametrize("schedule", [optim.Cosine(0.1, 10), optim.Warmup(optim.Step(0.1, 2), 3), optim.Constant(0.3)])
def test_the_optimizer_follows(schedule: Any) -> None:
    parameter = Parameter((1,), initializers.zeros, "float64")
    parameter.data = np.zeros(1)
    optimizer = optim.SGD([parameter], lr=schedule)
    position = 0.0
    for step in range(12):
        if step == 6:  # a new optimiser goes on from the state
            saved, optimizer = optimizer.state_dict(), optim.SGD([parameter], lr=schedule)
            optimizer.load_state_dict(saved)
        assert optimizer.lr() == schedule(step, None)
        optimizer.step([np.ones(1)])
        position -= schedule(step, None)
        assert parameter.data[0] == pytest.approx(position, rel=1e-14)


def test_the_planned_number_of_steps_is_in_the_state() -> None:
    optimizer, other = (optim.SGD([Parameter((1,), initializers.zeros)], lr=optim.Cosine(1.0)) for _ in range(2))
    optimizer.steps, optimizer.total_steps = 2, 4
    other.load_state_dict(optimizer.state_dict())
    assert other.lr() == optimizer.lr() == pytest.approx(0.5)
