"""layer_norm and rms_norm on CuPy: one kernel forward, one for the gradient of x, two for those of the weights."""

from __future__ import annotations

import math
from typing import Any

import cupy

from portable_nn.kernels.cupy.columns import sum_columns
from portable_nn.kernels.cupy.launch import contiguous, empty, is_floating, kernel, rows
from portable_nn.kernels.registry import register


def _weights(rows_of: tuple, count: int, width: int, char: str, weight: Any, bias: Any) -> tuple[Any, Any]:
    """The gradients of weight and bias, None where those are None; `rows_of` is x, g, mean and rstd."""
    g_weight, g_bias = (None if like is None else empty(like.shape, like.dtype) for like in (weight, bias))
    if weight is not None or bias is not None:
        outputs = (0 if g_weight is None else g_weight, 0 if g_bias is None else g_bias)
        sum_columns(kernel("norms", "norm_weights", char), rows_of, outputs, count, width, char)
    return g_weight, g_bias


def _given(x: Any) -> Any:
    return 0 if x is None else contiguous(x)


def layer_norm(x: Any, weight: Any, bias: Any, *, eps: float) -> tuple[Any, Any]:
    like = weight if weight is not None else bias
    width = x.shape[-1] if like is None else math.prod(like.shape)
    x, count, char = contiguous(x), x.size // width, x.dtype.char
    out = empty(x.shape, x.dtype)
    mean, rstd = (empty((count,), "d" if char == "d" else "f") for _ in range(2))
    rows(kernel("norms", "layer_norm", char), count, width,
         (x, _given(weight), _given(bias), out, mean, rstd, count, width, float(eps)))
    return out, (x, weight, bias, mean, rstd, count, width)


def layer_norm_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    x, weight, bias, mean, rstd, count, width = saved
    g, g_x, char = contiguous(g), None, x.dtype.char
    if needs[0]:
        g_x = empty(x.shape, x.dtype)
        rows(kernel("norms", "layer_norm_backward", char), count, width,
             (x, _given(weight), g, mean, rstd, g_x, count, width))
    wanted = (weight if needs[1] else None, bias if needs[2] else None)
    return g_x, *_weights((x, g, mean, rstd), count, width, char, *wanted)


def rms_norm(x: Any, weight: Any, *, eps: float | None) -> tuple[Any, Any]:
    width = x.shape[-1] if weight is None else math.prod(weight.shape)
    x, count, char = contiguous(x), x.size // width, x.dtype.char
    eps = float(cupy.finfo(x.dtype).eps) if eps is None else float(eps)
    out, rrms = empty(x.shape, x.dtype), empty((count,), "d" if char == "d" else "f")
    rows(kernel("norms", "rms_norm", char), count, width, (x, _given(weight), out, rrms, count, width, eps))
    return out, (x, weight, rrms, count, width)


def rms_norm_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    x, weight, rrms, count, width = saved
    g, g_x, char = contiguous(g), None, x.dtype.char
    if needs[0]:
        g_x = empty(x.shape, x.dtype)
        rows(kernel("norms", "rms_norm_backward", char), count, width, (x, _given(weight), g, rrms, g_x, count, width))
    return g_x, _weights((x, g, 0, rrms), count, width, char, weight if needs[1] else None, None)[0]


def supports(x: Any, *weights: Any, eps: float | None) -> bool:
    return is_floating(x) and (x.dtype.char != "E" or eps is not None)


register("layer_norm", "cupy", layer_norm, layer_norm_backward, supports)
register("rms_norm", "cupy", rms_norm, rms_norm_backward, supports)
