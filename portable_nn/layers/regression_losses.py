"""Losses of regression that outliers pull less than squares: absolute, Huber's, quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from portable_nn import functional
from portable_nn.backend.errors import ArgumentError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.layers.module import Module
from portable_nn.layers.reduction import check_reduction, mean_or_reduced, reduced


class L1Loss(Module):
    """Mean of |p - t| over all elements; the slope is 0 where they are equal.

    Shape
    -----
    prediction and target (B, ...); sample_weight (B,) or more of these axes -> (), or (B, ...) for reduction "none"

    Parameters
    ----------
    reduction : "none", "mean" or "sum"

    Raises
    ------
    ShapeError, DTypeError
        The shapes differ; dtypes are not floating or differ.
    DataError
        There are no rows.

    References
    ----------
    As `torch.nn.L1Loss`.

    Examples
    --------
    >>> import numpy as np
    >>> float(L1Loss()(np.asarray([[1.0, 2.0]]), np.asarray([[0.0, 4.0]])))
    1.5
    """

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = check_reduction(reduction)

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return mean_or_reduced(functional.mean_absolute_error, functional.absolute_error, prediction, target,
                               sample_weight, self.reduction)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class HuberLoss(Module):
    """Mean of d²/2 where |d| ≤ δ, else δ (|d| - δ/2), with d = p - t: squares near 0, straight lines beyond.

    Shape
    -----
    prediction and target (B, ...); sample_weight (B,) or more of these axes -> (), or (B, ...) for reduction "none"

    Parameters
    ----------
    reduction : "none", "mean" or "sum"
    delta : float
        δ, above 0.

    Raises
    ------
    ShapeError, DTypeError
        The shapes differ; dtypes are not floating or differ.
    DataError
        There are no rows.
    ArgumentError
        delta is not above 0.

    References
    ----------
    P. J. Huber, "Robust estimation of a location parameter", 1964; as `torch.nn.HuberLoss`.

    Examples
    --------
    >>> import numpy as np
    >>> float(HuberLoss()(np.asarray([[1.0, 2.0]]), np.asarray([[0.0, 4.0]])))
    1.0
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        if not isinstance(delta, (int, float)) or not delta > 0:
            raise ArgumentError("delta above 0", repr(delta), "pass for example 1.0")
        self.reduction, self.delta = check_reduction(reduction), delta

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return mean_or_reduced(functional.mean_huber_error, functional.huber_error, prediction, target, sample_weight,
                               self.reduction, delta=self.delta)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}, delta={self.delta}"


class QuantileLoss(Module):
    """Mean of q e where e ≥ 0, else (q - 1) e, with e = t - p (pinball loss): least where p is the quantile q of t.

    Shape
    -----
    prediction and target (B, ...), or for a list of Q quantiles prediction (B, ..., Q), one column for each;
    sample_weight (B,) or more of target's axes -> (), or the prediction's shape for reduction "none"

    Parameters
    ----------
    quantile : float, or list of floats
        q, between 0 and 1; 0.5 is half the absolute error.
    reduction : "none", "mean" or "sum"

    Raises
    ------
    ShapeError, DTypeError
        The shapes do not fit; dtypes are not floating or differ.
    DataError
        There are no rows.
    ArgumentError
        A quantile is not between 0 and 1.

    References
    ----------
    R. Koenker and G. Bassett, "Regression quantiles", 1978, equation 3.1.

    Examples
    --------
    >>> import numpy as np
    >>> float(QuantileLoss(0.75)(np.asarray([1.0, 2.0]), np.asarray([0.0, 4.0])))
    0.875
    """

    def __init__(self, quantile: float | Sequence[float] = 0.5, reduction: str = "mean") -> None:
        several = quantile if isinstance(quantile, (tuple, list)) else (quantile,)
        if not several or not all(isinstance(q, float) and 0 < q < 1 for q in several):
            raise ArgumentError("quantiles between 0 and 1", repr(quantile), "pass for example [0.1, 0.5, 0.9]")
        self.quantile, self.reduction = quantile, check_reduction(reduction)

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        if isinstance(self.quantile, float):
            return mean_or_reduced(functional.mean_quantile_error, functional.quantile_error, prediction, target,
                                   sample_weight, self.reduction, quantile=self.quantile)
        xp, count = array_namespace(prediction, target), len(self.quantile)
        if tuple(prediction.shape) != (*target.shape, count):
            raise ShapeError(f"predictions of shape {(*target.shape, count)}, a column for each quantile",
                             f"{prediction.shape}", "give the model so many outputs for each target")
        columns = [functional.quantile_error(prediction[..., k], target, quantile=q)
                   for k, q in enumerate(self.quantile)]
        return reduced(xp.stack(columns, axis=-1), sample_weight, self.reduction)

    def extra_repr(self) -> str:
        return f"{self.quantile}, reduction={self.reduction!r}"
