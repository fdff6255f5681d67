"""From losses per element to the number that is trained on: sums and means, weighted by row and by class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from portable_nn import functional
from portable_nn.backend.errors import ArgumentError, DataError
from portable_nn.backend.namespace import array_namespace, is_tensor
from portable_nn.functional.checks import is_on_host
from portable_nn.functional.mean_losses import check_sample_weight, weighted_mean


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
    check_rows(losses)
    if weight is None and mass is None and reduction == "mean":
        return functional.mean(losses)
    xp = array_namespace(losses, weight)
    if reduction == "mean":
        return weighted_mean(losses, mass, weight)
    if weight is not None:
        axes = check_sample_weight(xp, weight, tuple(shape))
        losses = losses * xp.reshape(xp.astype(weight, losses.dtype), shape[:axes] + (1,) * (len(shape) - axes))
    return losses if reduction == "none" else xp.sum(losses)


def mean_or_reduced(mean: Callable[..., Any], losses: Callable[..., Any], prediction: Any, target: Any, weight: Any,
                    reduction: str, **options: Any) -> Any:
    """`mean(prediction, target)` where that is what is wanted, else the losses, reduced."""
    if weight is None and reduction == "mean":
        check_rows(prediction)
        return mean(prediction, target, **options)
    return reduced(losses(prediction, target, **options), weight, reduction)


def check_rows(losses: Any) -> None:
    """Require at least one loss, in an array of one axis or more.

    Raises
    ------
    DataError
        There is none.
    """
    shape = getattr(losses, "shape", (1,))  # what is no array is refused elsewhere
    if 0 in shape or not shape:
        raise DataError("at least one row to average a loss over", f"losses of shape {tuple(shape)}",
                        "leave empty batches out, and give a single example an axis of length 1")


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
