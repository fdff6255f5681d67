"""Root mean square normalisation."""

from __future__ import annotations

import math
from typing import Any

from portable_nn.backend.errors import ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.functional.checks import at_least_float32, check_floating
from portable_nn.functional.fused import fused
from portable_nn.functional.products import stored


def _axes(x, weight):
    return (-1,) if weight is None else tuple(range(-weight.ndim, 0))


def _definition(x, weight, /, *, eps):
    return stored(_forward(x, weight, eps=eps)[0])


def _statistic(xp, x, weight, eps):
    wide = at_least_float32(xp, x)
    eps = float(xp.finfo(x.dtype).eps) if eps is None else eps
    return 1 / xp.sqrt(xp.mean(wide * wide, axis=_axes(x, weight), keepdims=True) + eps)


def _forward(x, weight, *, eps):
    xp = array_namespace(x, weight)
    rrms = _statistic(xp, x, weight, eps)
    y = xp.astype(at_least_float32(xp, x) * rrms, x.dtype, copy=False)  # x̂
    return y if weight is None else y * weight, rrms


def _backward(xp, g, saved, x, weight, needs):
    """∂x = rrms (ĝ - x̂ mean(ĝ x̂)), where ĝ = g w."""
    x_hat, axes = x * saved, _axes(x, weight)
    g_x = g_weight = None
    if needs[0]:
        g_hat = g if weight is None else g * weight
        g_x = saved * (g_hat - x_hat * xp.mean(g_hat * x_hat, axis=axes, keepdims=True))
        g_x = xp.astype(g_x, x.dtype, copy=False)
    if needs[1]:
        rows = (math.prod(x.shape[:-len(axes)]), *weight.shape)
        g_weight = xp.astype(xp.sum(xp.reshape(g * x_hat, rows), axis=0), weight.dtype, copy=False)
    return g_x, g_weight


def rms_norm_gradients(xp, g, x, weight, eps, needs):
    """Those of x and weight, where nothing was saved."""
    return _backward(xp, g, _statistic(xp, x, weight, eps), x, weight, needs)


def check_rms_norm(x, weight, *, eps):
    check_floating("rms_norm", x, weight)
    shape = x.shape[-1:] if weight is None else weight.shape
    if not shape or x.shape[-len(shape):] != shape or 0 in shape:
        raise ShapeError("x whose last axes, of at least one element, are those of weight", f"x {x.shape} and {shape}",
                         "build the layer with normalized_shape = the last axes of x")


_rms_norm = fused("rms_norm", definition=_definition, forward=_forward, backward=_backward, check=check_rms_norm)


def rms_norm(x: Any, weight: Any, *, eps: float | None) -> Any:
    """x / √(mean(x²) + ε) · weight, with the mean over the last axes of x.

    Parameters
    ----------
    x : floating array of shape (..., *D)
    weight : array of shape D, or None for the last axis alone and no weight
    eps : float or None
        ε, inside the root; None is the step from 1 to the next number of x's dtype.

    Returns
    -------
    array of the shape and dtype of `x`
        In half precision within its context (see `portable_nn.precision`). The mean is computed in at least float32.

    Raises
    ------
    ShapeError, DTypeError, DeviceError
        D is not the end of x's shape, or is empty; dtypes are not floating or differ; devices differ.

    References
    ----------
    B. Zhang and R. Sennrich, "Root mean square layer normalization", 2019, equation 4; as PyTorch's.
    """
    return _rms_norm(x, weight, eps=eps)
