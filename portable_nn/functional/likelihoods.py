"""Losses of probabilities: the negative log-likelihood of labels, and cross-entropy of yes-or-no probabilities."""

from __future__ import annotations

from typing import Any

from portable_nn.autodiff.primitive import Primitive
from portable_nn.autodiff.rules import define_rule
from portable_nn.backend.errors import ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.functional.checks import as_index, check_floating, check_integer, check_range, check_same_shape
from portable_nn.functional.fused import fused
from portable_nn.functional.losses import _of_labels
from portable_nn.functional.products import in_float32

#: What log 0 counts as, and what 0 counts as in the slope 1/x: PyTorch's numbers.
_LEAST_LOG, _LEAST = -100.0, 1e-12


def _clamped(function: str) -> Any:
    """log or log1p, at least -100, without warnings at its end; NaN stays NaN."""
    end = 0.0 if function == "log" else -1.0

    def clamped(xp, x):
        inside = xp.where(x <= end, xp.ones_like(x), x)
        logs = getattr(xp, function)(inside)
        lowest = xp.full_like(x, _LEAST_LOG)
        return xp.where(xp.logical_or(x <= end, logs < lowest), lowest, logs)
    return clamped


def _slope(xp, x):
    """1 / x, with an x below 1e-12 taken as that."""
    return 1 / xp.where(x < _LEAST, xp.full_like(x, _LEAST), x)


clamped_log = Primitive("clamped_log", _clamped("log"))
clamped_log1p = Primitive("clamped_log1p", _clamped("log1p"))
define_rule("clamped_log", x=lambda xp, g, x: g * _slope(xp, x))
define_rule("clamped_log1p", x=lambda xp, g, x: g * _slope(xp, 1 + x))


def _define_bce(probability, target, /):
    return -(target * clamped_log(probability) + (1 - target) * clamped_log1p(-probability))


def _bce_backward(xp, g, probability, target, needs):
    g_probability = g_target = None
    if needs[0]:
        g_probability = g * ((1 - target) * _slope(xp, 1 - probability) - target * _slope(xp, probability))
    if needs[1]:
        g_target = g * (clamped_log1p(-probability) - clamped_log(probability))
    return g_probability, g_target


def _check_bce(probability, target):
    check_floating("binary_cross_entropy", probability, target)
    check_same_shape("binary_cross_entropy", "prediction and target", probability, target)


def _define_nll(log_probabilities, target, weight, /):
    xp = array_namespace(log_probabilities, target, weight)
    check_range("labels", target, log_probabilities.shape[-1])
    labels = as_index(xp, target)
    chosen = xp.take_along_axis(log_probabilities, xp.expand_dims(labels, axis=-1), axis=-1)[..., 0]
    return -chosen if weight is None else -chosen * _of_labels(xp, weight, labels)


def _nll_backward(xp, g, log_probabilities, target, weight, needs):
    labels, count = as_index(xp, target), log_probabilities.shape[-1]
    classes = xp.arange(count, dtype=labels.dtype, device=labels.device)
    one_hot = xp.astype(xp.equal(xp.expand_dims(labels, axis=-1), classes), log_probabilities.dtype)    # (..., V)
    g_x = g_weight = None
    if needs[0]:
        g_x = -one_hot * xp.expand_dims(g if weight is None else g * _of_labels(xp, weight, labels), axis=-1)
    if needs[2]:
        shares = -one_hot * log_probabilities * xp.expand_dims(g, axis=-1)
        g_weight = xp.sum(shares, axis=tuple(range(shares.ndim - 1))) if shares.ndim > 1 else shares
    return g_x, None, g_weight


def _check_nll(log_probabilities, target, weight):
    check_floating("nll", log_probabilities, weight)
    check_integer("nll", "targets", target)
    shape = log_probabilities.shape
    if not shape or shape[:-1] != target.shape or not shape[-1]:
        raise ShapeError("log-probabilities of shape (..., V), V at least 1, and targets of shape (...)",
                         f"{shape} and {target.shape}", "give each row one integer label")
    if weight is not None and weight.shape != shape[-1:]:
        raise ShapeError(f"one weight for each class, shape {shape[-1:]}", f"{weight.shape}", "reshape it")


_bce = fused("binary_cross_entropy", definition=_define_bce, backward=_bce_backward, check=_check_bce)
_nll = fused("nll", definition=_define_nll, backward=_nll_backward, check=_check_nll)


def binary_cross_entropy(probability: Any, target: Any) -> Any:
    """-t log p - (1 - t) log(1 - p), element by element; a logarithm counts as at least -100.

    So sure and right (p = t = 1) is 0, and sure and wrong 100, in every precision. In the slopes 1/p and 1/(1 - p), p
    and 1 - p count as at least 1e-12.

    Parameters
    ----------
    probability : floating array of any shape
        p, from 0 to 1. From logits, `binary_cross_entropy_with_logits` is more accurate.
    target : array of the same shape and dtype
        t, as a rule 0 or 1.

    Returns
    -------
    array of that shape

    Raises
    ------
    ShapeError, DTypeError
        The shapes differ; dtypes are not floating or differ.

    References
    ----------
    As `torch.nn.functional.binary_cross_entropy` with reduction="none"; there the slope at p = t is 0.
    """
    return _bce(in_float32(probability), in_float32(target))


def nll(log_probabilities: Any, target: Any, weight: Any = None) -> Any:
    """-w[t] x[t], one loss per row of log-probabilities x.

    Parameters
    ----------
    log_probabilities : floating array of shape (..., V)
        As `log_softmax` gives them.
    target : integer array of shape (...)
        The class t of each row, from 0 to V - 1; looked at as `cross_entropy` does.
    weight : array of shape (V,), optional
        The weight w of each class.

    Returns
    -------
    array of shape (...)

    Raises
    ------
    ShapeError, DTypeError
        Shapes do not fit; x and weight are not floating, or differ; targets are no integers.
    DataError
        A label is out of range; the message names it.

    References
    ----------
    As `torch.nn.functional.nll_loss` with reduction="none", classes last.
    """
    return _nll(in_float32(log_probabilities), target, in_float32(weight))
