"""y = x / √(mean(x²) + ε) · w."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from portable_nn import functional
from portable_nn.backend.errors import ArgumentError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.layers.initializers import ones
from portable_nn.layers.module import Module
from portable_nn.layers.parameter import Parameter
from portable_nn.layers.storage import check_size


class RMSNorm(Module):
    """Divide the last axes of each example by their root mean square: y = x / √(mean(x²) + ε) · w.

    Shape
    -----
    (..., *normalized_shape) -> the same

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The last axes of x, which the mean is taken over.
    eps : float, optional
        ε, inside the root; left out, it is the step from 1 to the next number of x's dtype (1.2e-7 in float32).
    elementwise_affine : bool
        Whether to have w.

    Attributes
    ----------
    weight : Parameter (*normalized_shape), or None
        Ones at first.

    References
    ----------
    B. Zhang and R. Sennrich, "Root mean square layer normalization", 2019, equation 4.

    Examples
    --------
    >>> import numpy as np
    >>> RMSNorm(2, eps=0.0)(np.asarray([[3.0, 3.0]], dtype=np.float32))
    array([[1., 1.]], dtype=float32)
    """

    def __init__(self, normalized_shape: int | Sequence[int], eps: float | None = None,
                 elementwise_affine: bool = True) -> None:
        shape = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        self.normalized_shape = tuple(check_size("every size of normalized_shape", length, 1) for length in shape)
        if not shape:
            raise ArgumentError("a normalized_shape of at least one size", "()", "pass the lengths of x's last axes")
        if eps is not None and not eps >= 0:
            raise ArgumentError("eps of 0 or more, or None", repr(eps), "pass a small number, such as 1e-5")
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.weight = Parameter(self.normalized_shape, ones) if elementwise_affine else None

    def forward(self, x: Any) -> Any:
        if self.elementwise_affine:
            return functional.rms_norm(x, self.weight, eps=self.eps)
        xp, count = array_namespace(x), len(self.normalized_shape)
        if tuple(x.shape[-count:]) != self.normalized_shape:
            raise ShapeError(f"x of shape (..., {', '.join(map(str, self.normalized_shape))})", f"{x.shape}",
                             "build the layer with normalized_shape = the last axes of x")
        flat = xp.reshape(x, (*x.shape[:-count], math.prod(self.normalized_shape)))
        return xp.reshape(functional.rms_norm(flat, None, eps=self.eps), x.shape)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
