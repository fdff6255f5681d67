"""y = x · mask / (1 - p)."""

from __future__ import annotations

from typing import Any

from portable_nn import functional
from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.random import Stream, keep_threshold
from portable_nn.layers.module import Module


class Dropout(Module):
    """In training mode, set a random share p of the elements to zero and divide the others by the share kept.

    In evaluation mode, and with p = 0, the result is x itself. Which elements go is a function of the model's seed,
    this layer's path in it and the number of training calls, and the same on every backend.

    Shape
    -----
    any -> the same

    Parameters
    ----------
    p : float
        The probability of dropping an element, resolved to 1/65536.

    Raises
    ------
    ArgumentError
        p is not from 0 to 1, or so near an end that it would round to it.

    References
    ----------
    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.

    Examples
    --------
    >>> import numpy as np
    >>> Dropout(0.5).eval()(np.asarray([1.0, 2.0]))
    array([1., 2.])
    >>> Dropout(0.5).eval()(np.asarray([1.0, 2.0]), onto=np.asarray([10.0, 10.0]))
    array([11., 12.])
    """

    def __init__(self, p: float = 0.5) -> None:
        if not isinstance(p, (int, float)):
            raise ArgumentError("a dropout probability from 0 to 1", repr(p), "pass a number")
        keep_threshold(p)
        self.p = p

    def forward(self, x: Any, onto: Any = None) -> Any:
        """The result, or the sum of it and `onto`, an array of the shape of x: a residual connection in one pass."""
        p, stream = self.draw()
        if onto is not None:
            return functional.add_dropout(onto, x, p=p, stream=stream)
        return x if stream is None else functional.dropout(x, p=p, stream=stream)

    def draw(self) -> tuple[float, Stream | None]:
        """For a layer that drops in this one's place: the probability, and which random numbers decide.

        0 and None where nothing is dropped.
        """
        return (self.p, self.next_stream()) if self.training and self.p else (0.0, None)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def add_dropped(x: Any, y: Any, dropout: Any) -> Any:
    """x + dropout(y), in one pass for a Dropout; some other module may stand in its place."""
    return dropout(y, onto=x) if type(dropout) is Dropout else x + dropout(y)
