"""From a time series to what a forecaster sees, and from its forecasts back to the data's units. On the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from portable_nn import data
from portable_nn.backend.errors import ArgumentError, DataError, FileError, ShapeError
from portable_nn.models.forecasting.inputs import ForecastInputs, ForecastSizes
from portable_nn.models.options import positive


class ForecastWindows(NamedTuple):
    """Windows of a series, ready for `fit`, `evaluate` and `predict`.

    Parameters
    ----------
    inputs : ForecastInputs of n windows, float32
    targets : array (n, horizon) float32
        Standardised, less the usual value: what the model forecasts.
    usual : array (n, horizon) float64
        The usual value of the rows to forecast, standardised; 0 without a climatology.
    origins : int64 array (n,)
        First row to forecast of each window.
    timestamps : datetime64[s] array (n, horizon)
        Of the rows to forecast.
    """

    inputs: ForecastInputs
    targets: np.ndarray
    usual: np.ndarray
    origins: np.ndarray
    timestamps: np.ndarray


class SeriesEncoder:
    """Standardises a series, subtracts what is usual at each moment, and cuts windows with their calendar.

    Everything it learns (means, deviations, the climatology) it learns from the training rows given to `fit`. A
    window's inputs end at its origin, except calendar, holidays, and the usual values, which follow from these.

    Parameters
    ----------
    context, horizon : int
        In rows.
    calendar : dict, optional
        Parts of `data.calendar` that describe the first moment to forecast; none by default.
    climatology : dict, optional
        Options of `data.Climatology`, whose values are subtracted from the series and shown ahead; none by default.
    holidays : bool
        Whether the holidays of the horizon are shown.

    Examples
    --------
    >>> series = data.load_series("sine")
    >>> encoder = SeriesEncoder(context=10, horizon=1).fit(series, slice(0, 700))
    >>> windows = encoder.windows(series, 700, 850)
    >>> windows.inputs.past.shape, windows.targets.shape
    ((150, 10, 1), (150, 1))
    """

    def __init__(self, context: int, horizon: int, *, calendar: Mapping[str, int | str] | None = None,
                 climatology: Mapping[str, Any] | None = None, holidays: bool = False) -> None:
        self.context, self.horizon = positive("context", context), positive("horizon", horizon)
        self.calendar, self.holidays = dict(calendar or {}), bool(holidays)
        self.names = data.calendar_names(self.calendar) if self.calendar else []
        self.climatology = None if climatology is None else data.Climatology(**climatology)

    def fit(self, series: data.Series, rows: slice) -> SeriesEncoder:
        """Learn from the training rows `rows` of the series alone; returns itself.

        Raises
        ------
        DataError
            NaN or infinity in a training row, or no rows.
        """
        table = _table(series)[rows]
        self.scaler = data.Scaler().fit(table)
        if self.climatology is not None:
            self.climatology.fit(self.scaler.transform(table)[:, 0], series.timestamps[rows], series.holidays[rows])
        return self

    @property
    def sizes(self) -> ForecastSizes:
        """The sizes that the forecaster is to be built with: `Forecaster(**encoder.sizes._asdict())`."""
        known = (self.climatology is not None) + self.holidays
        return ForecastSizes(self.context, self.horizon, len(self._fitted().mean) - 1, known, len(self.names))

    def windows(self, series: data.Series, start: int = 0, stop: int | None = None) -> ForecastWindows:
        """The windows whose targets all lie in rows [start, stop); their past may reach back before `start`.

        Raises
        ------
        DataError
            No window fits, or there is NaN or infinity in the series.
        ShapeError
            Other covariates than the encoder was fitted on.
        """
        usual = self._usual(series)
        past = self._fitted_table(series)
        past[:, 0] -= usual
        known = [usual[:, None]] * (self.climatology is not None) + [series.holidays[:, None]] * self.holidays
        view = data.windows(past.astype(np.float32), self.context, self.horizon, targets=past[:, 0].astype(np.float32),
                            known=np.concatenate([np.zeros((len(past), 0)), *known], axis=1).astype(np.float32))
        view = view.within(start, len(past) if stop is None else stop)
        calendar = data.calendar(series.timestamps[view.origins], self.calendar)                    # (n, S)
        ahead = slice(view.origins[0], view.origins[-1] + 1)
        usual, times = (np.lib.stride_tricks.sliding_window_view(rows, self.horizon)[ahead]
                        for rows in (usual, series.timestamps))
        inputs = ForecastInputs(view.inputs, view.known, calendar)
        return ForecastWindows(inputs, view.targets, usual, view.origins, times)

    def next_window(self, series: data.Series, holidays: Any = None) -> ForecastWindows:
        """The one window that starts after the end of the series; its targets are NaN.

        `holidays` (horizon,) says which of its rows are holidays; none by default.

        Raises
        ------
        DataError
            The series is shorter than the context.
        """
        count = len(series.values)
        if count < self.context:
            raise DataError(f"a series of at least {self.context} rows, the context", f"{count} rows",
                            "pass a longer one")
        coming = np.zeros(self.horizon, dtype=np.bool_) if holidays is None else np.asarray(holidays, dtype=np.bool_)
        if coming.shape != (self.horizon,):
            raise ShapeError(f"holidays of shape ({self.horizon},)", f"{coming.shape}",
                             "pass one for each row to forecast")
        # The rows to come hold the last value, so that windows can be cut; they are targets, and no input sees them.
        longer = series._replace(
            values=np.concatenate([series.values, np.repeat(series.values[-1:], self.horizon)]),
            covariates=np.concatenate([series.covariates, np.repeat(series.covariates[-1:], self.horizon, axis=0)]),
            timestamps=np.concatenate([series.timestamps, following(series.timestamps, self.horizon)]),
            holidays=np.concatenate([series.holidays, coming]))
        window = self.windows(longer, count)
        return window._replace(targets=np.full_like(window.targets, np.nan))

    def in_units(self, forecasts: np.ndarray, usual: np.ndarray) -> np.ndarray:
        """Forecasts or targets (n, horizon), with the usual values of their windows, in the data's units, float64."""
        return self._fitted().column(0).inverse(forecasts.astype(np.float64) + usual)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON holds them."""
        options = None if self.climatology is None else {
            "slots": self.climatology.slots, "harmonics": self.climatology.harmonics, "ridge": self.climatology.ridge}
        return {"context": self.context, "horizon": self.horizon, "calendar": self.calendar, "climatology": options,
                "holidays": self.holidays}

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """`(config, arrays)`: options for JSON; means, deviations and climatology coefficients for safetensors."""
        arrays = {f"scaler.{name}": x for name, x in self._fitted().state()[1].items()}
        if self.climatology is not None:
            arrays.update({f"climatology.{name}": x for name, x in self.climatology.state()[1].items()})
        return {"type": "SeriesEncoder", "options": self.config()}, arrays

    @classmethod
    def from_state(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> SeriesEncoder:
        """Rebuild a fitted encoder from `state()`; FileError where the two are damaged or do not fit together."""
        try:
            encoder = cls(**config["options"])
        except (KeyError, TypeError, AttributeError, ArgumentError) as error:
            raise FileError("the options of a series encoder", repr(error), "save the model again") from error
        encoder.scaler = data.Scaler.from_state({}, _below("scaler.", arrays))
        if encoder.scaler.mean.ndim != 1:
            raise FileError("a mean for each column", f"shape {encoder.scaler.mean.shape}", "save the model again")
        if encoder.climatology is not None:
            options = {"options": config["options"]["climatology"]}
            encoder.climatology = data.Climatology.from_state(options, _below("climatology.", arrays))
        return encoder

    def __repr__(self) -> str:
        return "SeriesEncoder(" + ", ".join(f"{name}={value!r}" for name, value in self.config().items()) + ")"

    def _fitted(self) -> data.Scaler:
        if not hasattr(self, "scaler"):
            raise ArgumentError("an encoder that was fitted", "one that was not", "call fit on the training rows first")
        return self.scaler

    def _fitted_table(self, series: data.Series) -> np.ndarray:
        return self._fitted().transform(_table(series))

    def _usual(self, series: data.Series) -> np.ndarray:
        if self.climatology is None:
            return np.zeros(len(series.values), dtype=np.float64)
        return self.climatology.predict(series.timestamps, series.holidays)


def following(timestamps: np.ndarray, count: int) -> np.ndarray:
    """The next `count` moments (count,): steps as long as the last, or months where the last moments start months."""
    months = timestamps[-2:].astype("datetime64[M]")
    if len(months) == 2 and (months == timestamps[-2:]).all() and months[0] < months[1]:
        return (months[-1] + (months[1] - months[0]) * np.arange(1, count + 1)).astype(timestamps.dtype)
    step = timestamps[-1] - timestamps[-2] if len(timestamps) > 1 else np.timedelta64(1, "s")
    return timestamps[-1] + step * np.arange(1, count + 1)


def _table(series: data.Series) -> np.ndarray:
    """The series and its covariates side by side, (N, 1 + C) float64."""
    return np.concatenate([series.values[:, None], series.covariates], axis=1).astype(np.float64)


def _below(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}
