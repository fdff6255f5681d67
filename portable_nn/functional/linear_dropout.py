"""A dense layer whose results are dropped from: what stands inside a Transformer's feed-forward net."""

from __future__ import annotations

from typing import Any

from portable_nn.backend.random import Stream
from portable_nn.functional.dropout import dropout
from portable_nn.functional.fused import fused
from portable_nn.functional.linear import check_linear, linear


def _definition(x, weight, bias, /, *, activation, p, stream):
    return dropout(linear(x, weight, bias, activation=activation), p=p, stream=stream)


_linear_dropout = fused("linear_dropout", definition=_definition, check=check_linear)


def linear_dropout(x: Any, weight: Any, bias: Any, *, activation: str | None, p: float, stream: Stream) -> Any:
    """dropout(f(x Wᵀ + b)): on a GPU the mask is applied as the activation is computed, forward and backward.

    Parameters
    ----------
    x, weight, bias, activation
        As in `linear`.
    p, stream
        As in `dropout`.

    Returns
    -------
    array of shape (..., O)

    Raises
    ------
    ShapeError, DTypeError, DeviceError, ArgumentError
        As `linear` and `dropout`.
    """
    return _linear_dropout(x, weight, bias, activation=activation, p=p, stream=stream)
