"""Gradients of functions that move elements without changing them."""

from __future__ import annotations

from portable_nn.autodiff.engine import unbroadcast
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
    if not isinstance(repeats, int):
        return None
    flat = shape if axis is not None else (_size(shape),)
    axis = 0 if axis is None else axis % len(shape)
    twins = (*flat[:axis + 1], repeats, *flat[axis + 1:])
    return xp.reshape(xp.sum(xp.reshape(g, twins), axis=axis + 1), shape)


def _size(shape):
    size = 1
    for length in shape:
        size *= length
    return size


def _undiff(xp, g, shape, axis, n, prepend, append):
    """Each difference takes from one element and gives to the next."""
    for _ in range(n):
        edge = xp.zeros_like(g[(slice(None),) * (axis % g.ndim) + (slice(0, 1),)])
        g = xp.concat((edge, g), axis=axis) - xp.concat((g, edge), axis=axis)
    first = 0 if prepend is None else prepend.shape[axis]
    return g[(slice(None),) * (axis % g.ndim) + (slice(first, first + shape[axis]),)]


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
define_rule("diff", x=_undiff)
define_rule("tril", x=lambda xp, g, k: xp.tril(g, k=k))
define_rule("triu", x=lambda xp, g, k: xp.triu(g, k=k))
define_rule("astype", x=lambda xp, g, dtype: xp.astype(g, dtype))
