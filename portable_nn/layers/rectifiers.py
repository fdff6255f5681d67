"""Elementwise nonlinearities near max(x, 0): LeakyReLU, SiLU, Softplus."""

from __future__ import annotations

from typing import Any

from portable_nn import functional
from portable_nn.backend.errors import ArgumentError
from portable_nn.layers.module import Module


class LeakyReLU(Module):
    """y = x where x is above 0, else x · negative_slope (Maas, Hannun and Ng, 2013).

    Shape
    -----
    any -> the same

    Parameters
    ----------
    negative_slope : float

    Examples
    --------
    >>> import numpy as np
    >>> LeakyReLU(0.1)(np.asarray([-1.0, 2.0]))
    array([-0.1,  2. ])
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        if not isinstance(negative_slope, (int, float)):
            raise ArgumentError("negative_slope as a number", repr(negative_slope), "pass one such as 0.01")
        self.negative_slope = negative_slope

    def forward(self, x: Any) -> Any:
        return functional.leaky_relu(x, negative_slope=self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class SiLU(Module):
    """y = x / (1 + exp(-x)), also known as swish (Elfwing, Uchibe and Doya, 2018, equation 8).

    Shape
    -----
    any -> the same

    Examples
    --------
    >>> import numpy as np
    >>> SiLU()(np.asarray([0.0, 100.0]))
    array([  0., 100.])
    """

    def forward(self, x: Any) -> Any:
        return functional.silu(x)


class Softplus(Module):
    """y = log(1 + exp(β x)) / β (Dugas et al., 2001, equation 8).

    Shape
    -----
    any -> the same

    Parameters
    ----------
    beta : float
        β, above 0.
    threshold : float
        Where β x is above it y is x itself.

    Raises
    ------
    ArgumentError
        β is not above 0.

    Examples
    --------
    >>> import numpy as np
    >>> Softplus()(np.asarray([-1000.0, 1000.0]))
    array([   0., 1000.])
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        if not isinstance(beta, (int, float)) or not beta > 0:
            raise ArgumentError("beta above 0", repr(beta), "pass a positive number, such as 1.0")
        self.beta, self.threshold = beta, threshold

    def forward(self, x: Any) -> Any:
        return functional.softplus(x, beta=self.beta, threshold=self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"
