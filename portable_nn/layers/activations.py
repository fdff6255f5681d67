"""Elementwise nonlinearities: ReLU, Sigmoid, Tanh, GELU."""

from __future__ import annotations

from typing import Any

from portable_nn import functional
from portable_nn.backend.errors import ArgumentError
from portable_nn.layers.module import Module


class ReLU(Module):
    """y = max(x, 0), with slope 0 at 0.

    Shape
    -----
    any -> the same

    Examples
    --------
    >>> import numpy as np
    >>> ReLU()(np.asarray([-1.0, 2.0]))
    array([0., 2.])
    """

    def forward(self, x: Any) -> Any:
        return functional.relu(x)


class Sigmoid(Module):
    """y = 1 / (1 + exp(-x)).

    Shape
    -----
    any -> the same

    Examples
    --------
    >>> import numpy as np
    >>> Sigmoid()(np.asarray([0.0]))
    array([0.5])
    """

    def forward(self, x: Any) -> Any:
        return functional.sigmoid(x)


class Tanh(Module):
    """y = tanh(x).

    Shape
    -----
    any -> the same

    Examples
    --------
    >>> import numpy as np
    >>> Tanh()(np.asarray([0.0]))
    array([0.])
    """

    def forward(self, x: Any) -> Any:
        return functional.tanh(x)


class GELU(Module):
    """y = x Φ(x), Φ the distribution function of the standard normal (Hendrycks and Gimpel, 2016, section 2).

    Shape
    -----
    any -> the same

    Parameters
    ----------
    approximate : "none" or "tanh"
        "tanh": y = x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))), within 5e-4.

    Raises
    ------
    ArgumentError
        `approximate` is neither of the two.

    Examples
    --------
    >>> import numpy as np
    >>> GELU()(np.asarray([0.0, 100.0]))
    array([  0., 100.])
    """

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise ArgumentError('approximate "none" or "tanh"', repr(approximate), "pass one of the two")
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        return functional.gelu(x, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"
