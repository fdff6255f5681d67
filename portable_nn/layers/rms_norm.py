"""y = x / √(mean(x²) + ε) · w."""

from __future__ import annotations

from collections.abc import Sequence

from portable_nn.backend.errors import ArgumentError
from portable_nn.layers.initializers import ones
from portable_nn.layers.norm import Norm, check_normalized_shape
from portable_nn.layers.parameter import Parameter


class RMSNorm(Norm):
    """Divide the last axes of each example by their root mean square: y = x / √(mean(x²) + ε) · w.

    As with LayerNorm, `norm(x, plus, dropout)` is the norm of x + dropout(plus), computed in one pass, and
    `norm.after(x, plus, dropout)` gives that sum as well.

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

    norm, bias = "rms", None

    def __init__(self, normalized_shape: int | Sequence[int], eps: float | None = None,
                 elementwise_affine: bool = True) -> None:
        self.normalized_shape = check_normalized_shape(normalized_shape)
        if eps is not None and not eps >= 0:
            raise ArgumentError("eps of 0 or more, or None", repr(eps), "pass a small number, such as 1e-5")
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.weight = Parameter(self.normalized_shape, ones) if elementwise_affine else None

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
