"""Several axes made one."""

from __future__ import annotations

import math
import operator
from typing import Any

from portable_nn.backend.errors import ArgumentError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.layers.module import Module


class Flatten(Module):
    """Make one axis of the axes from `start_dim` to `end_dim`.

    Shape
    -----
    (B, *D) -> (B, ∏ D), unless other axes are asked for

    Parameters
    ----------
    start_dim, end_dim : int
        The first and last axis to join; negative ones count from the end.

    Raises
    ------
    ArgumentError
        An axis is no integer.
    ShapeError
        x has no such axes, or the first is behind the last.

    Examples
    --------
    >>> import numpy as np
    >>> Flatten()(np.zeros((5, 2, 3))).shape
    (5, 6)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        if not (hasattr(start_dim, "__index__") and hasattr(end_dim, "__index__")):
            raise ArgumentError("start_dim and end_dim as integers", f"{start_dim!r} and {end_dim!r}",
                                "pass the first and last axis to join")
        self.start_dim, self.end_dim = operator.index(start_dim), operator.index(end_dim)

    def forward(self, x: Any) -> Any:
        xp, shape = array_namespace(x), x.shape
        first, last = (axis + len(shape) if axis < 0 else axis for axis in (self.start_dim, self.end_dim))
        if not 0 <= first <= last < len(shape):
            raise ShapeError(f"x with axes {self.start_dim} to {self.end_dim} in this order", f"x of shape {shape}",
                             "give x an axis of examples first, or build the layer with other axes")
        joined = math.prod(shape[first:last + 1])  # not -1, which an empty batch leaves open
        return xp.reshape(x, (*shape[:first], joined, *shape[last + 1:]))

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
