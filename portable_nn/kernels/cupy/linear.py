"""linear on CuPy: a product with its bias, and one kernel for the activation; backward one kernel, two products.

In a context of half precision x, the weight and the bias are rounded to it, and so is the result: what a layer hands on
moves half the bytes. Gradients have the dtypes of what they are for.
"""

from __future__ import annotations

import math
from typing import Any

from portable_nn.kernels.cupy.columns import left_sums, sum_columns, sum_rows
from portable_nn.kernels.cupy.launch import WIDE, contiguous, empty, is_floating, kernel
from portable_nn.kernels.cupy.products import (
    biased_product,
    chosen_precision,
    converted,
    half_dtype,
    parameters_in_half,
    product,
    product_and_sums,
)
from portable_nn.kernels.registry import register

#: As dense.cu counts them.
_ACTIVATIONS = {None: 0, "relu": 1, "sigmoid": 2, "tanh": 3, "gelu": 4}


def _finish(y: Any, bias: Any, out: Any, activation: str | None) -> None:
    """z = y + bias in place of y, and out = f(z); where they are one array, f(z) alone."""
    (rows, width), char = y.shape, y.dtype.char
    wide = width % WIDE[char] == 0 and y.data.ptr % 16 == 0 and out.data.ptr % 16 == 0
    columns = width // WIDE[char] if wide else width
    if y.size:
        across = min((32, 64, 128), key=lambda n: (-columns % n, -n))
        down = 256 // across
        grid = -(-columns // across), max(1, min(-(-rows // down), 4096 // -(-columns // across), 65535))
        arguments = (y, 0 if bias is None else bias, out, rows, width, _ACTIVATIONS[activation])
        kernel("dense", "bias_activation_wide" if wide else "bias_activation", char)(grid, (across, down), arguments)


def factors(x: Any, weight: Any, bias: Any) -> tuple[Any, Any, Any, str | None]:
    """x as a matrix, weight and bias, as they are multiplied, and what products of float32 compute in."""
    rows = x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    bias = None if bias is None else contiguous(bias)
    half = half_dtype()
    if half is None or not {x.dtype.char, weight.dtype.char} <= {"f", half.char}:
        return rows, weight, bias, chosen_precision()
    return converted(rows, half), *parameters_in_half(weight, bias, half), None


def _run(rows: Any, weight: Any, bias: Any, activation: str | None, precision: str | None) -> tuple[Any, Any]:
    """The result as a matrix, and what its slope is computed from."""
    y, added = biased_product(rows, weight, bias, activation == "relu", precision)
    bias = None if added else bias
    if bias is None and (activation is None or (added and activation == "relu")):
        return y, y
    out = empty(y.shape, y.dtype) if activation == "gelu" else y
    _finish(y, bias, out, activation)
    return out, y


def forward(x: Any, weight: Any, bias: Any, *, activation: str | None) -> tuple[Any, Any]:
    rows, factor, added, precision = factors(x, weight, bias)
    out, kept = _run(rows, factor, added, activation, precision)
    dtypes = x.dtype, weight.dtype, weight.dtype if bias is None else bias.dtype
    saved = rows, factor, None if activation is None else kept, activation, x.shape, precision, dtypes
    return out if x.ndim == 2 else out.reshape(*x.shape[:-1], weight.shape[0]), saved


def infer(x: Any, weight: Any, bias: Any, *, activation: str | None) -> Any:
    rows, factor, added, precision = factors(x, weight, bias)
    out = _run(rows, factor, added, activation, precision)[0]
    return out if x.ndim == 2 else out.reshape(*x.shape[:-1], weight.shape[0])


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    rows, weight, kept, activation, shape, precision, dtypes = saved
    g, g_bias = g.reshape(rows.shape[0], weight.shape[0]), None
    g = converted(g, rows.dtype)
    if activation is not None:
        g, g_bias = _before_activation(g, kept, activation, dtypes[2] if needs[2] else None)
    return gradients(g, g_bias, rows, weight, shape, precision, dtypes, needs)


def gradients(g: Any, g_bias: Any, rows: Any, weight: Any, shape: tuple, precision: str | None, dtypes: tuple,
              needs: tuple) -> tuple:
    """Those of x, weight and bias from the cotangent of what the product made, and that of the bias if it is known."""
    g_weight, left = None, left_sums(g)
    if needs[2] and left is not None:
        g_bias = left.astype(dtypes[2], copy=False)
    if needs[1] and needs[2] and g_bias is None and dtypes[1] == dtypes[2]:
        g_weight, g_bias = product_and_sums(g.T, rows, precision, dtypes[1]) or (None, None)
    if needs[2] and g_bias is None:
        g_bias = sum_rows(g, dtypes[2])
    if needs[1] and g_weight is None:
        g_weight = product(g.T, rows, precision, dtypes[1])
    return product(g, weight, precision, dtypes[0]).reshape(shape) if needs[0] else None, g_weight, g_bias


def _before_activation(g: Any, kept: Any, activation: str, dtype: Any) -> tuple[Any, Any]:
    """The cotangent of what went into the activation, and its sum over the rows unless dtype is None."""
    g_z, (count, width), char = empty(g.shape, g.dtype), g.shape, g.dtype.char
    g_bias = None if dtype is None else empty((width,), "d" if char == "d" else "f")
    sum_columns(kernel("dense", "slope_and_sum", char), (kept, contiguous(g), g_z, _ACTIVATIONS[activation]),
                (0 if g_bias is None else g_bias,), count, width, char,
                wide=kernel("dense", "slope_and_sum_wide", char))
    return g_z, None if g_bias is None else g_bias.astype(dtype, copy=False)


def supports(x: Any, weight: Any, bias: Any, *, activation: str | None) -> bool:
    return is_floating(x) and x.ndim > 0 and (x.dtype == weight.dtype or half_dtype() is not None)


register("linear", "cupy", forward, backward, supports, infer=infer)
