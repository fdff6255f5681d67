"""Losses per row or per element; means over a batch are in `mean_losses`."""

from __future__ import annotations

import math
from typing import Any

from portable_nn.backend.errors import ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.functional.activations import _define_sigmoid
from portable_nn.functional.checks import as_index, check_floating, check_integer, check_range, check_same_shape
from portable_nn.functional.fused import fused
from portable_nn.functional.products import in_float32
from portable_nn.functional.softmax import _define_log_softmax, _define_softmax


def _define_cross_entropy(logits, target, weight, /):
    xp = array_namespace(logits, target, weight)
    check_range("labels", target, logits.shape[-1])
    labels = as_index(xp, target)
    chosen = xp.take_along_axis(_define_log_softmax(logits, axis=-1), xp.expand_dims(labels, axis=-1), axis=-1)
    return -chosen[..., 0] if weight is None else -chosen[..., 0] * _of_labels(xp, weight, labels)


def _of_labels(xp, weight, labels):
    """The weight of each row's class."""
    return xp.reshape(xp.take(weight, xp.reshape(labels, (-1,)), axis=0), labels.shape)


def _cross_entropy_backward(xp, g, logits, target, weight, needs):
    """∂loss/∂logits = w (softmax(logits) - one_hot(target))."""
    labels, count = as_index(xp, target), logits.shape[-1]
    classes = xp.arange(count, dtype=labels.dtype, device=labels.device)
    one_hot = xp.astype(xp.equal(xp.expand_dims(labels, axis=-1), classes), logits.dtype)   # (..., V)
    g_logits = g_weight = None
    if needs[0]:
        scale = g if weight is None else g * _of_labels(xp, weight, labels)
        g_logits = (_define_softmax(logits, axis=-1) - one_hot) * xp.expand_dims(scale, axis=-1)
    if needs[2]:
        shares = -one_hot * _define_log_softmax(logits, axis=-1) * xp.expand_dims(g, axis=-1)
        g_weight = xp.sum(xp.reshape(shares, (math.prod(target.shape), count)), axis=0)
    return g_logits, None, g_weight


def _check_cross_entropy(logits, target, weight):
    check_floating("cross_entropy", logits, weight)
    check_integer("cross_entropy", "targets", target)
    shape = logits.shape
    if not shape or shape[:-1] != target.shape or not shape[-1]:
        raise ShapeError("logits of shape (..., V), V at least 1, and targets of shape (...)",
                         f"{shape} and {target.shape}", "give each row of logits one integer label")
    if weight is not None and weight.shape != shape[-1:]:
        raise ShapeError(f"one weight for each class, shape {shape[-1:]}", f"{weight.shape}", "reshape it")


def _define_bce(logits, target, /):
    xp = array_namespace(logits, target)
    return xp.maximum(logits, xp.zeros_like(logits)) - logits * target + xp.log1p(xp.exp(-xp.abs(logits)))


def _bce_backward(xp, g, logits, target, needs):
    return (g * (_define_sigmoid(logits) - target) if needs[0] else None), (-g * logits if needs[1] else None)


def _check_pair(operation):
    def check(x, target):
        check_floating(operation, x, target)
        check_same_shape(operation, "prediction and target", x, target)
    return check


def _define_squared_error(prediction, target, /):
    difference = prediction - target
    return difference * difference


def _squared_error_backward(xp, g, prediction, target, needs):
    g_prediction = g * (2 * (prediction - target))
    return g_prediction, -g_prediction if needs[1] else None


_cross_entropy = fused("cross_entropy", definition=_define_cross_entropy,
                       backward=_cross_entropy_backward, check=_check_cross_entropy)
_bce = fused("binary_cross_entropy_with_logits", definition=_define_bce,
             backward=_bce_backward, check=_check_pair("binary_cross_entropy_with_logits"))
_squared_error = fused("squared_error", definition=_define_squared_error,
                       backward=_squared_error_backward, check=_check_pair("squared_error"))


def cross_entropy(logits: Any, target: Any, weight: Any = None) -> Any:
    """-w[t] log softmax(logits)[t], one loss per row.

    Parameters
    ----------
    logits : floating array of shape (..., V)
    target : integer array of shape (...)
        The class t of each row, from 0 to V - 1. On a GPU and under JAX labels are not looked at, for that would make
        the device wait: there the loss of a label out of range is unspecified.
    weight : array of shape (V,), optional
        The weight w of each class. To average as PyTorch does, divide by the sum of w[t].

    Returns
    -------
    array of shape (...)

    Raises
    ------
    ShapeError, DTypeError
        Shapes do not fit; logits and weight are not floating, or differ; targets are no integers.
    DataError
        A label is out of range; the message names it.

    References
    ----------
    As PyTorch's `torch.nn.functional.cross_entropy` with class indices and reduction="none", classes last.
    """
    return _cross_entropy(in_float32(logits), target, in_float32(weight))


def binary_cross_entropy_with_logits(logits: Any, target: Any) -> Any:
    """-z log σ(x) - (1 - z) log(1 - σ(x)), computed as max(x, 0) - x z + log(1 + exp(-|x|)), element by element.

    Parameters
    ----------
    logits : floating array of any shape
        x.
    target : array of the same shape and dtype
        z, the probability of the positive class, as a rule 0 or 1.

    Returns
    -------
    array of that shape

    Raises
    ------
    ShapeError, DTypeError
        The shapes differ; dtypes are not floating or differ.

    References
    ----------
    As PyTorch's, with reduction="none".
    """
    return _bce(in_float32(logits), in_float32(target))


def squared_error(prediction: Any, target: Any) -> Any:
    """(prediction - target)², element by element.

    Parameters
    ----------
    prediction, target : floating arrays of one shape and dtype

    Returns
    -------
    array of that shape

    Raises
    ------
    ShapeError, DTypeError
        The shapes differ; dtypes are not floating or differ.
    """
    return _squared_error(in_float32(prediction), in_float32(target))
