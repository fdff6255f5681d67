"""Dropout, keyed: one stream gives one mask, on every backend."""

from __future__ import annotations

from typing import Any

from portable_nn.backend.namespace import array_namespace
from portable_nn.backend.random import Stream, keep_mask
from portable_nn.functional.checks import check_floating
from portable_nn.functional.fused import fused


def _definition(x, /, *, p, stream):
    if p == 0:
        return x
    xp = array_namespace(x)
    mask, share = keep_mask(stream, x.shape, p, xp=getattr(xp, "raw", xp), device=x.device)
    if share == 0:
        return xp.where(mask, x, xp.zeros_like(x))
    return x * (xp.astype(mask, x.dtype) * (1 / share))


def _backward(xp, g, p, stream):
    """Dropout is linear in x, so the gradient passes through the same mask; it is drawn again rather than kept."""
    return (_definition(g, p=p, stream=stream),)


_dropout = fused("dropout", definition=_definition, backward=_backward,
                 check=lambda x, *, p, stream: check_floating("dropout", x))


def dropout(x: Any, *, p: float, stream: Stream) -> Any:
    """x with a share p of its elements set to zero and the others divided by the share that is kept.

    Parameters
    ----------
    x : floating array of any shape
    p : float
        The probability of dropping an element, resolved to 1/65536; the scale is the exact inverse of the share kept.
    stream : Stream
        Which random numbers decide. The same stream drops the same elements on every backend.

    Returns
    -------
    array of the shape and dtype of `x`
        x itself for p = 0, zeros for p = 1.

    Raises
    ------
    ArgumentError
        p is not from 0 to 1, or is so near an end that it would round to it.
    DTypeError
        x is not floating.

    References
    ----------
    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014, in the inverted
    form of PyTorch.
    """
    return _dropout(x, p=p, stream=stream)
