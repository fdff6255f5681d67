"""Losses of integer labels: CrossEntropyLoss from logits, NLLLoss from log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from portable_nn import functional
from portable_nn.backend.devices import to_numpy
from portable_nn.backend.errors import ArgumentError, ShapeError
from portable_nn.backend.namespace import array_namespace, is_array
from portable_nn.functional.checks import check_integer
from portable_nn.functional.mean_losses import kept_rows, smoothed_cross_entropy, weighed_losses
from portable_nn.layers.initializers import Given
from portable_nn.layers.module import Module
from portable_nn.layers.reduction import check_reduction, check_rows, reduced


def class_weights(name: str, weight: Any) -> tuple[float, ...] | None:
    """Weights in any form as numbers.

    Raises
    ------
    ArgumentError
        They are not a list of numbers of 0 or more.
    """
    if weight is None:
        return None
    values = to_numpy(weight).tolist() if is_array(weight) else weight
    if not isinstance(values, (list, tuple)) or not values or not all(
            isinstance(value, (int, float)) and value >= 0 for value in values):
        raise ArgumentError(f"{name} as a list of numbers of 0 or more, one for each class", f"{weight!r:.60}",
                            "pass for example [1.0, 2.5], or None")
    return tuple(map(float, values))


class _ClassLoss(Module):
    """What the losses of labels share: class weights, labels that are ignored, the reduction."""

    def __init__(self, weight: Sequence[float] | Any, ignore_index: int | None, reduction: str) -> None:
        self._weights = class_weights("weight", weight)
        if self._weights is None:
            self.weight = None
        else:
            self.register_buffer("weight", (len(self._weights),), Given(self._weights))
        if ignore_index is not None and not isinstance(ignore_index, int):
            raise ArgumentError("ignore_index as an integer, or None", repr(ignore_index), "pass for example -100")
        self.ignore_index, self.reduction = ignore_index, check_reduction(reduction)

    def _losses(self, prediction: Any, target: Any, weight: Any) -> Any:
        """The losses of rows whose labels are all in range, class weights included; written by subclasses."""
        raise NotImplementedError

    def _mean(self, prediction: Any, target: Any, sample_weight: Any) -> Any:
        """The weighted mean of the losses."""
        return self._reduced(prediction, target, sample_weight)

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        array_namespace(prediction, target)
        if len(prediction.shape) < 2:
            raise ShapeError("predictions of shape (rows, …, classes)", f"{prediction.shape}",
                             "give them an axis of classes; for one logit a row use BCEWithLogitsLoss")
        check_integer(type(self).__name__, "targets", target)
        return (self._mean if self.reduction == "mean" else self._reduced)(prediction, target, sample_weight)

    def _reduced(self, prediction: Any, target: Any, sample_weight: Any) -> Any:
        """The losses as an array, and that reduced."""
        xp, keep = array_namespace(prediction, target), kept_rows(target, self.ignore_index)
        weight = None if self.weight is None else xp.astype(self.weight, prediction.dtype, copy=False)
        if keep is not None:
            target = xp.where(keep, target, xp.zeros_like(target))
        losses, mass = weighed_losses(self._losses(prediction, target, weight), target, weight, keep)
        return reduced(losses, sample_weight, self.reduction, mass)

    def extra_repr(self) -> str:
        weight = None if self._weights is None else list(self._weights)
        return f"weight={weight}, ignore_index={self.ignore_index}, reduction={self.reduction!r}"


class CrossEntropyLoss(_ClassLoss):
    """Mean of -w[t] log softmax(x)[t], for classes that exclude each other.

    Shape
    -----
    prediction (B, ..., V), logits, classes last (PyTorch has them second); target (B, ...), integers from 0 to V - 1;
    sample_weight (B,) or more of target's axes -> (), or target's shape for reduction "none"

    Parameters
    ----------
    weight : list or array of V numbers, optional
        The weight w of each class.
    ignore_index : int or None
        Rows with this label have no loss and no weight.
    reduction : "none", "mean" or "sum"
        A mean is Σ s w[t] loss / Σ s w[t], of sample weights s and class weights w, and 0 where all weights are 0.
    label_smoothing : float
        ε, from 0 to 1: the target is 1 - ε of the label and ε spread evenly over all classes.

    Attributes
    ----------
    weight : Buffer (V,), or None

    Raises
    ------
    ShapeError, DTypeError
        Shapes do not fit; the target's dtype is no integer.
    DataError
        There are no rows, or a label is out of range (looked at wherever no device has to wait for it).
    ArgumentError
        An option is out of range.

    References
    ----------
    As `torch.nn.CrossEntropyLoss`; smoothing by C. Szegedy et al., "Rethinking the inception architecture", 2016,
    section 7.

    Examples
    --------
    >>> import numpy as np
    >>> float(CrossEntropyLoss()(np.zeros((3, 4)), np.asarray([0, 1, 3])))
    1.3862943611198906
    """

    def __init__(self, weight: Sequence[float] | Any = None, ignore_index: int | None = -100, reduction: str = "mean",
                 label_smoothing: float = 0.0) -> None:
        super().__init__(weight, ignore_index, reduction)
        if not isinstance(label_smoothing, (int, float)) or not 0 <= label_smoothing <= 1:
            raise ArgumentError("label_smoothing from 0 to 1", repr(label_smoothing), "pass for example 0.1")
        self.label_smoothing = label_smoothing

    def _losses(self, prediction: Any, target: Any, weight: Any) -> Any:
        return smoothed_cross_entropy(prediction, target, weight, self.label_smoothing)

    def _mean(self, prediction: Any, target: Any, sample_weight: Any) -> Any:
        check_rows(target)
        return functional.mean_cross_entropy(prediction, target, self.weight, sample_weight,
                                             ignore_index=self.ignore_index, label_smoothing=self.label_smoothing)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, label_smoothing={self.label_smoothing}"


class NLLLoss(_ClassLoss):
    """Mean of -w[t] x[t], for log-probabilities x, as LogSoftmax gives them.

    Shape
    -----
    prediction (B, ..., V), log-probabilities, classes last; target (B, ...), integers from 0 to V - 1;
    sample_weight (B,) or more of target's axes -> (), or target's shape for reduction "none"

    Parameters
    ----------
    weight, ignore_index, reduction
        As in CrossEntropyLoss, as are the errors.

    Attributes
    ----------
    weight : Buffer (V,), or None

    References
    ----------
    As `torch.nn.NLLLoss`.

    Examples
    --------
    >>> import numpy as np
    >>> float(NLLLoss()(np.log(np.asarray([[0.5, 0.5]])), np.asarray([1])))
    0.6931471805599453
    """

    def __init__(self, weight: Sequence[float] | Any = None, ignore_index: int | None = -100,
                 reduction: str = "mean") -> None:
        super().__init__(weight, ignore_index, reduction)

    def _losses(self, prediction: Any, target: Any, weight: Any) -> Any:
        return functional.nll(prediction, target, weight)
