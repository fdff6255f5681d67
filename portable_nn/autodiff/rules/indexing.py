"""Gradients of functions that select elements: what was not selected gets zero, what was, the sum over its uses."""

from __future__ import annotations

from portable_nn.autodiff.primitive import place, place_along_axis, scatter_rows, to_native_device
from portable_nn.autodiff.rules import define_rule


def _take(xp, g, shape, indices, axis):
    axis = 0 if axis is None else axis % len(shape)
    rows = scatter_rows(xp.moveaxis(g, axis, 0), indices=indices, size=shape[axis])
    return xp.moveaxis(rows, 0, axis)


def _take_along_axis(xp, g, shape, indices, axis):
    """Add to the elements taken; x may have been broadcast against the indices along the other axes."""
    axis %= len(shape)
    whole = (*g.shape[:axis], shape[axis], *g.shape[axis + 1:])
    return place_along_axis(g, indices=indices, axis=axis, shape=whole)


def _where(xp, g, condition, side):
    zeros = xp.zeros_like(g)
    return xp.where(condition, g, zeros) if side == 1 else xp.where(condition, zeros, g)


define_rule("getitem", x=lambda xp, g, shape, key: place(g, key=key, shape=shape))
define_rule("take", x=_take)
define_rule("take_along_axis", x=_take_along_axis)
define_rule("where", x1=lambda xp, g, condition: _where(xp, g, condition, 1),
            x2=lambda xp, g, condition: _where(xp, g, condition, 2))
define_rule("to_device", x=lambda xp, g, origin: to_native_device(g, origin))
