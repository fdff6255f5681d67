"""Errors of regression, element by element: absolute, Huber's, and that of a quantile."""

from __future__ import annotations

from typing import Any

from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.namespace import array_namespace
from portable_nn.functional.checks import check_floating, check_same_shape
from portable_nn.functional.fused import fused
from portable_nn.functional.products import in_float32


def _both(needs: tuple, g_prediction: Any) -> tuple:
    """The gradients of prediction and target, of which only the difference counts."""
    return g_prediction if needs[0] else None, -g_prediction if needs[1] else None


def _define_absolute(prediction, target, /):
    return array_namespace(prediction, target).abs(prediction - target)


def _absolute_backward(xp, g, prediction, target, needs):
    return _both(needs, g * xp.sign(prediction - target))


def _define_huber(prediction, target, /, *, delta):
    xp = array_namespace(prediction, target)
    difference = prediction - target
    size = xp.abs(difference)
    return xp.where(size <= delta, difference * difference * 0.5, (size - 0.5 * delta) * delta)


def _huber_backward(xp, g, prediction, target, delta, needs):
    difference = prediction - target
    limit = xp.full_like(difference, delta)
    return _both(needs, g * xp.where(xp.abs(difference) <= delta, difference, xp.sign(difference) * limit))


def _define_quantile(prediction, target, /, *, quantile):
    xp = array_namespace(prediction, target)
    difference = target - prediction
    return xp.where(difference >= 0, difference * quantile, difference * (quantile - 1))


def _quantile_backward(xp, g, prediction, target, quantile, needs):
    slope = xp.where(target - prediction >= 0, xp.full_like(g, -quantile), xp.full_like(g, 1 - quantile))
    return _both(needs, g * slope)


def _check(operation):
    def check(prediction, target, **options):
        check_floating(operation, prediction, target)
        check_same_shape(operation, "prediction and target", prediction, target)
        if not options.get("delta", 1) > 0:
            raise ArgumentError("delta above 0", f"{options['delta']}", "pass for example 1.0")
        if not 0 < options.get("quantile", 0.5) < 1:
            raise ArgumentError("a quantile between 0 and 1", f"{options['quantile']}", "pass for example 0.9")
    return check


_absolute = fused("absolute_error", definition=_define_absolute, backward=_absolute_backward,
                  check=_check("absolute_error"))
_huber = fused("huber_error", definition=_define_huber, backward=_huber_backward, check=_check("huber_error"))
_quantile = fused("quantile_error", definition=_define_quantile, backward=_quantile_backward,
                  check=_check("quantile_error"))


def absolute_error(prediction: Any, target: Any) -> Any:
    """|prediction - target|, element by element, with slope 0 where they are equal.

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
    return _absolute(in_float32(prediction), in_float32(target))


def huber_error(prediction: Any, target: Any, *, delta: float) -> Any:
    """d²/2 where |d| ≤ δ, else δ (|d| - δ/2), of d = prediction - target, element by element.

    Arguments, shapes and errors are those of `absolute_error`; ArgumentError where delta is not above 0.

    References
    ----------
    P. J. Huber, "Robust estimation of a location parameter", 1964; as `torch.nn.functional.huber_loss`.
    """
    return _huber(in_float32(prediction), in_float32(target), delta=delta)


def quantile_error(prediction: Any, target: Any, *, quantile: float) -> Any:
    """q e where e ≥ 0, else (q - 1) e, of e = target - prediction, element by element: least on average at quantile q.

    Arguments, shapes and errors are those of `absolute_error`; ArgumentError where q is not between 0 and 1.

    References
    ----------
    R. Koenker and G. Bassett, "Regression quantiles", 1978, equation 3.1.
    """
    return _quantile(in_float32(prediction), in_float32(target), quantile=quantile)
