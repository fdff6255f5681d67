"""Dense layers one after the other, so that a library may run small ones as one operation."""

from __future__ import annotations

from typing import Any

from portable_nn.functional.fused import fused
from portable_nn.functional.linear import linear


def _definition(x, /, *parameters, activations):
    for i, activation in enumerate(activations):
        x = linear(x, parameters[2 * i], parameters[2 * i + 1], activation=activation)
    return x


_stack = fused("stack", definition=_definition)


def stack(x: Any, *parameters: Any, activations: tuple[str | None, ...]) -> Any:
    """f_n(W_n … f_1(W_1 x + b_1) … + b_n).

    Parameters
    ----------
    x : floating array of shape (..., I)
    *parameters : arrays
        W_1, b_1, W_2, b_2, …, as `linear` takes them; a bias may be None.
    activations : tuple
        f_1, f_2, …, as `linear` takes them.

    Returns
    -------
    array of shape (..., O)

    Raises
    ------
    ShapeError, DTypeError, DeviceError, ArgumentError
        As from `linear`.
    """
    return _stack(x, *parameters, activations=activations)
