"""softmax and its logarithm, along one axis."""

from __future__ import annotations

from typing import Any

from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.namespace import array_namespace
from portable_nn.functional.checks import at_least_float32, check_floating
from portable_nn.functional.fused import fused


def _shifted(xp, x, axis):
    """x minus its largest value along the axis, in at least float32: no exponential of it overflows."""
    x = at_least_float32(xp, x)
    return x - xp.max(x, axis=axis, keepdims=True)


def _define_softmax(x, /, *, axis):
    if 0 in x.shape:
        return x
    xp = array_namespace(x)
    e = xp.exp(_shifted(xp, x, axis))
    return xp.astype(e / xp.sum(e, axis=axis, keepdims=True), x.dtype, copy=False)


def _define_log_softmax(x, /, *, axis):
    if 0 in x.shape:
        return x
    xp = array_namespace(x)
    z = _shifted(xp, x, axis)
    return xp.astype(z - xp.log(xp.sum(xp.exp(z), axis=axis, keepdims=True)), x.dtype, copy=False)


def _softmax_backward(xp, g, out, axis):
    return (out * (g - xp.sum(g * out, axis=axis, keepdims=True)),)


def _log_softmax_backward(xp, g, out, axis):
    return (g - xp.exp(out) * xp.sum(g, axis=axis, keepdims=True),)


def _check(x, *, axis):
    check_floating("softmax", x)
    if not -x.ndim <= axis < x.ndim:
        raise ArgumentError(f"an axis from {-x.ndim} to {x.ndim - 1} for x of shape {x.shape}" if x.ndim else
                            "x with at least one axis", f"axis {axis}", "pass one of the axes of x, for example -1")


_softmax = fused("softmax", definition=_define_softmax, backward=_softmax_backward, check=_check)
_log_softmax = fused("log_softmax", definition=_define_log_softmax,
                     backward=_log_softmax_backward, check=_check)


def softmax(x: Any, *, axis: int) -> Any:
    """exp(x) / Σ exp(x) along one axis, without overflow.

    Parameters
    ----------
    x : floating array
    axis : int
        The axis along which the result sums to 1.

    Returns
    -------
    array of the shape and dtype of `x`

    Raises
    ------
    DTypeError, ArgumentError
        x is not floating; x has no such axis.

    References
    ----------
    As PyTorch's `torch.nn.functional.softmax` and SciPy's `scipy.special.softmax`.
    """
    return _softmax(x, axis=axis)


def log_softmax(x: Any, *, axis: int) -> Any:
    """x - log Σ exp(x) along one axis, accurate where softmax is near 0 or 1; arguments and errors as `softmax`."""
    return _log_softmax(x, axis=axis)
