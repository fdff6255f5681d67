"""The affine map of a dense layer, with its activation."""

from __future__ import annotations

import math
from typing import Any

from portable_nn.backend.errors import ArgumentError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.functional import activations
from portable_nn.functional.checks import check_floating
from portable_nn.functional.fused import fused
from portable_nn.functional.products import product, stored

ACTIVATIONS = {None: lambda x: x, "relu": activations._define_relu, "sigmoid": activations._define_sigmoid,
               "tanh": activations._define_tanh, "gelu": lambda x: activations._define_gelu(x, approximate="none")}


def _definition(x, weight, bias, /, *, activation):
    y = product(x, array_namespace(x, weight).matrix_transpose(weight))                     # (..., O)
    y = stored(y if bias is None else y + bias)
    return y if activation is None else stored(ACTIVATIONS[activation](y))


def _backward(xp, g, x, weight, bias, activation, out, needs):
    if activation == "gelu":  # its slope asks for what went in, which is cheaper to make again than to keep
        g = g * activations.gelu_slope(xp, _definition(x, weight, bias, activation=None), "none")
    elif activation is not None:
        g = g * _SLOPES[activation](xp, out)
    rows = math.prod(x.shape[:-1])
    flat = xp.reshape(g, (rows, g.shape[-1]))                           # (N, O)
    g_x = xp.matmul(g, weight) if needs[0] else None
    g_weight = xp.matmul(xp.matrix_transpose(flat), xp.reshape(x, (rows, x.shape[-1]))) if needs[1] else None
    return g_x, g_weight, xp.sum(flat, axis=0) if needs[2] else None


_SLOPES = {"relu": activations.relu_slope, "sigmoid": activations.sigmoid_slope, "tanh": activations.tanh_slope}


def check_linear(x, weight, bias, *, activation, **others):
    check_floating("linear", x, weight, bias)
    shape = weight.shape
    if len(shape) != 2 or x.shape[-1:] != shape[1:] or (bias is not None and bias.shape != shape[:1]):
        _refuse(x, weight, bias)
    if activation not in ACTIVATIONS:
        raise ArgumentError(f"an activation among {', '.join(map(repr, ACTIVATIONS))}", repr(activation),
                            "pass one of them")


def _refuse(x, weight, bias):
    if weight.ndim != 2:
        raise ShapeError("weight of shape (out_features, in_features)", f"{weight.shape}", "reshape it")
    if x.shape[-1:] != weight.shape[1:]:
        raise ShapeError(f"x of shape (..., {weight.shape[1]})", f"{x.shape}",
                         f"build the layer with in_features={x.shape[-1]}" if x.ndim else "give x an axis of features")
    raise ShapeError(f"bias of shape ({weight.shape[0]},)", f"{bias.shape}", "reshape it")


_linear = fused("linear", definition=_definition, backward=_backward, check=check_linear,
                needs_out=lambda *, activation: activation in _SLOPES)


def linear(x: Any, weight: Any, bias: Any, *, activation: str | None) -> Any:
    """f(x Wᵀ + b).

    Parameters
    ----------
    x : floating array of shape (..., I)
    weight : array of shape (O, I)
    bias : array of shape (O,), or None
    activation : None, "relu", "sigmoid", "tanh" or "gelu"
        f, computed in place with the product; "gelu" is the exact one.

    Returns
    -------
    array of shape (..., O)
        In half precision on a GPU in a context of it; see `portable_nn.precision`.

    Raises
    ------
    ShapeError, DTypeError, DeviceError, ArgumentError
        Shapes do not fit; dtypes are not floating or differ; devices differ; the activation is unknown.

    References
    ----------
    As PyTorch's `torch.nn.functional.linear`.
    """
    return _linear(x, weight, bias, activation=activation)
