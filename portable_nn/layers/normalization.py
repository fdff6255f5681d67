"""y = (x - mean) / √(var + ε) · w + b."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from portable_nn import functional
from portable_nn.backend.errors import ArgumentError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.layers.initializers import ones, zeros
from portable_nn.layers.module import Module
from portable_nn.layers.parameter import Parameter
from portable_nn.layers.storage import check_size


class LayerNorm(Module):
    """Normalise the last axes of each example: y = (x - mean) / √(var + ε) · w + b, with the biased variance.

    Shape
    -----
    (..., *normalized_shape) -> the same

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The last axes of x, which mean and variance are taken over.
    eps : float
        ε, inside the root.
    elementwise_affine : bool
        Whether to have w and b.
    bias : bool
        Whether to have b, if `elementwise_affine`.

    Attributes
    ----------
    weight : Parameter (*normalized_shape), or None
        Ones at first.
    bias : Parameter (*normalized_shape), or None
        Zeros at first.

    References
    ----------
    J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", 2016, equations 3 and 4.

    Examples
    --------
    >>> import numpy as np
    >>> LayerNorm(2, eps=0.0)(np.asarray([[1.0, 3.0]], dtype=np.float32))
    array([[-1.,  1.]], dtype=float32)
    """

    def __init__(self, normalized_shape: int | Sequence[int], eps: float = 1e-5, elementwise_affine: bool = True,
                 bias: bool = True) -> None:
        shape = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        self.normalized_shape = tuple(check_size("every size of normalized_shape", length, 1) for length in shape)
        if not shape:
            raise ArgumentError("a normalized_shape of at least one size", "()", "pass the lengths of x's last axes")
        if not (isinstance(eps, (int, float)) and eps >= 0):
            raise ArgumentError("eps of 0 or more", repr(eps), "pass a small number, such as 1e-5")
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.weight = Parameter(self.normalized_shape, ones) if elementwise_affine else None
        self.bias = Parameter(self.normalized_shape, zeros) if elementwise_affine and bias else None

    def forward(self, x: Any) -> Any:
        if self.elementwise_affine:
            return functional.layer_norm(x, self.weight, self.bias, eps=self.eps)
        xp, count = array_namespace(x), len(self.normalized_shape)
        if tuple(x.shape[-count:]) != self.normalized_shape:
            raise ShapeError(f"x of shape (..., {', '.join(map(str, self.normalized_shape))})", f"{x.shape}",
                             "build the layer with normalized_shape = the last axes of x")
        flat = xp.reshape(x, (*x.shape[:-count], math.prod(self.normalized_shape)))
        return xp.reshape(functional.layer_norm(flat, None, None, eps=self.eps), x.shape)

    def extra_repr(self) -> str:
        bias = f", bias={self.bias is not None}" if self.elementwise_affine else ""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}{bias}"
