"""What layer norm and RMS norm share: x alone is normalised, or the sum that a residual connection makes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from portable_nn import functional
from portable_nn.backend.errors import ArgumentError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.layers.calls import observed
from portable_nn.layers.dropout import Dropout
from portable_nn.layers.module import Module
from portable_nn.layers.storage import check_size


class Norm(Module):
    """A norm over the last axes; `norm` of a subclass says which."""

    norm: str
    normalized_shape: tuple[int, ...]
    eps: Any
    elementwise_affine: bool
    weight: Any
    bias: Any

    def forward(self, x: Any, plus: Any = None, dropout: Any = None, *, both: bool = False) -> Any:
        """The norm of x, or of x + dropout(plus); with `both`, (that sum, its norm), as `after` gives them."""
        if self.elementwise_affine:
            return self._normalise(x, plus, dropout, both)
        xp, count = array_namespace(x), len(self.normalized_shape)
        if tuple(x.shape[-count:]) != self.normalized_shape:
            raise ShapeError(f"x of shape (..., {', '.join(map(str, self.normalized_shape))})", f"{x.shape}",
                             "build the layer with normalized_shape = the last axes of x")
        flat = (*x.shape[:-count], math.prod(self.normalized_shape))
        plus = plus if plus is None or plus.shape != x.shape else xp.reshape(plus, flat)
        results = self._normalise(xp.reshape(x, flat), plus, dropout, both)
        return tuple([xp.reshape(y, x.shape) for y in results]) if both else xp.reshape(results, x.shape)

    def after(self, x: Any, plus: Any = None, dropout: Any = None) -> tuple[Any, Any]:
        """(s, the norm of s), where s = x + dropout(plus), or x itself: for networks whose norms stand before what is
        added next. The gradients of both meet in one pass.

        Parameters
        ----------
        x : array of shape (..., *normalized_shape)
        plus : array of the shape of x, optional
        dropout : Dropout, optional
            Applied to `plus`.

        Examples
        --------
        A block that adds attention, then a feed-forward net, to what it gets::

            x, h = self.norm1.after(x)
            x, h = self.norm2.after(x, self.attention(h), self.dropout1)
            return self.dropout2(self.feed_forward(h), onto=x)
        """
        return self(x, plus, dropout, both=True)

    def _normalise(self, x: Any, plus: Any, dropout: Any, both: bool) -> Any:
        if plus is None and not both:
            if self.norm == "rms":
                return functional.rms_norm(x, self.weight, eps=self.eps)
            return functional.layer_norm(x, self.weight, self.bias, eps=self.eps)
        if plus is not None and dropout is not None and type(dropout) is not Dropout:
            plus, dropout = dropout(plus), None  # some other module in its place, or a subclass
        p, stream = 0.0, None
        if plus is not None and dropout is not None:
            p, stream = dropout.draw()
            observed(dropout, plus)
        return functional.add_norm(x, plus, self.weight, self.bias, norm=self.norm, eps=self.eps, p=p, stream=stream,
                                   both=both)


def check_normalized_shape(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    """The axes to normalise over, by their lengths."""
    shape = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
    if not shape:
        raise ArgumentError("a normalized_shape of at least one size", "()", "pass the lengths of x's last axes")
    return tuple(check_size("every size of normalized_shape", length, 1) for length in shape)
