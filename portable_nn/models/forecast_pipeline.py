"""A series in, its next values out: an encoder and the forecaster trained on its windows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from portable_nn.backend.errors import ArgumentError
from portable_nn.data import Series
from portable_nn.models.forecaster import Forecaster
from portable_nn.models.forecasting import ForecastWindows, SeriesEncoder
from portable_nn.training import predict


class Forecast(NamedTuple):
    """Moments (horizon,) datetime64[s], and the values (horizon,) float64 forecast for them, in the data's units."""

    timestamps: np.ndarray
    values: np.ndarray


class ForecastPipeline:
    """A trained forecaster with what it needs to answer for a series; `models.save` keeps the two together.

    Parameters
    ----------
    encoder : SeriesEncoder
        Fitted, on the training rows.
    model : Forecaster
    target : str
        Name of the column that is forecast.
    covariates : sequence of str
        Names of the columns beside it, in the encoder's order.
    unit : str
        Of the target, for printing.

    Raises
    ------
    ArgumentError
        They do not fit together.

    Examples
    --------
    >>> from portable_nn import data
    >>> series = data.load_series("sine")
    >>> encoder = SeriesEncoder(context=10, horizon=3).fit(series, slice(0, 700))
    >>> pipeline = ForecastPipeline(encoder, Forecaster(**encoder.sizes._asdict()))
    >>> pipeline.forecast(series).values.shape
    (3,)
    """

    def __init__(self, encoder: SeriesEncoder, model: Forecaster, target: str = "target",
                 covariates: Any = (), unit: str = "") -> None:
        if not isinstance(encoder, SeriesEncoder) or not isinstance(model, Forecaster):
            raise ArgumentError("a SeriesEncoder and a Forecaster",
                                f"{type(encoder).__name__} and {type(model).__name__}", "pass them in this order")
        if encoder.sizes != model.sizes:
            raise ArgumentError(f"a model of the encoder's sizes, {encoder.sizes}", f"{model.sizes}",
                                "build it with Forecaster(**encoder.sizes._asdict(), …)")
        names = [target, *covariates]
        if len(covariates) != encoder.sizes.covariates or not all(isinstance(name, str) for name in [*names, unit]):
            raise ArgumentError(f"the names of the target and of {encoder.sizes.covariates} covariates, and a unit",
                                f"{names}", "name the columns the encoder was fitted on")
        self.encoder, self.model = encoder, model
        self.target, self.covariates, self.unit = target, list(covariates), unit

    def forecast(self, series: Series, holidays: Any = None) -> Forecast:
        """Forecast the rows after the end of the series; `holidays` (horizon,) says which of them are, none by default.

        Raises
        ------
        DataError
            The series is shorter than the context, or holds NaN.
        """
        window = self.encoder.next_window(series, holidays)
        return Forecast(window.timestamps[0], self.predict(window)[0])

    def predict(self, windows: ForecastWindows) -> np.ndarray:
        """The forecasts of the encoder's windows, (n, horizon) float64, in the data's units."""
        return self.encoder.in_units(predict(self.model, windows.inputs), windows.usual)

    def to(self, device: str) -> ForecastPipeline:
        """Move the model, for example to "cuda"; returns self."""
        self.model.to(device)
        return self

    def parts(self) -> dict[str, Any]:
        """What is saved as arrays and options of its own."""
        return {"encoder": self.encoder, "model": self.model}

    def config(self) -> dict[str, Any]:
        """The constructor's other arguments, as JSON holds them."""
        return {"target": self.target, "covariates": self.covariates, "unit": self.unit}

    def __repr__(self) -> str:
        return f"ForecastPipeline({self.encoder!r}, {self.model!r}, target={self.target!r})"
