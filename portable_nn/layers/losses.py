"""Losses: modules of (prediction, target, sample_weight) that give one number, the mean over the rows.

Shapes must be equal, or fit as documented: nothing is broadcast, so (N, 1) against (N,) raises, and does not become
N × N. With sample weights w the mean is Σ w·loss / Σ w, and 0 where all weights are 0. Axes behind those of the weights
are averaged without weights. Every loss takes `reduction`: "mean", "sum" for Σ w·loss, "none" for each w·loss. The
losses of integer labels are in `class_losses`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from portable_nn import functional
from portable_nn.backend.errors import ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.layers.class_losses import class_weights
from portable_nn.layers.initializers import Given
from portable_nn.layers.module import Module
from portable_nn.layers.reduction import check_reduction, check_share, mean_or_reduced, reduced

_CODE = "code the classes as 0 and 1, as in (labels + 1) / 2 for -1 and 1"


class _Loss(Module):
    """What losses without further options share."""

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = check_reduction(reduction)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class BCEWithLogitsLoss(Module):
    """Mean of -c t log σ(x) - (1 - t) log(1 - σ(x)), for one or several yes-or-no questions a row.

    Shape
    -----
    prediction (B, ...), logits; target of the same shape, floats, integers or booleans from 0 to 1;
    sample_weight (B,) or more of these axes -> (), or target's shape for reduction "none"

    Parameters
    ----------
    reduction : "none", "mean" or "sum"
    pos_weight : list or array of numbers, optional
        c, what a yes weighs beside a no: one number, or one for each question, along the last axis.

    Attributes
    ----------
    pos_weight : Buffer, or None

    Raises
    ------
    ShapeError, DTypeError
        The shapes differ; dtypes do not fit.
    DataError
        There are no rows, or a target is not from 0 to 1 (looked at wherever no device has to wait for it).
    ArgumentError
        An option is out of range.

    References
    ----------
    As `torch.nn.BCEWithLogitsLoss`.

    Examples
    --------
    >>> import numpy as np
    >>> float(BCEWithLogitsLoss()(np.zeros((3,)), np.asarray([0, 1, 1])))
    0.6931471805599453
    """

    def __init__(self, reduction: str = "mean", pos_weight: Sequence[float] | Any = None) -> None:
        self.reduction, self._weights = check_reduction(reduction), class_weights("pos_weight", pos_weight)
        if self._weights is None:
            self.pos_weight = None
        else:
            self.register_buffer("pos_weight", (len(self._weights),), Given(self._weights))

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        target = _as_floats(prediction, target)
        if self.pos_weight is None:
            value = mean_or_reduced(functional.mean_binary_cross_entropy_with_logits,
                                    functional.binary_cross_entropy_with_logits, prediction, target, sample_weight,
                                    self.reduction)
        else:
            losses = functional.binary_cross_entropy_with_logits(prediction, target)
            value = reduced(losses + self._excess(prediction, target), sample_weight, self.reduction)
        check_share("targets", target, _CODE)
        return value

    def _excess(self, prediction: Any, target: Any) -> Any:
        """What yeses weigh beyond 1: (c - 1) t · -log σ(x)."""
        xp = array_namespace(prediction)
        weight = xp.astype(self.pos_weight, prediction.dtype)
        if weight.shape != (1,) and weight.shape != prediction.shape[-1:]:
            raise ShapeError(f"one pos_weight, or {prediction.shape[-1:]} along the last axis", f"{weight.shape}",
                             "give one number for each question")
        yes = functional.binary_cross_entropy_with_logits(prediction, xp.ones_like(prediction))
        return (weight - 1) * target * yes

    def extra_repr(self) -> str:
        weight = None if self._weights is None else list(self._weights)
        return f"reduction={self.reduction!r}, pos_weight={weight}"


class BCELoss(_Loss):
    """Mean of -t log p - (1 - t) log(1 - p) on probabilities, where a logarithm counts as at least -100.

    Sure and right is 0, sure and wrong 100, in every precision. From logits, BCEWithLogitsLoss is more accurate.

    Shape
    -----
    prediction (B, ...), from 0 to 1; target of the same shape, floats, integers or booleans from 0 to 1;
    sample_weight (B,) or more of these axes -> (), or target's shape for reduction "none"

    Parameters
    ----------
    reduction : "none", "mean" or "sum"

    Raises
    ------
    ShapeError, DTypeError
        The shapes differ; dtypes do not fit.
    DataError
        There are no rows, or a prediction or target is not from 0 to 1 (looked at wherever no device has to wait).

    References
    ----------
    As `torch.nn.BCELoss`.

    Examples
    --------
    >>> import numpy as np
    >>> round(float(BCELoss()(np.asarray([0.1, 0.9, 0.8]), np.asarray([0, 1, 1]))), 4)
    0.1446
    """

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        target = _as_floats(prediction, target)
        value = mean_or_reduced(functional.mean_binary_cross_entropy, functional.binary_cross_entropy, prediction,
                                target, sample_weight, self.reduction)
        check_share("targets", target, _CODE)
        check_share("probabilities", prediction, "put a Sigmoid before the loss, or use BCEWithLogitsLoss")
        return value


def _as_floats(prediction: Any, target: Any) -> Any:
    """Integer and boolean targets in the prediction's dtype; others as they are."""
    xp = array_namespace(prediction, target)
    if not xp.isdtype(target.dtype, "real floating") and prediction.shape == target.shape:
        return xp.astype(target, prediction.dtype)
    return target


class MSELoss(_Loss):
    """Mean of (p - t)² over all elements.

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

    Examples
    --------
    >>> import numpy as np
    >>> float(MSELoss()(np.asarray([[1.0, 2.0]]), np.asarray([[0.0, 4.0]])))
    2.5
    """

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return mean_or_reduced(functional.mean_squared_error, functional.squared_error, prediction, target,
                               sample_weight, self.reduction)


class HalfMSELoss(_Loss):
    """Half the squared distance of a row, averaged over the rows: 1/(2B) Σ (p - t)².

    Shape
    -----
    prediction and target (B, ...); sample_weight (B,) -> (), or (B,) for reduction "none"

    Parameters
    ----------
    reduction : "none", "mean" or "sum"

    Raises
    ------
    ShapeError, DTypeError
        The shapes differ; dtypes are not floating or differ.
    DataError
        There are no rows.

    Examples
    --------
    >>> import numpy as np
    >>> float(HalfMSELoss()(np.asarray([[1.0, 2.0]]), np.asarray([[0.0, 4.0]])))
    2.5
    """

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        losses = functional.squared_error(prediction, target)
        if losses.ndim > 1:
            losses = array_namespace(losses).sum(losses, axis=tuple(range(1, losses.ndim)))  # (B, ...) -> (B,)
        return 0.5 * reduced(losses, sample_weight, self.reduction)
