"""Gradients of functions that sum, select or accumulate along axes."""

from __future__ import annotations

import math

from portable_nn.autodiff.rules import define_rule


def spread(xp, g, shape, axis, keepdims):
    """Give every element of the reduced axes the gradient of the result it went into."""
    if not keepdims:
        g = xp.reshape(g, reduced_shape(shape, axis))
    return xp.broadcast_to(g, shape)


def reduced_shape(shape, axis):
    """The shape a reduction over `axis` has with keepdims."""
    axes = range(len(shape)) if axis is None else [a % len(shape) for a in ((axis,) if isinstance(axis, int) else axis)]
    return tuple(1 if i in axes else length for i, length in enumerate(shape))


def count(shape, axis):
    """How many elements go into each result."""
    return math.prod(shape) // max(math.prod(reduced_shape(shape, axis)), 1)


def _sum(xp, g, shape, dtype, axis, keepdims):
    return xp.astype(spread(xp, g, shape, axis, keepdims), dtype, copy=False)


def _mean(xp, g, shape, axis, keepdims):
    return spread(xp, g * (1 / max(count(shape, axis), 1)), shape, axis, keepdims)


def _var(xp, g, x, axis, correction, keepdims):
    degrees = count(x.shape, axis) - correction
    scale = 2 / degrees if degrees > 0 else math.nan  # as the variance itself
    return spread(xp, g, x.shape, axis, keepdims) * (x - xp.mean(x, axis=axis, keepdims=True)) * scale


def _std(xp, g, x, out, axis, correction, keepdims):
    """The gradient through the variance; 0 where all elements are equal."""
    flat = out == 0
    g = xp.where(flat, xp.zeros_like(g), g / (2 * xp.where(flat, xp.ones_like(out), out)))
    return _var(xp, g, x, axis, correction, keepdims)


def _extremum(xp, g, x, out, axis, keepdims):
    """Equal shares to every element that attains the extremum."""
    if not keepdims:
        out = xp.reshape(out, reduced_shape(x.shape, axis))
    hit = xp.astype(x == out, x.dtype)
    share = hit / xp.sum(hit, axis=axis, keepdims=True)
    return spread(xp, g, x.shape, axis, keepdims) * share


def _prod(xp, g, x, axis, keepdims):
    """The product of the others, by products from both ends, so that zeros are no special case."""
    axes = tuple(range(x.ndim)) if axis is None else tuple(a % x.ndim for a in ((axis,) if isinstance(axis,
                                                                                                      int) else axis))
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    order = kept + axes
    flat = xp.reshape(xp.permute_dims(x, order), (*(x.shape[a] for a in kept), -1 if x.size else 0))
    one = xp.ones_like(flat[..., :1])
    before = xp.cumulative_prod(xp.concat((one, flat[..., :-1]), axis=-1), axis=-1)
    after = xp.flip(xp.cumulative_prod(xp.concat((one, xp.flip(flat[..., 1:], axis=-1)), axis=-1), axis=-1), axis=-1)
    others = xp.reshape(before * after, tuple(x.shape[a] for a in order))
    inverse = tuple(order.index(a) for a in range(x.ndim))
    return spread(xp, g, x.shape, axis, keepdims) * xp.permute_dims(others, inverse)


def _from_the_end(xp, g, axis):
    return xp.flip(xp.cumulative_sum(xp.flip(g, axis=axis), axis=axis), axis=axis)


def _cumulative_sum(xp, g, shape, axis, include_initial):
    axis = len(shape) - 1 if axis is None else axis % len(shape)
    if include_initial:
        g = g[(*(slice(None),) * axis, slice(1, None), ...)]
    return _from_the_end(xp, g, axis)


def _cumulative_prod(xp, g, x, axis, include_initial):
    """g_xᵢ = hᵢ Π_{k < i} x_k with hᵢ = gᵢ + x_{i+1} h_{i+1}, which doubling solves in log₂ n steps, right at zeros."""
    axis = x.ndim - 1 if axis is None else axis % x.ndim
    before = (slice(None),) * axis
    g = xp.moveaxis(g[(*before, slice(1, None), ...)] if include_initial else g, axis, -1)
    x = xp.moveaxis(x, axis, -1)
    length = x.shape[-1]
    if length == 0:
        return xp.moveaxis(g, -1, axis)
    one, null = xp.ones_like(x[..., :1]), xp.zeros_like(x[..., :1])
    h, factor, step = g, xp.concat((x[..., 1:], null), axis=-1), 1
    while step < length:  # hᵢ covers 2·step terms once those of i + step are added
        h = xp.concat((h[..., :-step] + factor[..., :-step] * h[..., step:], h[..., -step:]), axis=-1)
        factor = xp.concat((factor[..., :-step] * factor[..., step:], factor[..., -step:]), axis=-1)
        step *= 2
    earlier = xp.concat((one, xp.cumulative_prod(x[..., :-1], axis=-1)), axis=-1)
    return xp.moveaxis(h * earlier, -1, axis)


def _vector_norm(xp, g, x, out, axis, keepdims, ord):
    """The gradient of (Σ |x|ᵖ)^(1/p), and 0 where the norm is 0."""
    if not keepdims:
        out = xp.reshape(out, reduced_shape(x.shape, axis))
    g = spread(xp, g, x.shape, axis, keepdims)
    if ord == 0:
        return xp.zeros_like(g)
    if ord == 1:
        return g * xp.sign(x)
    if math.isinf(ord):
        hit = xp.astype(xp.abs(x) == out, x.dtype)
        return g * xp.sign(x) * (hit / xp.sum(hit, axis=axis, keepdims=True))
    length = xp.where(out == 0, xp.ones_like(out), out)
    if ord == 2:
        return g * (x / length)
    return g * xp.sign(x) * (xp.abs(x) / length) ** (ord - 1)


define_rule("sum", x=_sum)
define_rule("mean", x=_mean)
define_rule("var", x=_var)
define_rule("std", x=_std)
define_rule("max", x=_extremum)
define_rule("min", x=_extremum)
define_rule("prod", x=_prod)
define_rule("cumulative_sum", x=_cumulative_sum)
define_rule("cumulative_prod", x=_cumulative_prod)
define_rule("vector_norm", x=_vector_norm)
