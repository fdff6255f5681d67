"""relu, sigmoid, tanh, gelu, leaky_relu, silu and softplus on CuPy: one kernel forward, one backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from portable_nn.kernels.cupy.launch import contiguous, elements, empty, is_floating, kernel
from portable_nn.kernels.registry import register


def forward(name: str, x: Any, a: float, b: float) -> tuple[Any, Any]:
    """The result and x, contiguous."""
    x = contiguous(x)
    out = empty(x.shape, x.dtype)
    elements(kernel("elementwise", name, x.dtype.char), x, (x, out, x.size, a, b))
    return out, x


def backward(name: str, saved: Any, g: Any, a: float, b: float) -> tuple:
    g, g_x = contiguous(g), empty(saved.shape, saved.dtype)
    elements(kernel("elementwise", name, saved.dtype.char), saved, (saved, g, g_x, saved.size, a, b))
    return (g_x,)


def _activation(operation: str, name: str, keeps: str) -> None:
    """Register an activation without options; `keeps` says whether the slope takes "x" or the result, "out"."""

    def run(x: Any) -> tuple[Any, Any]:
        out, x = forward(name, x, 0.0, 0.0)
        return out, out if keeps == "out" else x

    def pull(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
        return backward(f"{name}_backward", saved, g, 0.0, 0.0)

    run.__qualname__ = operation
    register(operation, "cupy", run, pull, is_floating)


def _with_options(operation: str, arguments: Callable[..., tuple[str, float, float]]) -> None:
    """Register an activation whose options `arguments(**options)` turns into a kernel's name and two numbers."""

    def run(x: Any, **options: Any) -> tuple[Any, Any]:
        name, a, b = arguments(**options)
        out, x = forward(name, x, a, b)
        return out, (x, name, a, b)

    def pull(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
        x, name, a, b = saved
        return backward(f"{name}_backward", x, g, a, b)

    run.__qualname__ = operation
    register(operation, "cupy", run, pull, lambda x, **options: is_floating(x))


_activation("relu", "relu", "out")
_activation("sigmoid", "sigmoid", "out")
_activation("tanh", "tanh_", "out")
_activation("silu", "silu", "x")
_with_options("gelu", lambda approximate: ("gelu_tanh" if approximate == "tanh" else "gelu", 0.0, 0.0))
_with_options("leaky_relu", lambda negative_slope: ("leaky_relu", float(negative_slope), 0.0))
_with_options("softplus", lambda beta, threshold: ("softplus", float(beta), float(threshold)))
