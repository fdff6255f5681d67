"""Gradients of products and of linear algebra."""

from __future__ import annotations

from portable_nn.autodiff.engine import unbroadcast
from portable_nn.autodiff.rules import define_rule


def _as_matrix(xp, x, side):
    """A vector as a row (side 1, the left factor) or a column (side 2)."""
    return x if x.ndim > 1 else xp.expand_dims(x, axis=0 if side == 1 else 1)


def _matmul(xp, g, x1, x2, side):
    """G X₂ᵀ and X₁ᵀ G; vectors are matrices of one row or column, and broadcast batches are summed."""
    shape = (x1 if side == 1 else x2).shape
    if x1.ndim == 1:
        g = xp.expand_dims(g, axis=-2 if x2.ndim > 1 else 0)
    if x2.ndim == 1:
        g = xp.expand_dims(g, axis=-1)
    left, right = _as_matrix(xp, x1, 1), _as_matrix(xp, x2, 2)
    factors = (g, xp.matrix_transpose(right)) if side == 1 else (xp.matrix_transpose(left), g)
    product = xp.matmul(*factors)
    if len(shape) == 1:  # the batch, then the axis of length one that made the vector a matrix
        product = xp.reshape(product, (*product.shape[:-2], shape[0]))
    return product if product.shape == shape else unbroadcast(xp, product, shape)


def _vecdot(xp, g, other, shape, axis):
    return unbroadcast(xp, xp.expand_dims(g, axis=axis) * other, shape)


def _contracted(ndim1, ndim2, axes):
    """The axes that tensordot sums over, of each factor."""
    if isinstance(axes, int):
        return tuple(range(ndim1 - axes, ndim1)), tuple(range(axes))
    first, second = ((a,) if isinstance(a, int) else tuple(a) for a in axes)
    return tuple(a % ndim1 for a in first), tuple(a % ndim2 for a in second)


def _tensordot_first(xp, g, x1, x2, axes):
    axes1, axes2 = _contracted(x1.ndim, x2.ndim, axes)
    free1 = [a for a in range(x1.ndim) if a not in axes1]
    free2 = [a for a in range(x2.ndim) if a not in axes2]
    product = xp.tensordot(g, x2, axes=(tuple(range(len(free1), g.ndim)), tuple(free2)))
    paired = [axes1[axes2.index(a)] for a in sorted(axes2)]  # the contracted axes come out in x2's order
    made = free1 + paired
    return xp.permute_dims(product, tuple(made.index(a) for a in range(x1.ndim)))


def _tensordot_second(xp, g, x1, x2, axes):
    axes1, axes2 = _contracted(x1.ndim, x2.ndim, axes)
    free1 = x1.ndim - len(axes1)
    free2 = [a for a in range(x2.ndim) if a not in axes2]
    unsummed = tuple(a for a in range(x1.ndim) if a not in axes1)
    product = xp.tensordot(x1, g, axes=(unsummed, tuple(range(free1))))
    made = [axes2[axes1.index(a)] for a in sorted(axes1)] + free2
    return xp.permute_dims(product, tuple(made.index(a) for a in range(x2.ndim)))


define_rule("matmul", x1=lambda xp, g, x1, x2: _matmul(xp, g, x1, x2, 1), x2=lambda xp, g, x1, x2: _matmul(xp, g, x1,
                                                                                                           x2, 2))
define_rule("vecdot", x1=lambda xp, g, x2, shape, axis: _vecdot(xp, g, x2, shape, axis),
            x2=lambda xp, g, x1, shape, axis: _vecdot(xp, g, x1, shape, axis))
define_rule("tensordot", x1=_tensordot_first, x2=_tensordot_second)
