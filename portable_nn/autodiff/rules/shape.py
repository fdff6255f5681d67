"""Gradients of functions that move elements without changing them."""

from __future__ import annotations

import math

from portable_nn.autodiff.engine import unbroadcast
from portable_nn.autodiff.primitive import index_dtype, scatter_rows
from portable_nn.autodiff.rules import define_rule


def _inverse(axes):
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


def _roll_back(xp, g, shift, axis):
    return xp.roll(g, -shift if isinstance(shift, int) else tuple(-s for s in shift), axis=axis)


def _untile(xp, g, shape, repetitions):
    """Sum the copies: give each axis of g a twin that counts the repetitions."""
    repetitions = (1,) * (len(shape) - len(repetitions)) + tuple(repetitions)
    padded = (1,) * (len(repetitions) - len(shape)) + tuple(shape)
    twins = tuple(length for pair in zip(repetitions, padded, strict=True) for length in pair)
    return xp.reshape(xp.sum(xp.reshape(g, twins), axis=tuple(range(0, len(twins), 2))), shape)


def _unrepeat(xp, g, shape, repeats, axis):
    """Sum the copies of each element: by an axis of their own if there are equally many, else row by row."""
    flat = shape if axis is not None else (math.prod(shape),)
    axis = 0 if axis is None else axis % len(shape)
    if isinstance(repeats, int):
        twins = (*flat[:axis + 1], repeats, *flat[axis + 1:])
        return xp.reshape(xp.sum(xp.reshape(g, twins), axis=axis + 1), shape)
    rows = xp.arange(flat[axis], dtype=index_dtype(xp, g.device), device=g.device)
    origins = xp.repeat(rows, xp.broadcast_to(repeats, (flat[axis],)))
    rows = scatter_rows(xp.moveaxis(g, axis, 0), indices=origins, size=flat[axis])
    return xp.reshape(xp.moveaxis(rows, 0, axis), shape)


def _restack(xp, g, axis):
    """The gradients of all outputs, zeros for those without one."""
    known = next(x for x in g if x is not None)
    return xp.stack([xp.zeros_like(known) if x is None else x for x in g], axis=axis)


define_rule("reshape", x=lambda xp, g, shape: xp.reshape(g, shape))
define_rule("broadcast_to", x=lambda xp, g, shape: unbroadcast(xp, g, shape))
define_rule("permute_dims", x=lambda xp, g, axes: xp.permute_dims(g, _inverse([a % len(axes) for a in axes])))
define_rule("moveaxis", x=lambda xp, g, source, destination: xp.moveaxis(g, destination, source))
define_rule("matrix_transpose", x=lambda xp, g: xp.matrix_transpose(g))
define_rule("expand_dims", x=lambda xp, g, shape: xp.reshape(g, shape))
define_rule("squeeze", x=lambda xp, g, shape: xp.reshape(g, shape))
define_rule("flip", x=lambda xp, g, axis: xp.flip(g, axis=axis))
define_rule("roll", x=_roll_back)
define_rule("tile", x=_untile)
define_rule("repeat", x=_unrepeat)
define_rule("unstack", x=_restack)
define_rule("tril", x=lambda xp, g, k: xp.tril(g, k=k))
define_rule("triu", x=lambda xp, g, k: xp.triu(g, k=k))
define_rule("astype", x=lambda xp, g, dtype: xp.astype(g, dtype))
