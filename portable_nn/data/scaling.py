"""Standardising columns with figures of the training rows alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.backend.devices import native_device
from portable_nn.backend.errors import ArgumentError, DataError, DTypeError, FileError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.data.rowwise import check_finite


class Scaler:
    """z = (x − mean) / deviation, column by column, with the mean and deviation of the rows given to `fit`.

    Fit it on training rows alone: `Scaler().fit(series[:train_end])`, then transform everything.

    Shape: `fit` takes (N,) or (N, F); `transform` and `inverse` take (..., F), or any shape after a fit on (N,).

    Attributes
    ----------
    mean, deviation : NumPy float64 array () or (F,)
        Deviation as `numpy.std` gives it (divided by N). A constant column has deviation 0: it is only centred, and
        listed in `constant_columns`.

    Example
    -------
    >>> scaler = Scaler().fit(np.asarray([[1.0, 5.0], [3.0, 5.0]]))
    >>> scaler.transform(np.asarray([[3.0, 6.0]])), scaler.constant_columns
    (array([[1., 1.]]), [1])
    """

    mean: np.ndarray
    deviation: np.ndarray

    def fit(self, x: Any) -> Scaler:
        """Take mean and deviation of the rows of `x`, a NumPy array (N,) or (N, F); returns itself.

        Raises
        ------
        DataError
            No rows, or NaN or infinity in one, named by row and column.
        ShapeError, DTypeError
            `x` has other axes, or is no NumPy array of numbers.
        """
        if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiub":
            raise DTypeError("a NumPy array of numbers to fit", f"{getattr(x, 'dtype', type(x).__name__)}",
                             "convert it with numpy.asarray, or portable_nn.to_numpy for an array on a GPU")
        if x.ndim not in (1, 2):
            raise ShapeError("x of shape (rows,) or (rows, columns)", f"{x.shape}",
                             "reshape it, rows along the first axis")
        if not len(x):
            raise DataError("at least one training row", f"shape {x.shape}", "fit on data that is not empty")
        check_finite(x, "x")
        self.mean = np.asarray(x.mean(axis=0, dtype=np.float64))
        self.deviation = np.asarray(x.std(axis=0, dtype=np.float64))
        # The deviation of equal numbers can come out as a rounding error of their mean: divided by, it would be noise.
        self.deviation = np.where(x.max(axis=0) == x.min(axis=0), 0.0, self.deviation)
        return self

    @property
    def constant_columns(self) -> list[int]:
        """Columns that had one value in all training rows."""
        return [int(i) for i in np.flatnonzero(self._fitted().deviation == 0)]

    def transform(self, x: Any) -> Any:
        """Standardise an array (..., F) of any library; floating dtypes stay, integers become the default float."""
        x, mean, deviation = self._matched(x)
        return (x - mean) / deviation

    def inverse(self, z: Any) -> Any:
        """Undo `transform`: standardised values (..., F), such as forecasts, back in the data's units."""
        z, mean, deviation = self._matched(z)
        return z * deviation + mean

    def column(self, index: int) -> Scaler:
        """The scaler of one column, for targets of shape (..., ) taken from a table."""
        self._fitted()
        if self.mean.ndim == 0 or not -len(self.mean) <= index < len(self.mean):
            raise ArgumentError("a column of the data the scaler was fitted on",
                                f"column {index}, fitted shape {self.mean.shape}",
                                "fit on a table (rows, columns) and name one of its columns")
        return Scaler._of(self.mean[index], self.deviation[index])

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """`(config, arrays)`: what JSON holds (nothing here but the format's name) and what safetensors holds."""
        self._fitted()
        return {"type": "Scaler"}, {"mean": self.mean, "deviation": self.deviation}

    @classmethod
    def from_state(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Scaler:
        """Rebuild a scaler from `state()`; FileError where the arrays cannot be one."""
        mean, deviation = arrays.get("mean"), arrays.get("deviation")
        if mean is None or deviation is None or mean.shape != deviation.shape or mean.ndim > 1 \
                or not (np.isfinite(mean).all() and np.isfinite(deviation).all() and (deviation >= 0).all()):
            raise FileError("a scaler's mean and deviation, finite and of one shape", f"arrays {sorted(arrays)}",
                            "save the model again: the file is damaged")
        return cls._of(mean, deviation)

    @classmethod
    def _of(cls, mean: Any, deviation: Any) -> Scaler:
        scaler = cls()
        scaler.mean, scaler.deviation = np.asarray(mean, dtype=np.float64), np.asarray(deviation, dtype=np.float64)
        return scaler

    def __repr__(self) -> str:
        return f"Scaler(mean={self.mean}, deviation={self.deviation})" if hasattr(self, "mean") else "Scaler()"

    def _fitted(self) -> Scaler:
        if not hasattr(self, "mean"):
            raise ArgumentError("a scaler that was fitted", "Scaler()", "call fit on the training rows first")
        return self

    def _matched(self, x: Any) -> tuple[Any, Any, Any]:
        """`x` as floating, and mean and divisor as arrays of its library, dtype and device."""
        self._fitted()
        xp = array_namespace(x)
        if self.mean.ndim and (len(x.shape) == 0 or x.shape[-1] != self.mean.shape[0]):
            raise ShapeError(f"x of shape (..., {self.mean.shape[0]}), the columns the scaler was fitted on",
                             f"{tuple(x.shape)}",
                             "pass the same columns in the same order, or take scaler.column(i)")
        if not xp.isdtype(x.dtype, "real floating"):
            x = xp.astype(x, xp.__array_namespace_info__().default_dtypes(device=native_device(x))["real floating"])
        divisor = np.where(self.deviation == 0, 1.0, self.deviation)
        mean, divisor = (xp.asarray(v.tolist(), dtype=x.dtype, device=native_device(x)) for v in (self.mean, divisor))
        return x, mean, divisor
