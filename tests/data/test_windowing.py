"""Windows over series: values by their definition, no copies, and how they fall into splits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portable_nn.backend.errors import ArgumentError, DataError, DTypeError, ShapeError
from portable_nn.data import rows, windows


@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 4), st.integers(0, 15), st.integers(1, 3))
def test_values_by_definition(context, horizon, stride, extra, features):
    count = context + horizon + extra
    series = np.arange(count * features, dtype=np.float64).reshape(count, features)
    known = -series[:, :1]
    view = windows(series, context, horizon, stride, targets=series[:, 0], known=known)
    assert len(view) == (count - context - horizon) // stride + 1
    assert view.inputs.shape == (len(view), context, features) and view.targets.shape == (len(view), horizon)
    for i, origin in enumerate(view.origins):
        assert origin == i * stride + context
        np.testing.assert_array_equal(view.inputs[i], series[origin - context:origin])
        np.testing.assert_array_equal(view.targets[i], series[origin:origin + horizon, 0])
        np.testing.assert_array_equal(view.known[i], known[origin:origin + horizon])
    index = np.arange(len(view))[::-1]
    (x, future), y = rows(view, index)
    np.testing.assert_array_equal(x, view.inputs[index])
    np.testing.assert_array_equal(future, view.known[index])
    np.testing.assert_array_equal(y, view.targets[index])


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(0, 40), st.integers(0, 40))
def test_within_takes_the_windows_whose_targets_lie_there(context, horizon, stride, start, stop):
    view = windows(np.arange(40.0), context, horizon, stride)
    wanted = [i for i, targets in enumerate(view.targets) if start <= targets[0] and targets[-1] < stop]
    if not wanted:
        with pytest.raises(DataError, match="rows for a window"):
            view.within(start, stop)
        return
    part = view.within(start, stop)
    np.testing.assert_array_equal(part.targets, view.targets[wanted])
    np.testing.assert_array_equal(part.inputs, view.inputs[wanted])


def test_nothing_is_copied_and_views_are_read_only():
    series = np.zeros((1000, 3))
    view = windows(series, 336, 48)
    assert view.inputs.shape == (617, 336, 3) and view.targets.shape == (617, 48, 3)
    assert np.shares_memory(view.inputs, series) and np.shares_memory(view.within(500, 900).targets, series)
    assert not view.inputs.flags.writeable
    x, y = rows(view, slice(0, 100))
    assert np.shares_memory(x, series)
    assert repr(view) == "Windows(617, context=336, horizon=48, inputs (617, 336, 3))"


@pytest.mark.parametrize(("series", "options", "error", "text"), [
    (np.arange(9.0), {}, DataError, r"8 \+ 2 = 10 rows; got 9 rows"),
    (np.asarray([0.0] * 10 + [np.nan]), {}, DataError, "nan in series at row 10"),
    (np.zeros((20, 2, 2)), {}, ShapeError, r"\(20, 2, 2\)"),
    ([1.0] * 20, {}, DTypeError, "list"),
    (np.asarray(["a"] * 20), {}, DTypeError, "<U1"),
    (np.zeros(20), {"stride": 0}, ArgumentError, "stride as a positive"),
    (np.zeros(20), {"horizon": 1.5}, ArgumentError, "horizon as a positive"),
    (np.zeros(20), {"known": np.zeros((19, 2))}, ShapeError, "known of 20 rows.*got 19"),
    (np.zeros(20), {"targets": np.full(20, np.inf)}, DataError, "inf in targets at row 0"),
    (np.asarray(1.0), {}, ShapeError, r"\(\)"),
])
def test_bad_input(series, options, error, text):
    with pytest.raises(error, match=text):
        windows(series, **{"context": 8, "horizon": 2, **options})
