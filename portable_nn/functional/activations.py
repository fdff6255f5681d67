"""Elementwise nonlinearities: relu, sigmoid, tanh, gelu.

Each `..._slope` is Array API code that gives the derivative, from the input or from the output; `linear` uses them too.
"""

from __future__ import annotations

import math
from typing import Any

from portable_nn.autodiff.primitive import Primitive
from portable_nn.autodiff.rules import define_rule
from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.namespace import array_namespace
from portable_nn.backend.special import erf as _erf
from portable_nn.functional.checks import check_floating
from portable_nn.functional.fused import fused

#: The error function, recorded; its derivative is 2/√π exp(-x²).
erf = Primitive("erf", lambda xp, x: _erf(x))
define_rule("erf", x=lambda xp, g, x: g * xp.exp(-x * x) * (2 / math.sqrt(math.pi)))

_CUBIC = 0.044715
_ROOT = math.sqrt(2 / math.pi)


def _define_relu(x, /):
    xp = array_namespace(x)
    return xp.where(x <= 0, xp.zeros_like(x), x)  # NaN stays NaN, and the slope at 0 is 0


def _define_sigmoid(x, /):
    xp = array_namespace(x)
    return xp.exp(-xp.logaddexp(xp.zeros_like(x), -x))  # no overflow at either end


def _define_tanh(x, /):
    return array_namespace(x).tanh(x)


def _define_gelu(x, /, *, approximate):
    xp = array_namespace(x)
    if approximate == "tanh":
        return 0.5 * x * (1 + xp.tanh(_ROOT * (x + _CUBIC * x * x * x)))
    return 0.5 * x * (1 + erf(x * (1 / math.sqrt(2))))


def relu_slope(xp: Any, out: Any) -> Any:
    return xp.astype(out > 0, out.dtype)


def sigmoid_slope(xp: Any, out: Any) -> Any:
    return out * (1 - out)


def tanh_slope(xp: Any, out: Any) -> Any:
    return 1 - out * out


def gelu_slope(xp: Any, x: Any, approximate: str) -> Any:
    if approximate == "tanh":
        t = xp.tanh(_ROOT * (x + _CUBIC * x * x * x))
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (_ROOT * (1 + 3 * _CUBIC * x * x))
    density = xp.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    return 0.5 * (1 + erf(x * (1 / math.sqrt(2)))) + x * density


def _check_gelu(x, *, approximate):
    check_floating("gelu", x)
    if approximate not in ("none", "tanh"):
        raise ArgumentError('approximate "none" or "tanh"', repr(approximate), "pass one of the two")


_relu = fused("relu", definition=_define_relu, backward=lambda xp, g, out: (g * relu_slope(xp, out),),
              check=lambda x: check_floating("relu", x))
_sigmoid = fused("sigmoid", definition=_define_sigmoid, backward=lambda xp, g, out: (g * sigmoid_slope(xp, out),),
                 check=lambda x: check_floating("sigmoid", x))
_tanh = fused("tanh", definition=_define_tanh, backward=lambda xp, g, out: (g * tanh_slope(xp, out),),
              check=lambda x: check_floating("tanh", x))
_gelu = fused("gelu", definition=_define_gelu, check=_check_gelu,
              backward=lambda xp, g, x, approximate: (g * gelu_slope(xp, x, approximate),))


def relu(x: Any) -> Any:
    """max(x, 0), with slope 0 at 0; NaN stays NaN.

    Parameters
    ----------
    x : floating array of any shape

    Returns
    -------
    array of the shape and dtype of `x`

    Raises
    ------
    DTypeError
        x is not floating.
    """
    return _relu(x)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), without overflow; shapes and errors as `relu`."""
    return _sigmoid(x)


def tanh(x: Any) -> Any:
    """The hyperbolic tangent; shapes and errors as `relu`."""
    return _tanh(x)


def gelu(x: Any, *, approximate: str) -> Any:
    """x Φ(x), where Φ is the distribution function of the standard normal: x/2 · (1 + erf(x/√2)).

    Parameters
    ----------
    x : floating array of any shape
    approximate : "none" or "tanh"
        "tanh": x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))), within 5e-4 of it.

    Returns
    -------
    array of the shape and dtype of `x`

    Raises
    ------
    DTypeError, ArgumentError
        x is not floating; `approximate` is neither of the two.

    References
    ----------
    D. Hendrycks and K. Gimpel, "Gaussian error linear units (GELUs)", 2016, section 2; definitions as PyTorch's.
    """
    return _gelu(x, approximate=approximate)
