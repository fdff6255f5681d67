"""Losses: modules of (prediction, target, sample_weight) that give one number, the mean over the rows.

Shapes must be equal, or fit as documented: nothing is broadcast, so (N, 1) against (N,) raises, and does not become
N × N. With sample weights w the mean is Σ w·loss / Σ w, and 0 where all weights are 0. Axes behind those of the weights
are averaged without weights.
"""

from __future__ import annotations

from typing import Any

from portable_nn import functional
from portable_nn.backend.errors import DataError, DTypeError, ShapeError
from portable_nn.backend.namespace import array_namespace, is_tensor
from portable_nn.functional.checks import is_on_host
from portable_nn.layers.module import Module


class CrossEntropyLoss(Module):
    """Mean of -log softmax(x)[t], for classes that exclude each other.

    Shape
    -----
    prediction (B, ..., V), logits; target (B, ...), integers from 0 to V - 1;
    sample_weight (B,) or more of target's axes -> ()

    Raises
    ------
    ShapeError, DTypeError
        Shapes do not fit; the target's dtype is no integer.
    DataError
        There are no rows, or a label is out of range (looked at wherever no device has to wait for it).

    Examples
    --------
    >>> import numpy as np
    >>> float(CrossEntropyLoss()(np.zeros((3, 4)), np.asarray([0, 1, 3])))
    1.3862943611198906
    """

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        array_namespace(prediction, target)  # refuses what are no arrays
        if len(prediction.shape) < 2:
            raise ShapeError("logits of shape (rows, …, classes)", f"{prediction.shape}",
                             "give them an axis of classes; for one logit a row use BCEWithLogitsLoss")
        return _mean(functional.cross_entropy(prediction, target, None), sample_weight)


class BCEWithLogitsLoss(Module):
    """Mean of -t log σ(x) - (1 - t) log(1 - σ(x)), for one or several yes-or-no questions a row.

    Shape
    -----
    prediction (B, ...), logits; target of the same shape, floats, integers or booleans from 0 to 1;
    sample_weight (B,) or more of these axes -> ()

    Raises
    ------
    ShapeError, DTypeError
        The shapes differ; dtypes do not fit.
    DataError
        There are no rows, or a target is not from 0 to 1 (looked at wherever no device has to wait for it).

    Examples
    --------
    >>> import numpy as np
    >>> float(BCEWithLogitsLoss()(np.zeros((3,)), np.asarray([0, 1, 1])))
    0.6931471805599453
    """

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        xp = array_namespace(prediction, target)
        if not xp.isdtype(target.dtype, "real floating") and prediction.shape == target.shape:
            target = xp.astype(target, prediction.dtype)
        losses = functional.binary_cross_entropy_with_logits(prediction, target)
        _check_share(target)
        return _mean(losses, sample_weight)


class MSELoss(Module):
    """Mean of (p - t)² over all elements.

    Shape
    -----
    prediction and target (B, ...); sample_weight (B,) or more of these axes -> ()

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
        return _mean(functional.squared_error(prediction, target), sample_weight)


class HalfMSELoss(Module):
    """Half the squared distance of a row, averaged over the rows: 1/(2B) Σ (p - t)².

    Shape
    -----
    prediction and target (B, ...); sample_weight (B,) -> ()

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
        return 0.5 * _mean(losses, sample_weight)


def _mean(losses: Any, weight: Any) -> Any:
    """The mean of per-element losses, weighted along the leading axes."""
    shape = tuple(losses.shape)
    if 0 in shape or not shape:
        raise DataError("at least one row to average a loss over", f"losses of shape {shape}",
                        "leave empty batches out, and give a single example an axis of length 1")
    xp = array_namespace(losses, weight)
    if weight is None:
        return xp.mean(losses)
    axes = len(weight.shape)
    if axes == 0 or tuple(weight.shape) != shape[:axes]:
        raise ShapeError(f"sample_weight of shape {shape[:1]}, one for each row", f"{tuple(weight.shape)}",
                         "reshape it")
    if not xp.isdtype(weight.dtype, ("integral", "real floating", "bool")):
        raise DTypeError("real sample weights", f"{weight.dtype}", "cast them to a floating dtype")
    if len(shape) > axes:
        losses = xp.mean(losses, axis=tuple(range(axes, len(shape))))
    weight = xp.astype(weight, losses.dtype)
    total = xp.sum(weight)
    return xp.sum(losses * weight) / xp.where(total == 0, xp.ones_like(total), total)


def _check_share(target: Any) -> None:
    """Require probabilities, where looking costs no wait: labels of -1 and 1 would train on nonsense."""
    target = target.data if is_tensor(target) else target
    if not is_on_host(target) or 0 in target.shape:
        return
    xp = array_namespace(target)
    low, high = float(xp.min(target)), float(xp.max(target))
    if not (low >= 0 and high <= 1):
        raise DataError("targets from 0 to 1", f"values from {low:g} to {high:g}",
                        "code the classes as 0 and 1, as in (labels + 1) / 2 for -1 and 1")
