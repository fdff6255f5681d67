"""Elementwise nonlinearities near max(x, 0): leaky_relu, silu, softplus."""

from __future__ import annotations

from typing import Any

from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.namespace import array_namespace
from portable_nn.functional.activations import _define_sigmoid
from portable_nn.functional.checks import check_floating
from portable_nn.functional.fused import fused


def _define_leaky_relu(x, /, *, negative_slope):
    xp = array_namespace(x)
    return xp.where(x <= 0, x * negative_slope, x)  # NaN stays NaN


def _leaky_relu_backward(xp, g, x, negative_slope):
    return (xp.where(x <= 0, g * negative_slope, g),)


def _define_silu(x, /):
    return x * _define_sigmoid(x)


def _silu_backward(xp, g, x):
    s = _define_sigmoid(x)
    return (g * (s + x * (s * (1 - s))),)


def _define_softplus(x, /, *, beta, threshold):
    xp = array_namespace(x)
    return xp.where(x * beta > threshold, x, xp.logaddexp(xp.zeros_like(x), x * beta) * (1 / beta))


def _softplus_backward(xp, g, x, beta, threshold):
    return (xp.where(x * beta > threshold, g, g * _define_sigmoid(x * beta)),)


def _check_softplus(x, *, beta, threshold):
    check_floating("softplus", x)
    if not beta > 0:
        raise ArgumentError("beta above 0", repr(beta), "pass a positive number, such as 1.0")


_leaky_relu = fused("leaky_relu", definition=_define_leaky_relu, backward=_leaky_relu_backward,
                    check=lambda x, *, negative_slope: check_floating("leaky_relu", x))
_silu = fused("silu", definition=_define_silu, backward=_silu_backward, check=lambda x: check_floating("silu", x))
_softplus = fused("softplus", definition=_define_softplus, backward=_softplus_backward, check=_check_softplus)


def leaky_relu(x: Any, *, negative_slope: float) -> Any:
    """x where it is above 0, else x · negative_slope, which is also the slope at 0.

    Parameters
    ----------
    x : floating array of any shape
    negative_slope : float

    Returns
    -------
    array of the shape and dtype of `x`

    Raises
    ------
    DTypeError
        x is not floating.

    References
    ----------
    A. L. Maas, A. Y. Hannun and A. Y. Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013.
    """
    return _leaky_relu(x, negative_slope=negative_slope)


def silu(x: Any) -> Any:
    """x σ(x), σ the sigmoid; shapes and errors as `leaky_relu`.

    References
    ----------
    S. Elfwing, E. Uchibe and K. Doya, "Sigmoid-weighted linear units for neural network function approximation in
    reinforcement learning", 2018, equation 8; also known as swish.
    """
    return _silu(x)


def softplus(x: Any, *, beta: float, threshold: float) -> Any:
    """log(1 + exp(β x)) / β, without overflow; shapes as `leaky_relu`.

    Parameters
    ----------
    x : floating array of any shape
    beta : float
        β, above 0.
    threshold : float
        Where β x is above it the result is x itself, as in PyTorch.

    Raises
    ------
    DTypeError, ArgumentError
        x is not floating; β is not above 0.

    References
    ----------
    C. Dugas et al., "Incorporating second-order functional knowledge for better option pricing", 2001, equation 8.
    """
    return _softplus(x, beta=beta, threshold=threshold)
