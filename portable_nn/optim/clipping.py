"""Clipping of gradients by their global norm."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Real
from typing import Any

from portable_nn.autodiff.row_sparse import RowSparse
from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.namespace import array_namespace
from portable_nn.kernels import registry
from portable_nn.optim.groups import as_list, check_parameter


def square_sum(x: Any) -> Any:
    """Σ x² of an array of one axis, as a 0-d array; nothing is read back."""
    xp = array_namespace(x)
    kernel = registry.find("square_sum", xp, (x,), {})
    return xp.vecdot(x, x) if kernel is None else kernel.forward(x)


def global_norm(gradients: list[Any]) -> Any:
    """The Euclidean norm of all gradients taken together, as a 0-d array; nothing is read back."""
    xp = array_namespace(*gradients)
    total = None
    for g in gradients:
        square = square_sum(xp.reshape(g, (-1,)))
        total = square if total is None else total + square
    return xp.sqrt(total)


def clip_factor(norm: Any, max_norm: float) -> Any:
    """min(1, max_norm / (norm + 1e-6)), as PyTorch has it."""
    xp = array_namespace(norm)
    factor = max_norm / (norm + 1e-6)
    return xp.where(factor < 1, factor, xp.ones_like(factor))


def check_norm(name: str, value: Any) -> None:
    """Raise ArgumentError unless a norm to clip to is a number above 0."""
    if not (isinstance(value, Real) and value > 0):  # type: ignore[operator]
        raise ArgumentError(f"{name} above 0", repr(value), "pass for example 1.0, or leave clipping out")


def clip_grad_norm(parameters: Iterable[Any], max_norm: float) -> Any:
    """Scale the accumulated gradients together so that their global norm is at most `max_norm`; returns the norm.

    Parameters
    ----------
    parameters : iterable of Parameter
    max_norm : float
        Above 0.

    Returns
    -------
    array of no axes
        The norm before clipping; 0.0 where no parameter has a gradient.
    """
    check_norm("max_norm", max_norm)
    members = as_list(parameters)
    for member in members:
        check_parameter(member)
    owners = [p for p in members if p.grad is not None]
    if not owners:
        return 0.0
    for p in owners:
        p.grad = p.grad.coalesced() if isinstance(p.grad, RowSparse) else p.grad
    norm = global_norm([p.grad.rows if isinstance(p.grad, RowSparse) else p.grad for p in owners])
    xp = array_namespace(norm)
    factor = xp.asarray(clip_factor(norm, max_norm))
    for p in owners:
        p.grad = p.grad * xp.astype(factor, p.grad.dtype)
    return norm


def clip_grad_value(parameters: Iterable[Any], limit: float) -> None:
    """Move every element of the accumulated gradients into [-limit, limit].

    Parameters
    ----------
    parameters : iterable of Parameter
    limit : float
        Above 0.
    """
    if not limit > 0:
        raise ArgumentError("a limit above 0", f"{limit}", "pass for example 1.0")
    for p in parameters:
        if p.grad is not None:
            rows = p.grad.coalesced() if isinstance(p.grad, RowSparse) else None
            g = p.grad if rows is None else rows.rows
            clipped = array_namespace(g).clip(g, -limit, limit)
            p.grad = clipped if rows is None else rows.with_rows(clipped)
