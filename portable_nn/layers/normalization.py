"""y = (x - mean) / √(var + ε) · w + b."""

from __future__ import annotations

from collections.abc import Sequence

from portable_nn.backend.errors import ArgumentError
from portable_nn.layers.initializers import ones, zeros
from portable_nn.layers.norm import Norm, check_normalized_shape
from portable_nn.layers.parameter import Parameter


class LayerNorm(Norm):
    """Normalise the last axes of each example: y = (x - mean) / √(var + ε) · w + b, with the biased variance.

    `norm(x, plus, dropout)` is the norm of x + dropout(plus), computed in one pass, and `norm.after(x, plus, dropout)`
    gives that sum as well, for networks whose norms stand before what is added next.

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

    A residual connection, with the norm after the sum and before what comes next:

    >>> x, y = np.asarray([[1.0, 3.0]]), np.asarray([[2.0, 4.0]])
    >>> norm = LayerNorm(2, eps=0.0).to(dtype="float64")
    >>> norm(x, plus=y)
    array([[-1.,  1.]])
    >>> norm.after(x, plus=y)
    (array([[3., 7.]]), array([[-1.,  1.]]))
    """

    norm = "layer"

    def __init__(self, normalized_shape: int | Sequence[int], eps: float = 1e-5, elementwise_affine: bool = True,
                 bias: bool = True) -> None:
        self.normalized_shape = check_normalized_shape(normalized_shape)
        if not (isinstance(eps, (int, float)) and eps >= 0):
            raise ArgumentError("eps of 0 or more", repr(eps), "pass a small number, such as 1e-5")
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.weight = Parameter(self.normalized_shape, ones) if elementwise_affine else None
        self.bias = Parameter(self.normalized_shape, zeros) if elementwise_affine and bias else None

    def extra_repr(self) -> str:
        bias = f", bias={self.bias is not None}" if self.elementwise_affine else ""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}{bias}"
