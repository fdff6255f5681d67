"""Batch normalisation: each channel by its mean and variance over the batch, or by given ones."""

from __future__ import annotations

import math
from typing import Any

from portable_nn.backend.errors import ArgumentError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.functional.checks import at_least_float32, check_floating
from portable_nn.functional.fused import fused
from portable_nn.functional.products import in_float32


def _axes(x):
    """All axes but that of the channels, which is the second."""
    return (0, *range(2, x.ndim))


def per_channel(xp: Any, values: Any, like: Any) -> Any:
    """Values of shape (C,) in a shape that broadcasts against (B, C, ...)."""
    return xp.reshape(values, (1, values.shape[0]) + (1,) * (like.ndim - 2))


def _definition(x, weight, bias, /, *, eps):
    return _forward(x, weight, bias, eps=eps)[0]


def _forward(x, weight, bias, *, eps):
    xp = array_namespace(x, weight, bias)
    wide, axes = at_least_float32(xp, x), _axes(x)
    mean = xp.mean(wide, axis=axes, keepdims=True)
    centred = wide - mean
    var = xp.mean(centred * centred, axis=axes, keepdims=True)
    rstd = 1 / xp.sqrt(var + eps)
    y = xp.astype(centred * rstd, x.dtype, copy=False)                  # x̂
    y = y if weight is None else y * per_channel(xp, weight, x)
    y = y if bias is None else y + per_channel(xp, bias, x)
    channels = (x.shape[1],)
    return (y, xp.reshape(mean, channels), xp.reshape(var, channels)), (mean, rstd)


def _backward(xp, g, saved, x, weight, needs):
    """∂x = rstd (ĝ - mean(ĝ) - x̂ mean(ĝ x̂)) with ĝ = g w, and what the mean and variance themselves are asked for."""
    (g_y, g_mean, g_var), (mean, rstd), axes = g, saved, _axes(x)
    count = x.shape[0] * math.prod(x.shape[2:])
    centred = x - mean
    x_hat = centred * rstd
    g_x = g_weight = g_bias = None
    if g_y is not None:
        if needs[0]:
            g_hat = g_y if weight is None else g_y * per_channel(xp, weight, x)
            g_x = rstd * (g_hat - xp.mean(g_hat, axis=axes, keepdims=True)
                          - x_hat * xp.mean(g_hat * x_hat, axis=axes, keepdims=True))
        g_weight = xp.astype(xp.sum(g_y * x_hat, axis=axes), x.dtype, copy=False) if needs[1] else None
        g_bias = xp.sum(g_y, axis=axes) if needs[2] else None
    if needs[0]:
        for part in (None if g_mean is None else per_channel(xp, g_mean, x) / count,
                     None if g_var is None else per_channel(xp, g_var, x) * centred * (2 / count)):
            g_x = part if g_x is None else g_x if part is None else g_x + part
        g_x = xp.astype(xp.broadcast_to(g_x, x.shape), x.dtype, copy=False)
    return g_x, g_weight, g_bias


def _check_shapes(x, *others):
    check_floating("batch_norm", x, *others)
    if x.ndim < 2:
        raise ShapeError("x of shape (B, C) or (B, C, T)", f"{x.shape}", "give it axes of batch and channels")
    for other in others:
        if other is not None and other.shape != x.shape[1:2]:
            raise ShapeError(f"one value for each channel, shape {x.shape[1:2]}", f"{other.shape}",
                             f"build the layer with num_features={x.shape[1]}")


def _check(x, weight, bias, *, eps):
    _check_shapes(x, weight, bias)
    if math.prod(x.shape) < 2 * x.shape[1]:
        raise ShapeError("more than one value per channel to take a variance of", f"x of shape {x.shape}",
                         "train on larger batches (drop_last=True leaves a short last one out), or call eval() first")


_batch_norm = fused("batch_norm", definition=_definition, forward=_forward, backward=_backward, check=_check)


def batch_norm(x: Any, weight: Any, bias: Any, mean: Any, var: Any, *, eps: float) -> tuple[Any, Any, Any]:
    """(x - mean) / √(var + ε) · weight + bias, channel by channel.

    Parameters
    ----------
    x : floating array of shape (B, C) or (B, C, T)
        Any number of axes may follow that of the channels.
    weight, bias : arrays of shape (C,), or None
    mean, var : arrays of shape (C,), or None
        What to normalise by; None for the mean and the biased variance of x itself, over all axes but that of the
        channels, in at least float32.
    eps : float
        ε, inside the root.

    Returns
    -------
    y : array of the shape and dtype of `x`
    mean, var : arrays of shape (C,)
        Those it was normalised by.

    Raises
    ------
    ShapeError, DTypeError, DeviceError
        Shapes do not fit, or x has but one value per channel to take a variance of; dtypes are not floating or differ;
        devices differ.
    ArgumentError
        One of mean and var is given without the other.

    References
    ----------
    S. Ioffe and C. Szegedy, "Batch normalization", 2015, algorithm 1; as PyTorch's.
    """
    x = in_float32(x)
    if mean is None and var is None:
        return _batch_norm(x, weight, bias, eps=eps)
    if mean is None or var is None:
        raise ArgumentError("both mean and var, or neither", "one of them", "pass None for both for those of the batch")
    xp = array_namespace(x, weight, bias, mean, var)
    _check_shapes(x, weight, bias, mean, var)
    scale = 1 / xp.sqrt(at_least_float32(xp, var) + eps)
    scale = scale if weight is None else scale * weight
    y = xp.astype((x - per_channel(xp, mean, x)) * per_channel(xp, scale, x), x.dtype, copy=False)
    return y if bias is None else y + per_channel(xp, bias, x), mean, var
