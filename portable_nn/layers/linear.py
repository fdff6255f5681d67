"""y = x Wᵀ + b."""

from __future__ import annotations

from typing import Any

from portable_nn import functional
from portable_nn.layers.calls import observed
from portable_nn.layers.dropout import Dropout
from portable_nn.layers.initializers import torch_uniform
from portable_nn.layers.module import Module
from portable_nn.layers.parameter import Parameter
from portable_nn.layers.storage import check_size


class Linear(Module):
    """An affine map of the last axis: y = x Wᵀ + b.

    Shape
    -----
    (..., in_features) -> (..., out_features)

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
        Whether to add b.

    Attributes
    ----------
    weight : Parameter (out_features, in_features)
        Drawn uniformly from ±1/√in_features, as is the bias.
    bias : Parameter (out_features,), or None

    Examples
    --------
    >>> import numpy as np
    >>> Linear(3, 2)(np.ones((5, 3), dtype=np.float32)).shape
    (5, 2)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        self.in_features = check_size("in_features", in_features)
        self.out_features = check_size("out_features", out_features)
        self.weight = Parameter((out_features, in_features), torch_uniform(self.in_features))
        self.bias = Parameter((out_features,), torch_uniform(self.in_features)) if bias else None

    def forward(self, x: Any, activation: str | None = None, dropout: Any = None) -> Any:
        """For a layer around this one: `activation`, as `functional.linear` takes it, is computed with the product, and
        `dropout`, a Dropout of that layer's, with both."""
        drops = type(dropout) is Dropout  # a subclass may compute something else
        p, stream = dropout.draw() if drops else (0.0, None)
        if stream is None:
            y = functional.linear(x, self.weight, self.bias, activation=activation)  # (..., I) -> (..., O)
        else:
            y = functional.linear_dropout(x, self.weight, self.bias, activation=activation, p=p, stream=stream)
        if dropout is None:
            return y
        return observed(dropout, y) if drops else dropout(y)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
