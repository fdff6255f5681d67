"""ŷ = mean over members m of naive_m(past) + body_m(past, known, start)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from portable_nn import layers
from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.namespace import array_namespace
from portable_nn.models.forecasting import BODIES, ForecastInputs, ForecastSizes
from portable_nn.models.options import positive


class Members(layers.Module):
    """Several forecasts of the same rows, each a naive forecast and what the body adds to it.

    The naive forecast of lag k repeats the last k rows of the past: k = 1 is the last value, a day of rows the same
    time yesterday; k = 0 is 0, no naive forecast at all. Member m takes lag m modulo the number of lags.

    Shape
    -----
    ForecastInputs of B rows -> (B, members, horizon)
    """

    def __init__(self, sizes: ForecastSizes, lags: Sequence[int], body: layers.Module, members: int) -> None:
        self.sizes, self.lags, self.count = sizes, tuple(lags), members
        self.body: Any = body

    def forward(self, inputs: ForecastInputs) -> Any:
        inputs = self.sizes.check(inputs)
        xp = array_namespace(inputs.past)
        target = inputs.past[:, :, 0]                                                        # (B, context)
        naive = [self._naive(xp, target, lag) for lag in self.lags[:self.count]]             # lags × (B, horizon)
        return xp.stack([naive[m % len(naive)] for m in range(self.count)], axis=1) + self.body(inputs)

    def _naive(self, xp: Any, target: Any, lag: int) -> Any:
        context, horizon = self.sizes.context, self.sizes.horizon
        if lag == 0:
            return xp.zeros_like(target[:, :1]) * xp.zeros((1, horizon), dtype=target.dtype, device=target.device)
        last = target[:, context - lag:context - lag + min(lag, horizon)]                    # (B, min(lag, horizon))
        times = -(-horizon // lag)
        return last if times == 1 else xp.concat([last] * times, axis=1)[:, :horizon]


class Forecaster(layers.Module):
    """The mean of several corrected naive forecasts.

    Members are trained side by side, each against the target by itself, on `forecaster.members`; their errors differ
    most where they start from different naive forecasts, and their mean is better than any of them:

        y = numpy.broadcast_to(targets[:, None], (len(targets), model.members.count, model.sizes.horizon))
        fit(model.members, MSELoss(), AdamW(model.parameters()), train=(inputs, y))

    With one member `fit(model, …)` does the same. Whether values are standardised, or differences from what is usual,
    is up to who makes the inputs: `SeriesEncoder`.

    Shape
    -----
    ForecastInputs of B rows: past (B, context, 1 + covariates), known (B, horizon, known), start (B, start)
    -> (B, horizon)

    Parameters
    ----------
    context, horizon : int
        Rows of the past that are seen, and rows to forecast.
    covariates, known, start : int
        Numbers of columns of the inputs.
    body : "linear", "mlp", "lstm" or "transformer"
        What computes the corrections: a name of `models.forecasting.BODIES`.
    lags : sequence of int
        The naive forecasts to correct, each up to `context`; see `Members`.
    members : int, optional
        How many; by default one for each lag.
    **options
        The body's own, such as `hidden`.

    Attributes
    ----------
    members : Members
        ForecastInputs -> (B, members, horizon)

    Raises
    ------
    ArgumentError
        The body is unknown, a lag is longer than the context, or an option is not the body's or out of range.
    ShapeError
        Inputs of other sizes.

    Examples
    --------
    >>> import numpy as np
    >>> model = Forecaster(context=24, horizon=3, lags=(1, 12))
    >>> past = np.arange(24, dtype=np.float32)[None, :, None]
    >>> none = np.zeros((1, 3, 0), dtype=np.float32), np.zeros((1, 0), dtype=np.float32)
    >>> model.members((past, *none))    # before training: the last value, and the same month of last year
    array([[[23., 23., 23.],
            [12., 13., 14.]]], dtype=float32)
    """

    def __init__(self, context: int, horizon: int, *, covariates: int = 0, known: int = 0, start: int = 0,
                 body: str = "mlp", lags: Sequence[int] = (1,), members: int | None = None, **options: Any) -> None:
        if body not in BODIES:
            raise ArgumentError(f"a body among {sorted(BODIES)}", repr(body), "name one of these")
        columns = {"covariates": covariates, "known": known, "start": start}
        self.sizes = ForecastSizes(positive("context", context), positive("horizon", horizon),
                                   **{name: _count(name, value) for name, value in columns.items()})
        if not lags or not all(type(lag) is int and 0 <= lag <= context for lag in lags):
            raise ArgumentError(f"lags from 0 to the context of {context} rows", f"{lags}", "pass for example (1,)")
        count = len(lags) if members is None else positive("members", members)
        self.body_name = body
        try:
            made = BODIES[body](self.sizes, count, **options)
        except TypeError as error:
            raise ArgumentError(f"options of the body {body!r}", f"{sorted(options)} ({error})",
                                f"see the parameters of models.forecasting.{BODIES[body].__name__}") from error
        self.members = Members(self.sizes, lags, made, count)

    def forward(self, inputs: ForecastInputs) -> Any:
        forecasts = self.members(inputs)                                                     # (B, members, horizon)
        return array_namespace(forecasts).mean(forecasts, axis=1)                            # (B, horizon)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON holds them."""
        return {**self.sizes._asdict(), "body": self.body_name, "lags": list(self.members.lags),
                "members": self.members.count, **self.members.body.config()}


def _count(name: str, value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ArgumentError(f"{name} as a number of columns", repr(value), f"pass for example {name}=1")
    return value
