"""Layers over channels and time agree with PyTorch in float64, in configurations that hypothesis draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from portable_nn import layers
from tests.parity.agreement import TOLERANCE, agree, normal

torch = pytest.importorskip("torch")

sizes, seeds, flags = st.integers(1, 5), st.integers(0, 10**6), st.booleans()
configurations = settings(max_examples=60, deadline=None)


@configurations
@given(sizes, st.integers(0, 4), sizes, st.sampled_from([0.1, 0.7, None]), st.sampled_from([1e-5, 1e-1]), flags, flags,
       seeds)
def test_batch_norm(rows: int, steps: int, channels: int, momentum: Any, eps: float, affine: bool, track: bool,
                    seed: int) -> None:
    assume(rows * max(steps, 1) > 1)
    shape = (rows, channels, steps) if steps else (rows, channels)
    options = (channels, eps, momentum, affine, track)
    ours, theirs = layers.BatchNorm1d(*options), torch.nn.BatchNorm1d(*options)
    for call in range(3):
        agree(ours, theirs, normal(seed + call, shape) + 3)
    compare_state(ours, theirs)
    agree(ours.eval(), theirs.eval(), normal(seed, shape))
    compare_state(ours, theirs)


def compare_state(ours: Any, theirs: Any) -> None:
    state = ours.state_dict()
    for name, x in theirs.state_dict().items():
        np.testing.assert_allclose(state[name], x.numpy(), **TOLERANCE)
        assert state[name].dtype.kind == x.numpy().dtype.kind


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1)])
def test_one_value_per_channel_raises_as_theirs_does(shape: tuple) -> None:
    for nn, x in ((layers, np.ones(shape, dtype=np.float32)), (torch.nn, torch.ones(shape))):
        with pytest.raises(ValueError, match="more than (one|1) value"):
            nn.BatchNorm1d(3)(x)


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
@configurations
@given(st.integers(0, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), sizes, st.integers(1, 3),
       st.integers(0, 4) | st.sampled_from(["same", "valid"]), st.integers(1, 3), flags, st.integers(0, 9), seeds)
def test_conv(rows: int, groups: int, inputs: int, outputs: int, kernel: int, stride: int, padding: Any, dilation: int,
              bias: bool, extra: int, seed: int) -> None:
    stride = 1 if padding == "same" else stride
    options = (groups * inputs, groups * outputs, kernel, stride, padding, dilation, groups, bias)
    steps = max(dilation * (kernel - 1) + 1 - (2 * padding if isinstance(padding, int) else 0), 1) + extra
    agree(layers.Conv1d(*options), torch.nn.Conv1d(*options), normal(seed, (rows, groups * inputs, steps)))


@configurations
@given(st.integers(1, 3), sizes, sizes, st.integers(1, 4) | st.none(), st.integers(0, 2), st.integers(1, 2),
       st.integers(0, 9), flags, seeds)
def test_pooling(rows: int, channels: int, kernel: int, stride: Any, padding: int, dilation: int, extra: int,
                 tied: bool, seed: int) -> None:
    padding = min(padding, kernel // 2)
    steps = max(dilation * (kernel - 1) + 1 - 2 * padding, dilation) + extra
    x = normal(seed, (rows, channels, steps))
    x = np.maximum(np.round(x), 0) if tied else x  # as behind a ReLU: the first of equal ones gets the gradient
    agree(layers.MaxPool1d(kernel, stride, padding, dilation), torch.nn.MaxPool1d(kernel, stride, padding, dilation), x)
    if steps + 2 * padding >= kernel:
        for counted in (False, True):
            options = {"kernel_size": kernel, "stride": stride, "padding": padding, "count_include_pad": counted}
            agree(layers.AvgPool1d(**options), torch.nn.AvgPool1d(**options), x)


@configurations
@given(st.integers(1, 3), sizes, sizes, flags, seeds)
def test_pooling_of_whole_sequences(rows: int, channels: int, steps: int, tied: bool, seed: int) -> None:
    x = normal(seed, (rows, channels, steps))
    x = np.maximum(np.round(x), 0) if tied else x
    for name in ("Max", "Avg"):
        theirs = torch.nn.Sequential(getattr(torch.nn, f"Adaptive{name}Pool1d")(1), torch.nn.Flatten())
        agree(getattr(layers, f"Global{name}Pool1d")(), theirs, x)


def test_defaults_are_pytorchs() -> None:
    for name, arguments in (("BatchNorm1d", (3,)), ("Conv1d", (3, 4, 5)), ("MaxPool1d", (3,)), ("AvgPool1d", (3,))):
        ours, theirs = getattr(layers, name)(*arguments), getattr(torch.nn, name)(*arguments)
        for option in ("eps", "momentum", "affine", "track_running_stats", "stride", "padding", "dilation", "groups",
                       "count_include_pad"):
            if hasattr(ours, option):
                theirs_value = getattr(theirs, option)
                theirs_value = theirs_value[0] if isinstance(theirs_value, tuple) else theirs_value
                assert getattr(ours, option) == theirs_value, (name, option)
        assert {k: tuple(x.shape) for k, x in ours.state_dict().items()} == {
            k: tuple(x.shape) for k, x in theirs.state_dict().items()}
