"""linear on CuPy: a product with its bias, and one kernel for the activation; backward one kernel, two products."""

from __future__ import annotations

import math
from typing import Any

from portable_nn.kernels.cupy.columns import sum_columns, sum_rows
from portable_nn.kernels.cupy.launch import WIDE, contiguous, empty, is_floating, kernel
from portable_nn.kernels.cupy.products import biased_product, chosen_precision, product
from portable_nn.kernels.registry import register

#: As dense.cu counts them.
_ACTIVATIONS = {None: 0, "relu": 1, "sigmoid": 2, "tanh": 3, "gelu": 4}


def _finish(y: Any, bias: Any, out: Any, activation: str | None) -> None:
    """z = y + bias in place of y, and out = f(z); where they are one array, f(z) alone."""
    (rows, width), char = y.shape, y.dtype.char
    wide = width % WIDE[char] == 0 and y.data.ptr % 16 == 0 and out.data.ptr % 16 == 0
    columns = width // WIDE[char] if wide else width
    if y.size:
        across = 32 if columns <= 32 else 128
        down = 256 // across
        grid = -(-columns // across), max(1, min(-(-rows // down), 4096 // -(-columns // across), 65535))
        arguments = (y, 0 if bias is None else bias, out, rows, width, _ACTIVATIONS[activation], int(wide))
        kernel("dense", "bias_activation", char)(grid, (across, down), arguments)


def _run(x: Any, weight: Any, bias: Any, activation: str | None, precision: str | None) -> tuple[Any, Any, Any]:
    """The result as a matrix, what its slope is computed from, and x as a matrix."""
    rows = x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    bias = None if bias is None else contiguous(bias)
    y, added = biased_product(rows, weight, bias, activation == "relu", precision)
    bias = None if added else bias
    if bias is None and (activation is None or (added and activation == "relu")):
        return y, y, rows
    out = empty(y.shape, y.dtype) if activation == "gelu" else y
    _finish(y, bias, out, activation)
    return out, y, rows


def forward(x: Any, weight: Any, bias: Any, *, activation: str | None) -> tuple[Any, Any]:
    precision = chosen_precision()
    out, kept, rows = _run(x, weight, bias, activation, precision)
    saved = rows, weight, None if activation is None else kept, activation, x.shape, precision
    return out if x.ndim == 2 else out.reshape(*x.shape[:-1], weight.shape[0]), saved


def infer(x: Any, weight: Any, bias: Any, *, activation: str | None) -> Any:
    out = _run(x, weight, bias, activation, chosen_precision())[0]
    return out if x.ndim == 2 else out.reshape(*x.shape[:-1], weight.shape[0])


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    rows, weight, kept, activation, shape, precision = saved
    g, g_bias, char = g.reshape(rows.shape[0], weight.shape[0]), None, rows.dtype.char
    if activation is not None:
        g_z, (count, width) = empty(g.shape, g.dtype), g.shape
        g_bias = empty((width,), g.dtype) if needs[2] else None
        sum_columns(kernel("dense", "slope_and_sum", char), (kept, contiguous(g), g_z, _ACTIVATIONS[activation]),
                    (0 if g_bias is None else g_bias,), count, width, char)
        g = g_z
    elif needs[2]:
        g_bias = sum_rows(g)
    g_x = product(g, weight, precision).reshape(shape) if needs[0] else None
    return g_x, product(g.T, rows, precision) if needs[1] else None, g_bias


def supports(x: Any, weight: Any, bias: Any, *, activation: str | None) -> bool:
    return is_floating(x) and x.dtype == weight.dtype and x.ndim > 0


register("linear", "cupy", forward, backward, supports, infer=infer)
