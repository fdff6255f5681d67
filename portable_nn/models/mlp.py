"""h_0 = x, h_i = dropout(f(W_i h_{i-1} + b_i)), y = W_n h_{n-1} + b_n."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from portable_nn import layers
from portable_nn.backend.errors import ArgumentError
from portable_nn.models.options import make_activation, positive


class Step(NamedTuple):
    """What one layer of an MLP has computed.

    Parameters
    ----------
    affine : array (..., size)
        z = W h + b.
    output : array (..., size)
        h, what the next layer reads: z behind activation and dropout; z itself in the last layer.
    """

    affine: Any
    output: Any


class MLP(layers.Module):
    """Linear layers with an activation, and dropout, after each but the last.

    Shape
    -----
    (..., sizes[0]) -> (..., sizes[-1]), or with `intermediates=True` (y, a list with the `Step` of each layer);
    samples are rows, where textbooks often have them as columns

    Parameters
    ----------
    sizes : sequence of int
        Features in, of each hidden layer, and out: at least two.
    activation : "relu", "gelu", "tanh" or "sigmoid"
    dropout : float
        Share of hidden features set to zero in training mode.

    Raises
    ------
    ArgumentError
        Fewer than two sizes, one that is not positive, an unknown activation, or dropout outside 0 to 1.

    Examples
    --------
    >>> import numpy as np
    >>> MLP([64, 128, 10], dropout=0.2)(np.ones((5, 64), dtype=np.float32)).shape
    (5, 10)
    """

    def __init__(self, sizes: Sequence[int], activation: str = "relu", dropout: float = 0.0) -> None:
        if isinstance(sizes, str) or not isinstance(sizes, Sequence) or len(sizes) < 2:
            raise ArgumentError("sizes of at least an input and an output", repr(sizes),
                                "pass for example [64, 128, 10]")
        self.sizes = tuple(positive("sizes", size) for size in sizes)
        self.activation, self.dropout = activation, dropout
        steps: list[layers.Module] = []
        for features_in, features_out in zip(self.sizes[:-2], self.sizes[1:-1]):
            steps += [layers.Linear(features_in, features_out), make_activation(activation), layers.Dropout(dropout)]
        self.steps = layers.Sequential(*steps, layers.Linear(self.sizes[-2], self.sizes[-1]))

    def forward(self, x: Any, intermediates: bool = False) -> Any:
        if not intermediates:
            return self.steps(x)  # (..., sizes[0]) -> (..., sizes[-1])
        steps, found = list(self.steps), []
        for start in range(0, len(steps), 3):
            affine = x = steps[start](x)
            for step in steps[start + 1:start + 3]:
                x = step(x)
            found.append(Step(affine, x))
        return x, found

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON holds them."""
        return {"sizes": list(self.sizes), "activation": self.activation, "dropout": self.dropout}
