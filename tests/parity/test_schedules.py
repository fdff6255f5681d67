"""Schedules give PyTorch's learning rates."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portable_nn import optim

torch = pytest.importorskip("torch")


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 200), st.floats(0.2, 0.8), st.floats(2, 50), st.floats(2, 1e4))
def test_one_cycle(steps: int, rise: float, start_factor: float, final_factor: float) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.3, steps, pct_start=rise, div_factor=start_factor,
                                                 final_div_factor=final_factor, cycle_momentum=False)
    ours = optim.OneCycle(0.3, steps, rise, start_factor, final_factor)
    for step in range(steps):
        assert ours(step, None) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        theirs.step()


def test_exponential() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    theirs = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    for step in range(20):
        assert optim.Exponential(0.3, 0.9)(step, None) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        theirs.step()
