"""Softmax and its logarithm along one axis."""

from __future__ import annotations

from typing import Any

from portable_nn import functional
from portable_nn.layers.module import Module


class Softmax(Module):
    """y = exp(x) / Σ exp(x) along one axis, without overflow.

    For a loss use `CrossEntropyLoss` on x itself: it is more accurate, and quicker.

    Shape
    -----
    any with at least one axis -> the same

    Parameters
    ----------
    dim : int
        The axis along which y sums to 1. (PyTorch guesses one if it is left out; here it is the last.)

    Raises
    ------
    ArgumentError
        x has no such axis.

    Examples
    --------
    >>> import numpy as np
    >>> Softmax()(np.asarray([[3.0, 3.0]]))
    array([[0.5, 0.5]])
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: Any) -> Any:
        return functional.softmax(x, axis=self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """y = x - log Σ exp(x) along one axis, accurate where softmax is near 0 or 1.

    Shape
    -----
    any with at least one axis -> the same

    Parameters
    ----------
    dim : int
        The axis along which exp(y) sums to 1.

    Raises
    ------
    ArgumentError
        x has no such axis.

    Examples
    --------
    >>> import numpy as np
    >>> LogSoftmax()(np.asarray([[-1000.0, 0.0]]))
    array([[-1000.,     0.]])
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: Any) -> Any:
        return functional.log_softmax(x, axis=self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
