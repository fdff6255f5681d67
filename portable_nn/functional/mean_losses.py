"""Means of losses over a batch, each an operation of its own: a number needs no array of losses before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from portable_nn.backend.devices import to_numpy
from portable_nn.backend.errors import ArgumentError, DTypeError, ShapeError
from portable_nn.backend.namespace import array_namespace, is_tensor
from portable_nn.functional import likelihoods, losses, residuals
from portable_nn.functional.checks import as_index, is_on_host
from portable_nn.functional.fused import Fused, fused
from portable_nn.functional.likelihoods import binary_cross_entropy, nll
from portable_nn.functional.losses import (
    _check_cross_entropy,
    _of_labels,
    binary_cross_entropy_with_logits,
    cross_entropy,
    squared_error,
)
from portable_nn.functional.mean import mean
from portable_nn.functional.products import in_float32
from portable_nn.functional.residuals import absolute_error, huber_error, quantile_error
from portable_nn.functional.softmax import log_softmax


def kept_rows(target: Any, ignore_index: int | None) -> Any:
    """Which labels are not to be ignored, or None where none is; where looking would wait for a device, all of them."""
    if ignore_index is None:
        return None
    raw = target.data if is_tensor(target) else target
    try:
        if is_on_host(raw) and not (to_numpy(raw) == ignore_index).any():
            return None
        return raw != ignore_index
    except OverflowError:  # NumPy: the dtype of the labels does not hold such a number, so none is it
        return None


def smoothed_cross_entropy(logits: Any, target: Any, weight: Any, label_smoothing: float) -> Any:
    """`cross_entropy` whose targets are 1 - ε of the label and ε spread evenly over all classes."""
    if not label_smoothing:
        return cross_entropy(logits, target, weight)
    log_p = log_softmax(in_float32(logits), axis=-1)
    xp = array_namespace(log_p, weight)
    spread = xp.sum(log_p if weight is None else log_p * weight, axis=-1) * (-1 / log_p.shape[-1])
    return nll(log_p, target, weight) * (1 - label_smoothing) + spread * label_smoothing


def weighed_losses(losses: Any, target: Any, weight: Any, keep: Any) -> tuple[Any, Any]:
    """Losses with zeros for rows that are ignored, and what each counts for in a mean, None where all count the same.

    The losses are those of rows whose labels are in range, class weights included.
    """
    xp, mass = array_namespace(losses, weight), None
    if weight is not None:
        mass = _of_labels(xp, weight, as_index(xp, target))
    if keep is not None:
        losses = xp.where(keep, losses, xp.zeros_like(losses))
        mass = xp.astype(keep, losses.dtype) if mass is None else xp.where(keep, mass, xp.zeros_like(mass))
    return losses, mass


def check_sample_weight(xp: Any, weight: Any, shape: tuple[int, ...]) -> int:
    """The number of axes of sample weights, if they fit losses of a shape.

    Raises
    ------
    ShapeError, DTypeError
        They do not; they are no real numbers.
    """
    axes = len(weight.shape)
    if axes == 0 or tuple(weight.shape) != shape[:axes]:
        raise ShapeError(f"sample_weight of shape {shape[:1]}, one for each row", f"{tuple(weight.shape)}",
                         "reshape it")
    if not xp.isdtype(weight.dtype, ("integral", "real floating", "bool")):
        raise DTypeError("real sample weights", f"{weight.dtype}", "cast them to a floating dtype")
    return axes


def weighted_mean(losses: Any, mass: Any, sample_weight: Any) -> Any:
    """Σ s loss / Σ s mass, with None for ones; 0 where all weights are 0."""
    xp = array_namespace(losses, mass, sample_weight)
    if sample_weight is not None:
        axes = check_sample_weight(xp, sample_weight, tuple(losses.shape))
        shape = tuple(losses.shape[:axes]) + (1,) * (losses.ndim - axes)
        sample_weight = xp.reshape(xp.astype(sample_weight, losses.dtype, copy=False), shape)
        losses = losses * sample_weight
        mass = xp.broadcast_to(sample_weight, losses.shape) if mass is None else mass * sample_weight
    if mass is None:
        return mean(losses)
    total = xp.sum(mass)
    return xp.sum(losses) / xp.where(total == 0, xp.ones_like(total), total)


def _define_mean_cross_entropy(logits, target, weight, sample_weight, /, *, ignore_index, label_smoothing):
    keep = kept_rows(target, ignore_index)
    if keep is weight is sample_weight is None and not label_smoothing:
        return mean(cross_entropy(logits, target))
    logits = in_float32(logits)
    xp = array_namespace(logits, target, weight)
    if keep is not None:
        target = xp.where(keep, target, xp.zeros_like(target))
    if weight is not None:
        weight = xp.astype(weight, logits.dtype, copy=False)
    losses = smoothed_cross_entropy(logits, target, weight, label_smoothing)
    losses, mass = weighed_losses(losses, target, weight, keep)
    return weighted_mean(losses, mass, sample_weight)


def _check_mean_cross_entropy(logits, target, weight, sample_weight, *, ignore_index, label_smoothing):
    _check_cross_entropy(logits, target, None)
    if weight is not None and weight.shape != logits.shape[-1:]:
        raise ShapeError(f"one weight for each class, shape {logits.shape[-1:]}", f"{weight.shape}", "reshape it")
    if sample_weight is not None:
        check_sample_weight(array_namespace(sample_weight), sample_weight, tuple(target.shape))
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError("label_smoothing from 0 to 1", f"{label_smoothing}", "pass for example 0.1")


_mean_cross_entropy = fused("mean_cross_entropy", definition=_define_mean_cross_entropy,
                            check=_check_mean_cross_entropy)


def mean_cross_entropy(logits: Any, target: Any, weight: Any = None, sample_weight: Any = None, *,
                       ignore_index: int | None = None, label_smoothing: float = 0.0) -> Any:
    """Σ s loss / Σ s w[t] over all rows, of `cross_entropy(logits, target, weight)`; 0 where all weights are 0.

    Parameters
    ----------
    logits : floating array of shape (..., V)
    target : integer array of shape (...)
        As for `cross_entropy`.
    weight : array of shape (V,), optional
        The weight w of each class.
    sample_weight : array of target's shape, or of some of its first axes, optional
        The weight s of each row; axes behind those it has share it.
    ignore_index : int, optional
        Rows with this label have no loss and no weight.
    label_smoothing : float
        ε, from 0 to 1: the target is 1 - ε of the label and ε spread evenly over all classes.

    Returns
    -------
    array of no axes

    Raises
    ------
    ShapeError, DTypeError
        Shapes do not fit; logits are not floating, targets no integers, weights no real numbers.
    DataError
        A label is out of range; the message names it.
    ArgumentError
        label_smoothing is out of range.
    """
    return _mean_cross_entropy(logits, target, weight, sample_weight, ignore_index=ignore_index,
                               label_smoothing=label_smoothing)


def _mean_of(losses: Callable[..., Any], operation: Fused) -> Fused:
    """The mean of losses of pairs, a function made with `operation`."""
    def definition(prediction, target, /, **options):
        return mean(losses(prediction, target, **options))
    return fused(f"mean_{operation.name}", definition=definition, check=operation.check)


_mean_bce_with_logits = _mean_of(binary_cross_entropy_with_logits, losses._bce)
_mean_bce = _mean_of(binary_cross_entropy, likelihoods._bce)
_mean_squared_error = _mean_of(squared_error, losses._squared_error)
_mean_absolute_error = _mean_of(absolute_error, residuals._absolute)
_mean_huber_error = _mean_of(huber_error, residuals._huber)
_mean_quantile_error = _mean_of(quantile_error, residuals._quantile)


def mean_binary_cross_entropy_with_logits(logits: Any, target: Any) -> Any:
    """The mean of `binary_cross_entropy_with_logits` over all elements, an array of no axes; all else as there."""
    return _mean_bce_with_logits(logits, target)


def mean_binary_cross_entropy(probability: Any, target: Any) -> Any:
    """The mean of `binary_cross_entropy` over all elements, an array of no axes; all else as there."""
    return _mean_bce(probability, target)


def mean_squared_error(prediction: Any, target: Any) -> Any:
    """The mean of `squared_error` over all elements, an array of no axes; all else as there."""
    return _mean_squared_error(prediction, target)


def mean_absolute_error(prediction: Any, target: Any) -> Any:
    """The mean of `absolute_error` over all elements, an array of no axes; all else as there."""
    return _mean_absolute_error(prediction, target)


def mean_huber_error(prediction: Any, target: Any, *, delta: float) -> Any:
    """The mean of `huber_error` over all elements, an array of no axes; all else as there."""
    return _mean_huber_error(prediction, target, delta=delta)


def mean_quantile_error(prediction: Any, target: Any, *, quantile: float) -> Any:
    """The mean of `quantile_error` over all elements, an array of no axes; all else as there."""
    return _mean_quantile_error(prediction, target, quantile=quantile)
