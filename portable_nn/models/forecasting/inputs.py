"""What a forecaster is shown, and how many columns of each kind it has."""

from __future__ import annotations

from typing import Any, NamedTuple

from portable_nn.backend.errors import ShapeError


class ForecastInputs(NamedTuple):
    """The past up to the forecast's origin, and what is known beforehand of the rows to forecast.

    Parameters
    ----------
    past : floating array (B, context, 1 + covariates)
        Column 0 is the series to forecast, the others are measurements beside it.
    known : floating array (B, horizon, K)
        What is known ahead of time, such as holidays and the usual value; K may be 0.
    start : floating array (B, S)
        The calendar of the first moment to forecast; S may be 0.
    """

    past: Any
    known: Any
    start: Any


class ForecastSizes(NamedTuple):
    """Lengths in rows and numbers of columns, as `ForecastInputs` has them."""

    context: int
    horizon: int
    covariates: int = 0
    known: int = 0
    start: int = 0

    def check(self, inputs: Any) -> ForecastInputs:
        """Return `inputs` as ForecastInputs; ShapeError unless its arrays have these sizes and one number of rows."""
        if not isinstance(inputs, (tuple, list)) or len(inputs) != 3:
            raise ShapeError("three arrays: past, known, start", f"{type(inputs).__name__}",
                             "pass ForecastInputs, as SeriesEncoder.windows makes them")
        inputs = ForecastInputs(*inputs)
        shapes = tuple(tuple(part.shape) for part in inputs)
        rows = shapes[0][0] if shapes[0] else 0
        expected = ((rows, self.context, 1 + self.covariates), (rows, self.horizon, self.known), (rows, self.start))
        if shapes != expected:
            names = ForecastInputs._fields
            raise ShapeError(", ".join(f"{n} of shape {s}" for n, s in zip(names, expected, strict=True)),
                             ", ".join(f"{n} {s}" for n, s in zip(names, shapes, strict=True)),
                             "encode the series with the encoder that the model was built for")
        return inputs
