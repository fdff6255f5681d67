"""Calendar features against Python's own calendar."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portable_nn.backend.errors import ArgumentError, DataError, ShapeError
from portable_nn.data import calendar, calendar_names, day_types

_PARTS = {"time_of_day": "one_hot:48", "weekday": "one_hot", "month": "one_hot", "day_of_year": 1}


@given(st.lists(st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)), min_size=1, max_size=5))
def test_against_datetime(moments):
    moments = [moment.replace(microsecond=0) for moment in moments]
    times = np.asarray(moments, dtype="datetime64[s]")
    features = calendar(times, _PARTS, holidays=np.ones(len(moments), dtype=np.bool_))
    names = [*calendar_names(_PARTS), "holiday"]
    assert features.shape == (len(moments), len(names)) and features.dtype == np.float32
    for row, moment in zip(features, moments, strict=True):
        values = dict(zip(names, row, strict=True))
        slot = (moment.hour * 60 + moment.minute) // 30
        assert {name for name, value in values.items() if value == 1 and "sin" not in name and "cos" not in name} == {
            f"time_of_day_{slot}", f"weekday_{moment.weekday()}", f"month_{moment.month - 1}", "holiday"}
        start = dt.datetime(moment.year, 1, 1)
        phase = (moment - start) / (dt.datetime(moment.year + 1, 1, 1) - start)
        assert values["day_of_year_sin1"] == pytest.approx(math.sin(2 * math.pi * phase), abs=1e-6)
        assert values["day_of_year_cos1"] == pytest.approx(math.cos(2 * math.pi * phase), abs=1e-6)


def test_every_slot_starts_on_its_boundary():
    day = np.datetime64("2024-03-01") + np.arange(1440) * np.timedelta64(1, "m")
    for slots in (24, 48, 96, 1440):
        features = calendar(day, {"time_of_day": f"one_hot:{slots}"})
        np.testing.assert_array_equal(np.argmax(features, axis=1), np.arange(1440) * slots // 1440)


def test_default_columns():
    assert calendar(["2024-01-01", "2024-01-02T12:30"]).shape == (2, len(calendar_names())) == (2, 8 + 7 + 4)
    assert calendar(["2024-01-01"], {}).shape == (1, 0)


def test_types_of_day():
    days = np.datetime64("2024-04-01") + np.arange(7)  # Monday to Sunday
    holidays = np.asarray([1, 0, 0, 0, 0, 0, 0])
    assert day_types(days).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert day_types(days, holidays).tolist() == [7, 1, 2, 3, 4, 5, 6]
    features = calendar(days, {"day_type": "one_hot"}, holidays)
    assert features.shape == (7, 8) and np.argmax(features, axis=1).tolist() == [7, 1, 2, 3, 4, 5, 6]
    assert calendar_names({"day_type": "one_hot"}) == [f"day_type_{i}" for i in range(8)]


@pytest.mark.parametrize(("times", "options", "error", "text"), [
    (["2024-01-01"], {"parts": {"century": 1}}, ArgumentError, "century"),
    (["2024-01-01"], {"parts": {"weekday": "circle"}}, ArgumentError, "circle"),
    (["2024-01-01"], {"parts": {"weekday": 0}}, ArgumentError, "0 for weekday"),
    (["2024-01-01"], {"parts": {"weekday": "one_hot:0"}}, ArgumentError, "one_hot:0"),
    (["2024-01-01"], {"parts": {"day_type": "one_hot"}}, ArgumentError, "holidays"),
    (["2024-01-01"], {"parts": {"day_type": 2}}, ArgumentError, "one_hot"),
    (["yesterday"], {}, DataError, "yesterday"),
    (["NaT"], {}, DataError, "no time at row 0"),
    ([["2024-01-01"]], {}, ShapeError, r"\(1, 1\)"),
    (["2024-01-01"], {"holidays": [1, 0]}, ShapeError, r"\(2,\)"),
])
def test_bad_input(times, options, error, text):
    with pytest.raises(error, match=text):
        calendar(times, **options)
