"""gelu on NumPy: Φ as a hyperbolic tangent, which NumPy computes in a third of an exponential's time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from portable_nn.backend.special import erf
from portable_nn.kernels.numpy.blocks import CONSTANTS, into, is_floating
from portable_nn.kernels.numpy.buffers import empty, scratch
from portable_nn.kernels.registry import register

_CUBIC = 0.044715
_ROOT = math.sqrt(2 / math.pi)
# Ours, minimax in float32: Φ(x) = (1 + tanh(x P(x²) / Q(x²))) / 2 within 5e-9 up to |x| = 6.5, from where on it is 0 or
# 1 in float32: with rounding 8e-8, where (1 + erf(x/√2)) / 2 has 7e-8. Highest first; Q begins with 1.
_P, _Q = ([np.array(c, dtype=np.float32) for c in table]
          for table in ((-0.000134908172, 0.0249533486, 1.28590441, 18.4032707, 165.16684), (13.6381416, 207.00592)))
_END = {"f": np.array(6.5, dtype=np.float32), "d": np.array(40, dtype=np.float64)}
_DENSITY = {char: np.array(1 / math.sqrt(2 * math.pi), dtype=char) for char in "fd"}


def _phi32(t: np.ndarray, c: np.ndarray, s: np.ndarray, d: np.ndarray) -> None:
    """Φ of c, whose squares are s, into t; d is scratch."""
    np.multiply(s, _P[0], t)
    for coefficient in _P[1:-1]:
        np.add(t, coefficient, t)
        np.multiply(t, s, t)
    np.add(t, _P[-1], t)
    np.add(s, _Q[0], d)
    np.multiply(d, s, d)
    np.add(d, _Q[1], d)
    np.divide(t, d, t)
    np.multiply(t, c, t)
    np.tanh(t, t)
    np.add(t, CONSTANTS["f"].one, t)
    np.multiply(t, CONSTANTS["f"].half, t)


def _phi64(t: np.ndarray, c: np.ndarray, s: np.ndarray, d: np.ndarray) -> None:
    np.multiply(c, math.sqrt(0.5), d)
    np.add(erf(d), CONSTANTS["d"].one, t)
    np.multiply(t, CONSTANTS["d"].half, t)


def gelu_block(x: np.ndarray, out: np.ndarray, slope: np.ndarray | None) -> None:
    """gelu of a vector x that fits the cache and, if asked for, its slope Φ + x Φ'; both may be x itself."""
    char = x.dtype.char
    c, s, t, d = scratch((4, x.size), x.dtype)
    x.clip(-_END[char], _END[char], c)
    np.multiply(c, c, s)
    (_phi32 if char == "f" else _phi64)(t, c, s, d)
    np.multiply(x, t, out)
    if slope is not None:
        np.multiply(s, CONSTANTS[char].minus_half, s)
        np.exp(s, s)
        np.multiply(s, _DENSITY[char], s)
        np.multiply(s, c, s)
        np.add(s, t, slope)


def gelu_tanh_block(x: np.ndarray, out: np.ndarray, slope: np.ndarray | None) -> None:
    """As `gelu_block`, with (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2 for Φ; Φ' is 2 Φ (1 - Φ) times the argument's."""
    constants = CONSTANTS[x.dtype.char]
    c, s, t, d = scratch((4, x.size), x.dtype)
    x.clip(-_END[x.dtype.char], _END[x.dtype.char], c)
    np.multiply(c, c, s)
    np.multiply(s, _ROOT * _CUBIC, t)
    np.add(t, _ROOT, t)
    np.multiply(t, c, t)
    np.tanh(t, t)
    np.add(t, constants.one, t)
    np.multiply(t, constants.half, t)
    np.multiply(x, t, out)
    if slope is not None:
        np.multiply(s, 6 * _ROOT * _CUBIC, s)
        np.add(s, 2 * _ROOT, s)
        np.multiply(s, t, s)
        np.subtract(constants.one, t, d)
        np.multiply(s, d, s)
        np.multiply(s, c, s)
        np.add(s, t, slope)


_BLOCKS = {"none": gelu_block, "tanh": gelu_tanh_block}


def gelu(x: np.ndarray, *, approximate: str) -> tuple[np.ndarray, Any]:
    x, block = np.ascontiguousarray(x), _BLOCKS[approximate]
    out, slope = empty(x.shape, x.dtype), empty(x.shape, x.dtype)
    into(block, x.reshape(-1), out.reshape(-1), slope.reshape(-1))
    return out, slope


def gelu_infer(x: np.ndarray, *, approximate: str) -> np.ndarray:
    x, block = np.ascontiguousarray(x), _BLOCKS[approximate]
    out = empty(x.shape, x.dtype)
    into(lambda x, out: block(x, out, None), x.reshape(-1), out.reshape(-1))
    return out


def multiply_into(slope: np.ndarray, g: np.ndarray) -> np.ndarray:
    """slope · g in place of the former, which is contiguous."""
    into(lambda slope, g: np.multiply(slope, g, slope), slope.reshape(-1), np.ascontiguousarray(g).reshape(-1))
    return slope


def gelu_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    return (multiply_into(saved, g),)  # the slope is nobody else's


register("gelu", "numpy", gelu, gelu_backward, lambda x, **options: is_floating(x), infer=gelu_infer)
