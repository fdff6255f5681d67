"""Windows over time series: every stretch of past rows with the rows to forecast after it."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.backend.errors import ArgumentError, DataError, DTypeError, ShapeError
from portable_nn.data.rowwise import check_finite


def windows(series: Any, context: int, horizon: int, stride: int = 1, *, targets: Any = None,
            known: Any = None) -> Windows:
    """Return every window of `context` past rows and `horizon` rows to forecast, as views that copy nothing.

    Window i has its inputs in rows [i·stride, i·stride + context) and its targets in the `horizon` rows after them.

    Parameters
    ----------
    series : NumPy array (N,) or (N, F)
        What the forecaster sees of the past. Rows lie in time order, at equal steps.
    context, horizon, stride : int
        In rows.
    targets : NumPy array (N,) or (N, K), optional
        What is to be forecast; `series` itself by default.
    known : NumPy array (N, C), optional
        What is known of the horizon beforehand, such as calendar and holidays.

    Raises
    ------
    DataError
        A series shorter than one window, or NaN in one.
    ShapeError, DTypeError, ArgumentError
        Series of different lengths or of three axes, no NumPy array, or lengths that are not positive.

    Example
    -------
    >>> view = windows(np.arange(10.0), context=4, horizon=2)
    >>> len(view), view.inputs.shape, view.targets[0]
    (5, (5, 4, 1), array([4., 5.]))
    """
    for name, value in (("context", context), ("horizon", horizon), ("stride", stride)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise ArgumentError(f"{name} as a positive number of rows", repr(value), f"pass for example {name}=24")
    targets = series if targets is None else targets
    parts = {"series": series, "targets": targets} | ({} if known is None else {"known": known})
    for name, part in parts.items():
        _check_series(name, part, len(series) if isinstance(series, np.ndarray) and series.ndim else 0)
    if len(series) < context + horizon:
        raise DataError(f"a series of at least context + horizon = {context} + {horizon} = {context + horizon} rows",
                        f"{len(series)} rows", "shorten the context or the horizon, or pass a longer series")
    for name, part in parts.items():
        check_finite(part, name)
    series = series[:, None] if series.ndim == 1 else series
    return Windows(series, targets, known, context, horizon, np.arange(context, len(series) - horizon + 1, stride))


class Windows:
    """Windows made by `windows`. `batches`, `fit`, `predict` and `evaluate` take them as (inputs, targets).

    Attributes
    ----------
    origins : NumPy int64 array (n,)
        First row to forecast of each window; its inputs are the `context` rows before. `features[view.origins]` are
        features of the forecast's start.
    context, horizon : int
    """

    def __init__(self, series: np.ndarray, targets: np.ndarray, known: np.ndarray | None, context: int, horizon: int,
                 origins: np.ndarray) -> None:
        self._series, self._targets, self._known = series, targets, known
        self.context, self.horizon, self.origins = int(context), int(horizon), origins

    def __len__(self) -> int:
        return len(self.origins)

    @property
    def inputs(self) -> np.ndarray:
        """View (n, context, F) of the series, read-only; F = 1 for a series of one axis."""
        return self._view(self._series, self.context, -self.context)

    @property
    def targets(self) -> np.ndarray:
        """View (n, horizon), or (n, horizon, K) where the targets have columns, read-only."""
        return self._view(self._targets, self.horizon, 0)

    @property
    def known(self) -> np.ndarray | None:
        """View (n, horizon, C) of what is known beforehand, read-only, or None."""
        return None if self._known is None else self._view(self._known, self.horizon, 0)

    def as_rows(self) -> tuple[Any, Any]:
        """`(inputs, targets)`, or `((inputs, known), targets)` where something is known beforehand."""
        known = self.known
        return (self.inputs if known is None else (self.inputs, known)), self.targets

    def within(self, start: int, stop: int) -> Windows:
        """The windows whose targets all lie in rows [start, stop); their inputs may reach back before `start`.

        This is how a split in time is made of windows: no target belongs to two splits, and no row is lost to the
        context. With stride 1, a split of m rows that has `context` rows before it gives m − horizon + 1 windows (7,892
        rows and 48 to forecast: 7,845), the first split m − context − horizon + 1.

        Raises
        ------
        DataError
            No window fits.
        """
        chosen = self.origins[(self.origins >= start) & (self.origins + self.horizon <= stop)]
        if not len(chosen):
            raise DataError(f"rows for a window of {self.context} past rows and {self.horizon} to forecast",
                            f"rows {start} to {stop} of {len(self._series)}",
                            "shorten the context or the horizon, or make the split larger")
        return Windows(self._series, self._targets, self._known, self.context, self.horizon, chosen)

    def __repr__(self) -> str:
        return f"Windows({len(self)}, context={self.context}, horizon={self.horizon}, inputs {self.inputs.shape})"

    def _view(self, rows: np.ndarray, length: int, shift: int) -> np.ndarray:
        views = np.moveaxis(np.lib.stride_tricks.sliding_window_view(rows, length, axis=0), -1, 1)
        step = int(self.origins[1] - self.origins[0]) if len(self) > 1 else 1
        first = int(self.origins[0]) + shift
        return views[first:first + (len(self) - 1) * step + 1:step]


def _check_series(name: str, part: Any, count: int) -> None:
    if not isinstance(part, np.ndarray) or part.dtype.kind not in "fiub":
        raise DTypeError(f"{name} as a NumPy array of numbers", f"{getattr(part, 'dtype', type(part).__name__)}",
                         "convert it with numpy.asarray, or portable_nn.to_numpy for an array on a GPU")
    if part.ndim not in (1, 2):
        raise ShapeError(f"{name} of shape (rows,) or (rows, features)", f"{part.shape}", "put time first")
    if len(part) != count:
        raise ShapeError(f"{name} of {count} rows, as the series", f"{len(part)} rows", "pass series of the same times")
