"""From losses per element to the number that is trained on: sums and means, weighted by row and by class."""

from __future__ import annotations

from typing import Any

from portable_nn import functional
from portable_nn.backend.errors import ArgumentError, DataError, DTypeError, ShapeError
from portable_nn.backend.namespace import array_namespace, is_tensor
from portable_nn.functional.checks import is_on_host


def check_reduction(reduction: str) -> str:
    """The reduction, if it is one.

    Raises
    ------
    ArgumentError
        It is none of "none", "mean", "sum".
    """
    if reduction not in ("none", "mean", "sum"):
        raise ArgumentError('reduction "none", "mean" or "sum"', repr(reduction), "pass one of the three")
    return reduction


def reduced(losses: Any, weight: Any, reduction: str, mass: Any = None) -> Any:
    """Losses times their weights: as they are, their sum, or that divided by the sum of the weights.

    Parameters
    ----------
    losses : array of shape (B, ...)
    weight : array (B,) or of more of these axes, or None for ones
        Axes behind those of the weights share them.
    reduction : "none", "mean" or "sum"
    mass : array of the losses' shape, optional
        What each loss counts for in a mean beside `weight`: the weight of its class, 0 where it is ignored. The losses
        have it in them already.

    Returns
    -------
    array of the losses' shape, or ()
        A mean is 0 where all weights are 0.
    """
    shape = losses.shape
    if 0 in shape or not shape:
        raise DataError("at least one row to average a loss over", f"losses of shape {shape}",
                        "leave empty batches out, and give a single example an axis of length 1")
    if weight is None and mass is None and reduction == "mean":
        return functional.mean(losses)
    xp = array_namespace(losses, weight)
    if weight is None:
        if reduction == "none":
            return losses
        if reduction == "sum":
            return xp.sum(losses)
        return xp.sum(losses) / _nonzero(xp, xp.sum(mass))
    axes = _check_weight(xp, weight, tuple(shape))
    weight = xp.astype(weight, losses.dtype)
    if reduction == "mean" and mass is None:
        losses = losses if axes == len(shape) else xp.mean(losses, axis=tuple(range(axes, len(shape))))
        return xp.sum(losses * weight) / _nonzero(xp, xp.sum(weight))
    weight = xp.reshape(weight, shape[:axes] + (1,) * (len(shape) - axes))
    losses = losses * weight
    if reduction == "mean":
        return xp.sum(losses) / _nonzero(xp, xp.sum(mass * weight))
    return losses if reduction == "none" else xp.sum(losses)


def _check_weight(xp: Any, weight: Any, shape: tuple[int, ...]) -> int:
    """The number of axes of the sample weights, if they fit losses of a shape."""
    axes = len(weight.shape)
    if axes == 0 or tuple(weight.shape) != shape[:axes]:
        raise ShapeError(f"sample_weight of shape {shape[:1]}, one for each row", f"{tuple(weight.shape)}",
                         "reshape it")
    if not xp.isdtype(weight.dtype, ("integral", "real floating", "bool")):
        raise DTypeError("real sample weights", f"{weight.dtype}", "cast them to a floating dtype")
    return axes


def _nonzero(xp: Any, total: Any) -> Any:
    return xp.where(total == 0, xp.ones_like(total), total)


def check_share(name: str, x: Any, fix: str) -> None:
    """Require numbers from 0 to 1, where looking costs no wait.

    Raises
    ------
    DataError
        Names the smallest and the largest.
    """
    x = x.data if is_tensor(x) else x
    if not is_on_host(x) or 0 in x.shape:
        return
    xp = array_namespace(x)
    low, high = float(xp.min(x)), float(xp.max(x))
    if not (low >= 0 and high <= 1):
        raise DataError(f"{name} from 0 to 1", f"values from {low:g} to {high:g}", fix)
