"""Layer normalisation."""

from __future__ import annotations

import math
from typing import Any

from portable_nn.backend.errors import ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.functional.checks import at_least_float32, check_floating
from portable_nn.functional.fused import fused
from portable_nn.functional.products import stored


def _trailing(x, weight, bias):
    """The shape that is normalised over."""
    return x.shape[-1:] if weight is None and bias is None else (bias if weight is None else weight).shape


def _statistics(xp, x, axes, eps):
    x = at_least_float32(xp, x)
    mean = xp.mean(x, axis=axes, keepdims=True)
    centred = x - mean
    return mean, 1 / xp.sqrt(xp.mean(centred * centred, axis=axes, keepdims=True) + eps)


def _definition(x, weight, bias, /, *, eps):
    return stored(_forward(x, weight, bias, eps=eps)[0])


def _forward(x, weight, bias, *, eps):
    xp = array_namespace(x, weight, bias)
    axes = tuple(range(-len(_trailing(x, weight, bias)), 0))
    mean, rstd = _statistics(xp, x, axes, eps)
    y = xp.astype((x - mean) * rstd, x.dtype, copy=False)               # x̂
    y = y if weight is None else y * weight
    return y if bias is None else y + bias, (mean, rstd)


def _backward(xp, g, saved, x, weight, bias, needs):
    """∂x = rstd (ĝ - mean(ĝ) - x̂ mean(ĝ x̂)), where ĝ = g w."""
    mean, rstd = saved
    shape = _trailing(x, weight, bias)
    axes = tuple(range(-len(shape), 0))
    rows = (math.prod(x.shape[:x.ndim - len(shape)]), *shape)
    x_hat = (x - mean) * rstd
    g_x = g_weight = None
    if needs[0]:
        g_hat = g if weight is None else g * weight
        g_x = rstd * (g_hat - xp.mean(g_hat, axis=axes, keepdims=True)
                      - x_hat * xp.mean(g_hat * x_hat, axis=axes, keepdims=True))
        g_x = xp.astype(g_x, x.dtype, copy=False)
    if needs[1]:
        g_weight = xp.astype(xp.sum(xp.reshape(g * x_hat, rows), axis=0), weight.dtype, copy=False)
    return g_x, g_weight, xp.sum(xp.reshape(g, rows), axis=0) if needs[2] else None


def layer_norm_gradients(xp, g, x, weight, bias, eps, needs):
    """Those of x, weight and bias, where nothing was saved."""
    axes = tuple(range(-len(_trailing(x, weight, bias)), 0))
    return _backward(xp, g, _statistics(xp, x, axes, eps), x, weight, bias, needs)


def check_layer_norm(x, weight, bias, *, eps):
    check_floating("layer_norm", x, weight, bias)
    shape = _trailing(x, weight, bias)
    if not shape or x.shape[-len(shape):] != shape or 0 in shape:
        raise ShapeError("x whose last axes, of at least one element, are those of weight and bias",
                         f"x {x.shape} and {shape}", "build the layer with normalized_shape = the last axes of x")
    if weight is not None and bias is not None and bias.shape != shape:
        raise ShapeError("weight and bias of one shape", f"{shape} and {bias.shape}", "reshape one of them")


_layer_norm = fused("layer_norm", definition=_definition, forward=_forward, backward=_backward, check=check_layer_norm)


def layer_norm(x: Any, weight: Any, bias: Any, *, eps: float) -> Any:
    """(x - mean) / √(var + ε) · weight + bias, with mean and (biased) variance over the last axes of x.

    Parameters
    ----------
    x : floating array of shape (..., *D)
    weight, bias : arrays of shape D, or None
        They also say which axes; without both it is the last one.
    eps : float
        ε, inside the root.

    Returns
    -------
    array of the shape and dtype of `x`
        In half precision within its context (see `portable_nn.precision`). The statistics are computed in at least
        float32.

    Raises
    ------
    ShapeError, DTypeError, DeviceError
        D is not the end of x's shape, or is empty; dtypes are not floating or differ; devices differ.

    References
    ----------
    J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", 2016, equations 3 and 4; as PyTorch's.
    """
    return _layer_norm(x, weight, bias, eps=eps)
