"""Nonlinearities and their slopes, element by element in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.kernels.compiled.common import elementwise, takes
from portable_nn.kernels.compiled.elementary import DENSITY_0, erf, exp, log1p_of_share, normal, sigmoid, tanh
from portable_nn.kernels.compiled.jit import Number, OutVector, Vector, compiled, inline
from portable_nn.kernels.numpy.buffers import empty
from portable_nn.kernels.registry import register

_ROOT = 0.7978845608028654  # √(2/π)
_CUBIC = 0.035677408136300125  # times 0.044715


@inline
def gelu_tanh(x):
    """gelu through tanh, and its slope: Φ = (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2 stands for the normal's."""
    phi = 0.5 + 0.5 * tanh((_CUBIC * x * x + _ROOT) * x)
    return x * phi, phi + x * phi * (1.0 - phi) * (6.0 * _CUBIC * x * x + 2.0 * _ROOT)


@inline
def gelu_exact(x):
    """x Φ(x), and its slope Φ + x Φ'."""
    phi, density = normal(x)
    return x * phi, phi + x * density * DENSITY_0


@compiled
def exact_with_slope(out: OutVector, slope: OutVector, x: Vector) -> None:
    for i in range(out.size):
        out[i], slope[i] = gelu_exact(x[i])


@compiled
def exact(out: OutVector, x: Vector) -> None:
    for i in range(out.size):
        out[i] = gelu_exact(x[i])[0]


@compiled
def tanh_with_slope(out: OutVector, slope: OutVector, x: Vector) -> None:
    for i in range(out.size):
        out[i], slope[i] = gelu_tanh(x[i])


@compiled
def through_tanh(out: OutVector, x: Vector) -> None:
    for i in range(out.size):
        out[i] = gelu_tanh(x[i])[0]


@compiled
def multiply(x: OutVector, y: Vector) -> None:
    for i in range(x.size):
        x[i] *= y[i]


@compiled
def relu_into(out: OutVector, x: Vector) -> None:
    for i in range(out.size):
        out[i] = 0.0 if x[i] < 0.0 else x[i]  # NaN stays


@compiled
def relu_gradient(g_x: OutVector, g: Vector, out: Vector) -> None:
    for i in range(g_x.size):
        g_x[i] = g[i] * (1.0 if out[i] > 0.0 else 0.0)


@compiled
def sigmoid_into(out: OutVector, x: Vector) -> None:
    for i in range(out.size):
        out[i] = sigmoid(x[i])


@compiled
def sigmoid_gradient(g_x: OutVector, g: Vector, out: Vector) -> None:
    for i in range(g_x.size):
        g_x[i] = g[i] * (out[i] * (1.0 - out[i]))


@compiled
def tanh_into(out: OutVector, x: Vector) -> None:
    for i in range(out.size):
        out[i] = tanh(x[i])


@compiled
def tanh_gradient(g_x: OutVector, g: Vector, out: Vector) -> None:
    for i in range(g_x.size):
        g_x[i] = g[i] * (1.0 - out[i] * out[i])


@compiled
def silu_into(out: OutVector, x: Vector) -> None:
    for i in range(out.size):
        out[i] = x[i] * sigmoid(x[i])


@compiled
def silu_gradient(g_x: OutVector, g: Vector, x: Vector) -> None:
    for i in range(g_x.size):
        s = sigmoid(x[i])
        g_x[i] = g[i] * (s + x[i] * s * (1.0 - s))


@compiled
def leaky_relu_into(out: OutVector, x: Vector, slope: Number) -> None:
    for i in range(out.size):
        out[i] = x[i] * slope if x[i] <= 0.0 else x[i]


@compiled
def leaky_relu_gradient(g_x: OutVector, g: Vector, x: Vector, slope: Number) -> None:
    for i in range(g_x.size):
        g_x[i] = g[i] * slope if x[i] <= 0.0 else g[i]


@compiled
def softplus_into(out: OutVector, x: Vector, beta: Number, threshold: Number) -> None:
    scale = 1.0 / beta
    for i in range(out.size):
        z = x[i] * beta
        soft = ((0.0 if z < 0.0 else z) + log1p_of_share(exp(-abs(z)))) * scale
        out[i] = x[i] if z > threshold else soft


@compiled
def softplus_gradient(g_x: OutVector, g: Vector, x: Vector, beta: Number, threshold: Number) -> None:
    for i in range(g_x.size):
        z = x[i] * beta
        s = sigmoid(z)
        g_x[i] = g[i] if z > threshold else g[i] * s


@compiled
def erf_into(out: OutVector, x: Vector) -> None:
    for i in range(out.size):
        out[i] = erf(x[i])


def infer_erf(x: np.ndarray) -> np.ndarray:
    out = empty(x.shape, x.dtype)
    elementwise(erf_into, out, x)
    return out


def gelu(x: np.ndarray, *, approximate: str) -> tuple[np.ndarray, Any]:
    out, slope = empty(x.shape, x.dtype), empty(x.shape, x.dtype)
    elementwise(tanh_with_slope if approximate == "tanh" else exact_with_slope, out, slope, x)
    return out, slope


def gelu_infer(x: np.ndarray, *, approximate: str) -> np.ndarray:
    out = empty(x.shape, x.dtype)
    elementwise(through_tanh if approximate == "tanh" else exact, out, x)
    return out


def gelu_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    elementwise(multiply, saved, g)  # the slope is nobody else's
    return (saved,)


def enter(operation: str, into: Any, gradient: Any, chars: str = "f", keep_out: bool = False) -> None:
    """Register an operation whose gradient is made from its result (`keep_out`), or from what went in."""
    def forward(x: np.ndarray, **options: float) -> tuple[np.ndarray, Any]:
        out, values = empty(x.shape, x.dtype), tuple(options.values())
        elementwise(into, out, x, common=values)
        return out, (out if keep_out else x, values)

    def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
        kept, values = saved
        g_x = empty(kept.shape, kept.dtype)
        elementwise(gradient, g_x, g, kept, common=values)
        return (g_x,)

    forward.__qualname__ = into.__qualname__
    register(operation, "numpy", forward, backward, lambda x, **options: takes(x, chars))


register("erf", "numpy", lambda x: (infer_erf(x), None), None, takes, infer=infer_erf)
register("gelu", "numpy", gelu, gelu_backward, lambda x, **options: takes(x), infer=gelu_infer)
enter("relu", relu_into, relu_gradient, "fd", keep_out=True)
enter("sigmoid", sigmoid_into, sigmoid_gradient, keep_out=True)
enter("tanh", tanh_into, tanh_gradient, keep_out=True)
enter("silu", silu_into, silu_gradient)
enter("leaky_relu", leaky_relu_into, leaky_relu_gradient, "fd")
enter("softplus", softplus_into, softplus_gradient)
