"""Series in, forecasts out; and that nothing looks ahead."""

from __future__ import annotations

import numpy as np
import pytest

from portable_nn.backend.errors import ArgumentError, DataError, FileError, ShapeError
from portable_nn.data import Series
from portable_nn.models import (
    Forecaster,
    ForecastPipeline,
    SeriesEncoder,
    load,
    naive_forecasts,
    ridge_forecasts,
    save,
)
from portable_nn.models.forecasting.encoder import following

HOURS = np.timedelta64(3600, "s")
TRAIN = slice(0, 24 * 30)


def make_series(days=50, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(24 * days)
    values = 100 + 10 * np.sin(2 * np.pi * t / 24) + rng.normal(size=len(t))
    holidays = np.isin(t // 24, [3, 17, 33, 41])
    times = np.datetime64("2024-01-01T00:00:00", "s") + t * HOURS
    return Series(values, rng.normal(5, 2, size=(len(t), 2)), ["wind", "sun"], times, holidays, "MW")


def make_encoder(series):
    return SeriesEncoder(48, 12, calendar={"time_of_day": 2, "weekday": "one_hot"}, holidays=True,
                         climatology={"slots": 24, "harmonics": 0}).fit(series, TRAIN)


def make_pipeline(series):
    encoder = make_encoder(series)
    model = Forecaster(**encoder.sizes._asdict(), lags=(1, 24), hidden=[8], recent=24, older=6, day=24).initialize(0)
    rng = np.random.default_rng(1)
    model.load_state_dict({name: 0.1 * rng.normal(size=x.shape) for name, x in model.state_dict().items()})
    return ForecastPipeline(encoder, model.eval(), "load", ["wind", "sun"], "MW")


def flat(inputs):
    return [np.array(part) for part in inputs]


def test_windows_hold_what_they_say():
    series = make_series()
    encoder = make_encoder(series)
    windows = encoder.windows(series, TRAIN.stop, len(series.values))
    n = len(series.values) - TRAIN.stop - 11
    past, known, start = windows.inputs
    assert past.shape == (n, 48, 3) and known.shape == (n, 12, 2) and start.shape == (n, 11)
    assert {part.dtype for part in (past, known, start, windows.targets)} == {np.dtype(np.float32)}
    rows = windows.origins[:, None] + np.arange(12)
    np.testing.assert_allclose(encoder.in_units(windows.targets, windows.usual), series.values[rows], rtol=1e-5)
    np.testing.assert_array_equal(known[..., 1], series.holidays[rows])
    np.testing.assert_allclose(known[..., 0], windows.usual, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(windows.timestamps, series.timestamps[rows])
    beside = (series.covariates - series.covariates[TRAIN].mean(axis=0)) / series.covariates[TRAIN].std(axis=0)
    np.testing.assert_allclose(past[0, :, 1:], beside[TRAIN.stop - 48:TRAIN.stop], rtol=1e-4, atol=1e-5)


def test_no_input_sees_behind_the_origin():
    """Whatever happens after the origin, but for calendar and holidays, the inputs are the same."""
    series, origin = make_series(), TRAIN.stop + 100
    encoder = make_encoder(series)
    changed = series._replace(values=series.values.copy(), covariates=series.covariates.copy())
    changed.values[origin:] += 1000.0
    changed.covariates[origin:] -= 1000.0
    before, after = (encoder.windows(s, origin, origin + 12) for s in (series, changed))
    assert len(before.origins) == 1 and before.origins[0] == origin
    for a, b in zip(flat(before.inputs), flat(after.inputs), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.abs(after.targets - before.targets).min() > 1
    changed.values[origin - 1] += 1000.0
    assert not np.array_equal(flat(encoder.windows(changed, origin, origin + 12).inputs)[0], flat(before.inputs)[0])


def test_what_is_fitted_comes_from_training_rows_alone():
    series = make_series()
    changed = series._replace(values=series.values.copy(), covariates=series.covariates.copy(),
                              holidays=series.holidays.copy())
    changed.values[TRAIN.stop:] = -1e6
    changed.covariates[TRAIN.stop:] = 1e6
    changed.holidays[TRAIN.stop:] = True
    (config, arrays), (other, others) = (make_encoder(s).state() for s in (series, changed))
    assert config == other and arrays.keys() == others.keys()
    for name, x in arrays.items():
        np.testing.assert_array_equal(x, others[name])
    changed.values[TRAIN.stop - 1] += 1.0
    assert make_encoder(changed).state()[1]["scaler.mean"][0] != arrays["scaler.mean"][0]


def test_training_windows_stay_inside_the_training_rows():
    series = make_series()
    windows = make_encoder(series).windows(series, TRAIN.start, TRAIN.stop)
    assert windows.origins[0] == 48 and windows.origins[-1] + 12 == TRAIN.stop
    assert windows.timestamps.max() == series.timestamps[TRAIN.stop - 1]


def test_the_next_window_is_the_one_a_longer_series_has():
    series, end = make_series(), 24 * 41  # day 41 is a holiday
    pipeline = make_pipeline(series)
    shorter = Series(*(part[:end] if isinstance(part, np.ndarray) else part for part in series))
    window = pipeline.encoder.next_window(shorter, series.holidays[end:end + 12])
    same = pipeline.encoder.windows(series, end, end + 12)
    for a, b in zip(flat(window.inputs), flat(same.inputs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert np.isnan(window.targets).all() and (window.timestamps == same.timestamps).all()
    forecast = pipeline.forecast(shorter, series.holidays[end:end + 12])
    np.testing.assert_allclose(forecast.values, pipeline.predict(same)[0], rtol=1e-6)
    assert np.abs(pipeline.forecast(shorter).values - forecast.values).max() > 0


def test_saved_and_loaded_it_forecasts_the_same(tmp_path):
    series = make_series()
    pipeline = make_pipeline(series)
    save(pipeline, tmp_path / "model")
    again = load(tmp_path / "model")
    assert repr(again) == repr(pipeline) and again.config() == pipeline.config()
    np.testing.assert_array_equal(again.forecast(series).values, pipeline.forecast(series).values)
    save(pipeline.model, tmp_path / "bare")
    assert load(tmp_path / "bare").config() == pipeline.model.config()


def test_damaged_states_are_refused():
    config, arrays = make_encoder(make_series()).state()
    for bad in ({}, {"options": {"context": 0, "horizon": 1}}, {"options": {**config["options"], "secret": 1}}):
        with pytest.raises(FileError):
            SeriesEncoder.from_state(bad, arrays)
    for name in arrays:
        with pytest.raises(FileError):
            SeriesEncoder.from_state(config, {key: x for key, x in arrays.items() if key != name})
    one = np.asarray(1.0)
    with pytest.raises(FileError):
        SeriesEncoder.from_state(config, {**arrays, "scaler.mean": one, "scaler.deviation": one})


def test_following_moments():
    months = np.asarray(["2024-11-01", "2024-12-01"], dtype="datetime64[s]")
    np.testing.assert_array_equal(following(months, 2), np.asarray(["2025-01-01", "2025-02-01"], dtype="datetime64[s]"))
    np.testing.assert_array_equal(following(months[:1] + np.arange(3) * HOURS, 2), months[0] + np.arange(3, 5) * HOURS)
    assert following(months[:1], 2).shape == (2,)


def test_bad_series():
    series = make_series()
    encoder, pipeline = make_encoder(series), make_pipeline(series)
    short = Series(*(part[:40] if isinstance(part, np.ndarray) else part for part in series))
    holed = series._replace(values=np.where(np.arange(len(series.values)) == 100, np.nan, series.values))
    with pytest.raises(DataError, match="60"):
        encoder.windows(short)
    with pytest.raises(DataError, match="48 rows"):
        pipeline.forecast(short)
    with pytest.raises(DataError, match="100"):
        encoder.windows(holed)
    with pytest.raises(DataError, match="100"):
        make_encoder(holed)
    with pytest.raises(ShapeError, match="12"):
        pipeline.forecast(series, holidays=[True])
    with pytest.raises(ShapeError):
        encoder.windows(series._replace(covariates=series.covariates[:, :1]))
    with pytest.raises(ArgumentError, match="fitted"):
        SeriesEncoder(4, 2).windows(series)


def test_parts_that_do_not_fit():
    encoder = make_encoder(make_series())
    model = Forecaster(**encoder.sizes._asdict())
    for arguments in ((model, encoder), (encoder, Forecaster(48, 12)), (encoder, model, "load", ["wind"])):
        with pytest.raises(ArgumentError):
            ForecastPipeline(*arguments)


def test_naive_forecasts_repeat_the_past():
    values, origins = np.arange(10.0), np.asarray([4, 6])
    np.testing.assert_array_equal(naive_forecasts(values, origins, 3, 1), [[3, 3, 3], [5, 5, 5]])
    np.testing.assert_array_equal(naive_forecasts(values, origins, 3, 2), [[2, 3, 2], [4, 5, 4]])
    np.testing.assert_array_equal(naive_forecasts(values, origins, 3, 4), [[0, 1, 2], [2, 3, 4]])
    for lag in (0, 5):
        with pytest.raises(ArgumentError, match="lag"):
            naive_forecasts(values, origins, 3, lag)


def test_ridge_is_scikit_learns():
    from sklearn.linear_model import Ridge

    values = np.random.default_rng(0).normal(size=200) + 3
    view = np.lib.stride_tricks.sliding_window_view(values, 8)
    train, test = np.arange(6, 150), np.arange(150, 190)
    reference = Ridge(alpha=2.0).fit(view[train - 6][:, :6], view[train - 6][:, 6:])
    np.testing.assert_allclose(ridge_forecasts(values, train, test, 6, 2, penalty=2.0),
                               reference.predict(view[test - 6][:, :6]), rtol=1e-8)
