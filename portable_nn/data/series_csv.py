"""A time series from a CSV file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from portable_nn.backend.errors import DataError
from portable_nn.data.datasets import Series
from portable_nn.data.rowwise import check_finite
from portable_nn.data.tables import load_csv, parse_timestamps

_START = np.datetime64("1970-01-01T00:00:00", "s")


def load_series_csv(path: str | Path, target: str, covariates: Sequence[str] = ()) -> tuple[Series, bool]:
    """Read a series at equal steps from a CSV file with a header, rows in time order.

    The first column whose rows are all ISO 8601 moments is the time, local; a column named `Holiday`, in any spelling,
    says which rows are holidays.

    Parameters
    ----------
    path : str or Path
    target : str
        Column to forecast.
    covariates : sequence of str
        Columns known up to the forecast's origin.

    Returns
    -------
    series : Series
    has_time : bool
        False where no column is a time: timestamps are then seconds from 1970, one for each row, and mean nothing.

    Raises
    ------
    DataError
        A column is missing, a cell is no number (named by column and line), not finite, or time does not advance.
    FileError
        No such file.
    """
    numbers = load_csv(path, dict.fromkeys([target, *covariates], float))
    for name, column in numbers.items():
        check_finite(column, f"column {name}")
    texts: dict[str, Any] = load_csv(path)
    count = len(numbers[target])
    times = next((found for column in texts.values() if (found := _times(column)) is not None), None)
    if times is not None and (bad := np.flatnonzero(times[1:] <= times[:-1])).size:
        raise DataError("rows in time order", f"{times[bad[0] + 1]} after {times[bad[0]]} at row {bad[0] + 1}",
                        "sort the rows, and keep one of each moment")
    holiday = next((name for name in texts if name.lower() == "holiday"), None)
    holidays = np.zeros(count, dtype=np.bool_) if holiday is None else load_csv(path, {holiday: bool})[holiday]
    table = [numbers[name] for name in covariates]
    values = np.stack(table, axis=1) if table else np.zeros((count, 0), dtype=np.float64)
    timestamps = _START + np.arange(count) * np.timedelta64(1, "s") if times is None else times
    return Series(numbers[target], values, list(covariates), timestamps, holidays, ""), times is not None


def _times(column: list[str]) -> np.ndarray | None:
    try:
        parse_timestamps(column[:1])
        return parse_timestamps(column)
    except DataError:
        return None
