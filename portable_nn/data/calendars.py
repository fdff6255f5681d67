"""Features of the calendar: where in the day, the week and the year a moment lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from portable_nn.backend.errors import ArgumentError, DataError, ShapeError

_DAY = 86400
#: Four sine and cosine pairs follow a demand curve's two daily peaks; the week and the year are smoother.
DEFAULT_PARTS: dict[str, int | str] = {"time_of_day": 4, "weekday": "one_hot", "day_of_year": 2}


def calendar(timestamps: Any, parts: Mapping[str, int | str] | None = None, holidays: Any = None) -> np.ndarray:
    """Return calendar features of each moment.

    Parameters
    ----------
    timestamps : array (N,) of numpy.datetime64, or what numpy.asarray makes one of
        Local time, since days and weeks are.
    parts : dict, optional
        Which parts, in which encoding; by default `DEFAULT_PARTS`. Keys: `"time_of_day"`, `"weekday"` (Monday first),
        `"day_type"` (the weekday, or an eighth type on holidays; `"one_hot"` only), `"day_of_year"`, `"month"`.
        Values: a number k for k pairs sin 2πjφ, cos 2πjφ, j = 1…k, where φ in [0, 1) is the position in the day, the
        week or the year; or `"one_hot"` (24 hours, 7 weekdays, 12 months); `"one_hot:48"` divides the day, the week or
        the year into that many equal slots.
    holidays : array (N,), optional
        True or 1 on a holiday. Added as a last column, unless `"day_type"` is among the parts.

    Returns
    -------
    NumPy float32 array (N, K); `calendar_names(parts)` names its columns, a holiday's excepted.

    Raises
    ------
    ArgumentError, DataError, ShapeError
        An unknown part or encoding; something that is no moment; holidays of another length.
    """
    times = as_times(timestamps)
    columns: list[np.ndarray] = []
    parts = _checked(parts)
    if holidays is not None:
        holidays = np.asarray(holidays)
        if holidays.shape != times.shape:
            raise ShapeError(f"holidays of shape {times.shape}, one for each moment", f"{holidays.shape}",
                             "pass one per timestamp")
    elif "day_type" in parts:
        raise ArgumentError("holidays, which day_type needs", "None", "pass holidays, or use weekday")
    for part, encoding in parts.items():
        if part == "day_type":
            columns.append(day_types(times, holidays)[:, None] == np.arange(8))
            continue
        phase = _phase(part, times)
        if isinstance(encoding, int):
            angles = 2 * np.pi * phase[:, None] * np.arange(1, encoding + 1)
            columns.append(np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(len(times), 2 * encoding))
        else:
            # 1e-9: a phase of 8/24 must fall into slot 8 of 24, whichever way it was rounded.
            slot = np.floor(phase * _slots(part, encoding) + 1e-9).astype(np.int64)
            columns.append(slot[:, None] == np.arange(_slots(part, encoding)))
    if holidays is not None and "day_type" not in parts:
        columns.append(holidays[:, None])
    return np.concatenate([np.zeros((len(times), 0), dtype=np.float32), *columns], axis=1).astype(np.float32)


def calendar_names(parts: Mapping[str, int | str] | None = None) -> list[str]:
    """The columns of `calendar(timestamps, parts)` by name, such as `time_of_day_sin1` or `weekday_0`."""
    names: list[str] = []
    for part, encoding in _checked(parts).items():
        if isinstance(encoding, int):
            names += [f"{part}_{kind}{j}" for j in range(1, encoding + 1) for kind in ("sin", "cos")]
        else:
            names += [f"{part}_{slot}" for slot in range(_slots(part, encoding))]
    return names


def day_types(timestamps: Any, holidays: Any = None) -> np.ndarray:
    """Type of day of each moment, int64 (N,): 0 to 6 for Monday to Sunday, 7 on a holiday."""
    weekday = (as_times(timestamps).astype(np.int64) // _DAY + 3) % 7  # 1970-01-01 was a Thursday
    return weekday if holidays is None else np.where(np.asarray(holidays, dtype=np.bool_), 7, weekday)


def as_times(timestamps: Any) -> np.ndarray:
    """Return `timestamps` (N,) as datetime64[s]; DataError or ShapeError where they are not that."""
    try:
        times = np.asarray(timestamps).astype("datetime64[s]")
    except (TypeError, ValueError) as error:
        raise DataError("timestamps as numpy.datetime64", str(error),
                        "read them with portable_nn.data.parse_timestamps") from error
    if times.ndim != 1:
        raise ShapeError("timestamps of shape (rows,)", f"{times.shape}", "pass one moment per row")
    if np.isnat(times).any():
        raise DataError("timestamps without gaps", f"no time at row {int(np.flatnonzero(np.isnat(times))[0])}",
                        "drop or fill it")
    return times


def _phase(part: str, times: np.ndarray) -> np.ndarray:
    """Position in [0, 1) within the day, the week, the year, or the month's place in the year."""
    seconds: Any = times.astype(np.int64)
    if part == "time_of_day":
        return seconds % _DAY / _DAY
    if part == "weekday":
        return (seconds + 3 * _DAY) % (7 * _DAY) / (7 * _DAY)
    if part == "month":
        return times.astype("datetime64[M]").astype(np.int64) % 12 / 12
    year: Any = times.astype("datetime64[Y]")
    start, end = [y.astype("datetime64[s]").astype(np.int64) for y in (year, year + np.timedelta64(1, "Y"))]
    return (seconds - start) / (end - start)


def _slots(part: str, encoding: str) -> int:
    if encoding == "one_hot":
        return {"time_of_day": 24, "weekday": 7, "day_type": 8, "month": 12, "day_of_year": 366}[part]
    return int(encoding.removeprefix("one_hot:"))


def _checked(parts: Mapping[str, int | str] | None) -> Mapping[str, int | str]:
    parts = DEFAULT_PARTS if parts is None else parts
    for part, encoding in parts.items():
        if part not in ("time_of_day", "weekday", "day_type", "day_of_year", "month"):
            raise ArgumentError("time_of_day, weekday, day_type, day_of_year or month", repr(part),
                                "name a part of the calendar")
        if part == "day_type" and encoding != "one_hot":
            raise ArgumentError("'one_hot' for day_type", repr(encoding), "a type of day has no position to encode")
        slots = encoding.removeprefix("one_hot:") if isinstance(encoding, str) else ""
        right = encoding == "one_hot" or (slots.isdecimal() and int(slots) > 0) if isinstance(encoding, str) \
            else isinstance(encoding, int) and not isinstance(encoding, bool) and encoding > 0
        if not right:
            raise ArgumentError("an encoding as a number of sine pairs, 'one_hot' or 'one_hot:SLOTS'",
                                f"{encoding!r} for {part}",
                                "pass for example 2, or 'one_hot:48'")
    return parts
