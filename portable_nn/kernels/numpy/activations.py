"""relu, sigmoid, tanh and gelu on NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from portable_nn.backend.special import erf, erf_block
from portable_nn.kernels.numpy.blocks import CONSTANTS, into, is_floating, sweep
from portable_nn.kernels.registry import register

#: What erf_block takes at most.
_ERF_BLOCK = 8192
_CUBIC = 0.044715
_LOWEST = {"f": np.float32(-88), "d": np.float64(-709)}
_ROOT = math.sqrt(2 / math.pi)


def relu(x: np.ndarray) -> tuple[np.ndarray, Any]:
    out = np.maximum(x, CONSTANTS[x.dtype.char].zero)
    return out, out


def relu_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    return (np.multiply(g, saved > CONSTANTS[saved.dtype.char].zero),)


def sigmoid_block(out: np.ndarray, x: np.ndarray) -> None:
    """1 / (1 + exp(-x)), accurate in both tails, which the quicker 1/2 + tanh(x/2)/2 is not: it is 0 below -17."""
    np.maximum(x, _LOWEST[x.dtype.char], out=out)  # exp does not overflow
    np.negative(out, out=out)
    np.exp(out, out=out)
    np.add(out, CONSTANTS[x.dtype.char].one, out=out)
    np.reciprocal(out, out=out)


def sigmoid(x: np.ndarray) -> tuple[np.ndarray, Any]:
    out = sweep(sigmoid_block, x)
    return out, out


def sigmoid_backward_block(g_x: np.ndarray, out: np.ndarray, g: np.ndarray) -> None:
    np.subtract(CONSTANTS[out.dtype.char].one, out, out=g_x)
    np.multiply(g_x, out, out=g_x)
    np.multiply(g_x, g, out=g_x)


def tanh(x: np.ndarray) -> tuple[np.ndarray, Any]:
    out = np.tanh(x)
    return out, out


def tanh_backward_block(g_x: np.ndarray, out: np.ndarray, g: np.ndarray) -> None:
    np.multiply(out, out, out=g_x)
    np.subtract(CONSTANTS[out.dtype.char].one, g_x, out=g_x)
    np.multiply(g_x, g, out=g_x)


def phi_block(out: np.ndarray, x: np.ndarray, scratch: np.ndarray) -> None:
    """(1 + erf(x/√2)) / 2, of which gelu is x times; `scratch` is (2, n)."""
    np.multiply(x, math.sqrt(0.5), out=out)
    if x.dtype.char == "f":
        argument, size = scratch
        np.copyto(argument, out)
        erf_block(argument, out, size, np.empty_like(size))
    else:
        out[...] = erf(out)
    half = CONSTANTS[x.dtype.char].half
    np.multiply(out, half, out=out)
    np.add(out, half, out=out)


def phi_tanh_block(out: np.ndarray, x: np.ndarray, scratch: np.ndarray) -> None:
    """(1 + tanh(√(2/π) (x + 0.044715 x³))) / 2."""
    np.multiply(x, x, out=out)
    np.multiply(out, _ROOT * _CUBIC, out=out)
    np.add(out, _ROOT, out=out)
    np.multiply(out, x, out=out)
    np.tanh(out, out=out)
    half = CONSTANTS[x.dtype.char].half
    np.multiply(out, half, out=out)
    np.add(out, half, out=out)


def slope_block(slope: np.ndarray, phi: np.ndarray, x: np.ndarray, approximate: str) -> None:
    """Φ + x Φ'."""
    np.multiply(x, x, out=slope)
    if approximate == "tanh":  # Φ' = 2 Φ (1 - Φ) √(2/π) (1 + 3 · 0.044715 x²)
        np.multiply(slope, 6 * _ROOT * _CUBIC, out=slope)
        np.add(slope, 2 * _ROOT, out=slope)
        np.multiply(slope, phi, out=slope)
        np.multiply(slope, 1 - phi, out=slope)
    else:
        np.multiply(slope, CONSTANTS[x.dtype.char].minus_half, out=slope)
        np.exp(slope, out=slope)
        np.multiply(slope, 1 / math.sqrt(2 * math.pi), out=slope)
    np.multiply(slope, x, out=slope)
    np.add(slope, phi, out=slope)


def gelu_into(out: np.ndarray, slope: np.ndarray | None, x: np.ndarray, approximate: str) -> None:
    """gelu and its slope, both flat and contiguous; `slope` may be x itself, which is then overwritten."""
    phi_of = phi_tanh_block if approximate == "tanh" else phi_block
    work = np.empty((4, min(_ERF_BLOCK, x.size)), dtype=x.dtype)

    def block(out: np.ndarray, x: np.ndarray, slope: np.ndarray | None = None) -> None:
        phi, scratch, t = work[0, :x.size], work[1:3, :x.size], work[3, :x.size]
        phi_of(phi, x, scratch)
        np.multiply(x, phi, out=out)
        if slope is not None:
            slope_block(t, phi, x, approximate)
            np.copyto(slope, t)

    into(block, *([out, x] if slope is None else [out, x, slope]), size=_ERF_BLOCK)


def gelu(x: np.ndarray, *, approximate: str) -> tuple[np.ndarray, Any]:
    x = np.ascontiguousarray(x)
    out, slope = np.empty_like(x), np.empty_like(x)
    gelu_into(out.reshape(-1), slope.reshape(-1), x.reshape(-1), approximate)
    return out, slope


def gelu_infer(x: np.ndarray, *, approximate: str) -> np.ndarray:
    x = np.ascontiguousarray(x)
    out = np.empty_like(x)
    gelu_into(out.reshape(-1), None, x.reshape(-1), approximate)
    return out


def gelu_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    return (np.multiply(g, saved, out=saved),)  # the slope is nobody else's


def supports(x: Any, **options: Any) -> bool:
    return is_floating(x)


register("relu", "numpy", relu, relu_backward, supports)
register("sigmoid", "numpy", sigmoid, lambda xp, g, saved, needs: (sweep(sigmoid_backward_block, saved, g),), supports)
register("tanh", "numpy", tanh, lambda xp, g, saved, needs: (sweep(tanh_backward_block, saved, g),), supports)
register("gelu", "numpy", gelu, gelu_backward, supports, infer=gelu_infer)
