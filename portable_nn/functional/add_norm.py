"""The joints of residual networks: x + dropout(y), and a norm of that sum."""

from __future__ import annotations

from typing import Any

from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.random import Stream
from portable_nn.functional.checks import check_floating, check_same_shape
from portable_nn.functional.dropout import dropout
from portable_nn.functional.fused import fused
from portable_nn.functional.normalization import check_layer_norm, layer_norm, layer_norm_gradients
from portable_nn.functional.rms_norm import check_rms_norm, rms_norm, rms_norm_gradients


def _define_sum(x, y, /, *, p, stream):
    return x + (y if p == 0 else dropout(y, p=p, stream=stream))


def _sum_gradients(xp, g, p, stream, needs):
    return g, (g if p == 0 else dropout(g, p=p, stream=stream)) if needs[1] else None


def _check_sum(x, y, *, p, stream):
    check_floating("add_dropout", x, y)
    check_same_shape("add_dropout", "x and y", x, y)


def _definition(x, y, weight, bias, /, *, norm, eps, p, stream, both):
    total = x if y is None else add_dropout(x, y, p=p, stream=stream)
    if norm == "layer":
        return total, layer_norm(total, weight, bias, eps=eps)
    return total, rms_norm(total, weight, eps=eps)


def _backward(xp, g, out, weight, bias, norm, eps, p, stream, needs):
    """The sum, which is kept anyway, is all that is asked for: x and y need not be."""
    (g_total, g_out), total = g, out[0]
    g_weight = g_bias = None
    if g_out is not None:
        wanted = (True, needs[2], needs[3])
        g_norm, g_weight, g_bias = (
            layer_norm_gradients(xp, g_out, total, weight, bias, eps, wanted) if norm == "layer"
            else (*rms_norm_gradients(xp, g_out, total, weight, eps, wanted), None))
        g_total = g_norm if g_total is None else g_norm + g_total
    return *_sum_gradients(xp, g_total, p, stream, needs), g_weight, g_bias


def _check(x, y, weight, bias, *, norm, eps, p, stream, both):
    if norm == "layer":
        check_layer_norm(x, weight, bias, eps=eps)
    elif norm == "rms" and bias is None:
        check_rms_norm(x, weight, eps=eps)
    else:
        raise ArgumentError('the norm "layer", or "rms" without a bias', repr(norm), "pass one of them")
    if y is not None:
        check_floating("add_norm", x, y)
        check_same_shape("add_norm", "x and y", x, y)


_add_dropout = fused("add_dropout", definition=_define_sum, backward=_sum_gradients, check=_check_sum)
_add_norm = fused("add_norm", definition=_definition, backward=_backward, check=_check)


def add_dropout(x: Any, y: Any, *, p: float, stream: Stream | None) -> Any:
    """x + dropout(y): what a residual connection adds up, in one pass.

    Parameters
    ----------
    x, y : floating arrays of one shape
    p : float
        The probability of dropping an element of y, resolved to 1/65536.
    stream : Stream, or None with p = 0
        Which random numbers decide, as in `dropout`.

    Returns
    -------
    array of the shape of x and y

    Raises
    ------
    ShapeError, DTypeError, DeviceError, ArgumentError
        x and y differ, or are not floating; p is not from 0 to 1.
    """
    return _add_dropout(x, y, p=p, stream=stream)


def add_norm(x: Any, y: Any, weight: Any, bias: Any, *, norm: str, eps: float | None, p: float, stream: Stream | None,
             both: bool) -> Any:
    """The norm of x + dropout(y), in one pass; with `both` the sum too, which the next residual connection starts from.

    Parameters
    ----------
    x : floating array of shape (..., *D)
    y : array of the shape of x, or None for x itself
    weight, bias : arrays of shape D, or None
        As in `layer_norm` and `rms_norm`; the latter has no bias.
    norm : "layer" or "rms"
    eps : float or None
        ε, inside the root; None, for "rms", is the step from 1 to the next number.
    p : float
        The probability of dropping an element of y, resolved to 1/65536.
    stream : Stream, or None with p = 0
        Which random numbers decide, as in `dropout`.
    both : bool

    Returns
    -------
    array, or with `both` (sum, norm)
        Each of the shape of x.

    Raises
    ------
    ShapeError, DTypeError, DeviceError, ArgumentError
        x and y differ; D is not the end of x's shape; dtypes are not floating or differ; devices differ.

    References
    ----------
    A. Vaswani et al., "Attention is all you need", 2017, section 3.1; R. Xiong et al., "On layer normalization in the
    Transformer architecture", 2020, for the use of both.
    """
    results = _add_norm(x, y, weight, bias, norm=norm, eps=eps, p=p, stream=stream, both=both)
    return results if both else results[1]
