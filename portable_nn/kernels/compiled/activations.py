"""gelu, exact and through tanh, in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.kernels.compiled.common import elementwise, takes
from portable_nn.kernels.compiled.elementary import _DENSITY_0, normal, tanh
from portable_nn.kernels.compiled.jit import OutVector, Vector, compiled, inline
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
    return x * phi, phi + x * density * _DENSITY_0


@compiled
def exact_with_slope(out: OutVector, slope: OutVector, x: Vector) -> None:
    """`slope` may be x itself."""
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


register("gelu", "numpy", gelu, gelu_backward, lambda x, **options: takes(x), infer=gelu_infer)
