"""What a series usually is at a moment of the calendar: a forecast by itself, and one for a model to correct."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.backend.errors import ArgumentError, DataError, DTypeError, FileError, ShapeError
from portable_nn.data.calendars import as_times, calendar
from portable_nn.data.rowwise import check_finite


class Climatology:
    """Ridge regression of a series on the calendar alone, one for each slot of the day.

    In slot s the value is b_s + (day type) · u_s + (season) · v_s: eight types of day (Monday to Sunday, holiday), and
    `harmonics` pairs of sine and cosine of the year. The squared coefficients, b_s excepted, are penalised by `ridge`.
    It uses nothing of the past, so it may be evaluated at any moment of the horizon. Fit it on training rows alone.

    Shape: values (N,), timestamps (N,), holidays (N,) → (N,) float64.

    Parameters
    ----------
    slots : int
        Parts that the day is divided into: 48 for half hours, 24 for hours, 1 for days or months.
    harmonics : int
    ridge : float

    Example
    -------
    >>> hours = np.datetime64("2024-01-01T00:00:00") + np.arange(24 * 28) * np.timedelta64(1, "h")
    >>> values = np.arange(24 * 28) % 24 * 1.0
    >>> Climatology(slots=24, harmonics=0).fit(values, hours).predict(hours[:3]).round(6)
    array([0., 1., 2.])
    """

    coefficients: np.ndarray

    def __init__(self, *, slots: int = 48, harmonics: int = 2, ridge: float = 1.0) -> None:
        for name, value, least in (("slots", slots, 1), ("harmonics", harmonics, 0)):
            if type(value) is not int or value < least:
                raise ArgumentError(f"{name} as an integer from {least}", repr(value), f"pass for example {name}=2")
        if type(ridge) not in (int, float) or not ridge > 0:
            raise ArgumentError("ridge as a positive number", repr(ridge), "pass for example ridge=1.0")
        self.slots, self.harmonics, self.ridge = slots, harmonics, float(ridge)

    def fit(self, values: Any, timestamps: Any, holidays: Any = None) -> Climatology:
        """Learn the coefficients from the training rows; returns itself.

        Raises
        ------
        DataError
            No rows, or NaN among the values.
        ShapeError, DTypeError
            Values that are not one NumPy number for each moment.
        """
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
            raise DTypeError("values as a NumPy array of numbers", f"{getattr(values, 'dtype', type(values).__name__)}",
                             "convert them with numpy.asarray")
        features, slot = self._features(timestamps, holidays)
        if values.shape != slot.shape:
            raise ShapeError(f"values of shape {slot.shape}, one for each moment", f"{values.shape}", "pass one column")
        if not len(values):
            raise DataError("at least one training row", "none", "fit on data that is not empty")
        check_finite(values, "values")
        penalty = self.ridge * np.eye(features.shape[1])
        penalty[0, 0] = 0.0
        self.coefficients = np.full((self.slots, features.shape[1]), np.nan)  # NaN: a slot without training rows
        for s in np.unique(slot):
            rows, targets = features[slot == s], values[slot == s].astype(np.float64)
            self.coefficients[s] = np.linalg.solve(rows.T @ rows + penalty, rows.T @ targets)
        return self

    def predict(self, timestamps: Any, holidays: Any = None) -> np.ndarray:
        """Return the usual value (N,) float64 at each moment.

        Raises
        ------
        DataError
            A moment in a slot of the day that no training row was in.
        """
        if not hasattr(self, "coefficients"):
            raise ArgumentError("a climatology that was fitted", "one that was not",
                                "call fit on the training rows first")
        features, slot = self._features(timestamps, holidays)
        usual = np.sum(features * self.coefficients[slot], axis=1)
        if np.isnan(usual).any():
            row = int(np.flatnonzero(np.isnan(usual))[0])
            raise DataError("times of day that the training rows had", f"{np.asarray(timestamps)[row]} at row {row}",
                            "train on rows of the same times, or use fewer slots")
        return usual

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """`(config, arrays)`: the options for JSON, the coefficients (slots, 9 + 2 · harmonics) for safetensors."""
        options = {"slots": self.slots, "harmonics": self.harmonics, "ridge": self.ridge}
        return {"type": "Climatology", "options": options}, {"coefficients": self.coefficients}

    @classmethod
    def from_state(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Climatology:
        """Rebuild a fitted climatology from `state()`; FileError where the two do not fit together."""
        try:
            climatology = cls(**config["options"])
            coefficients = np.asarray(arrays["coefficients"], dtype=np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise FileError("options and coefficients of a climatology", repr(error), "save the model again") from error
        if coefficients.shape != (climatology.slots, 9 + 2 * climatology.harmonics) or np.isinf(coefficients).any():
            raise FileError(f"coefficients of shape ({climatology.slots}, {9 + 2 * climatology.harmonics})",
                            f"{coefficients.shape}", "save the model again: the file is damaged")
        climatology.coefficients = coefficients
        return climatology

    def __repr__(self) -> str:
        return f"Climatology(slots={self.slots}, harmonics={self.harmonics}, ridge={self.ridge})"

    def _features(self, timestamps: Any, holidays: Any) -> tuple[np.ndarray, np.ndarray]:
        """The regressors (N, 9 + 2 · harmonics) float64, the first a constant 1, and the slot (N,) of each moment."""
        times = as_times(timestamps)
        holidays = np.zeros(times.shape, dtype=np.bool_) if holidays is None else holidays
        parts: dict[str, int | str] = {"day_type": "one_hot"}
        if self.harmonics:
            parts["day_of_year"] = self.harmonics
        features = calendar(times, parts, holidays).astype(np.float64)
        slot = times.astype(np.int64) % 86400 * self.slots // 86400
        return np.concatenate([np.ones((len(times), 1)), features], axis=1), slot
