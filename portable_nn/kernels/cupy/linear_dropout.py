"""linear_dropout on CuPy: bias, activation and mask in one kernel behind the product, and their gradients in one."""

from __future__ import annotations

from typing import Any

from portable_nn.backend.random import Stream
from portable_nn.kernels.cupy.dropout import dropping
from portable_nn.kernels.cupy.launch import WIDE, contiguous, empty, kernel
from portable_nn.kernels.cupy.linear import factors, gradients
from portable_nn.kernels.cupy.linear import supports as supports_linear
from portable_nn.kernels.cupy.products import biased_product, converted
from portable_nn.kernels.cupy.workspace import COUNTERS, workspace
from portable_nn.kernels.registry import register

#: Columns of a block, its rows at once, and into how many chunks rows are parted at most: a fixed number, so that sums
#: have a fixed order.
_COLUMNS, _ROWS, _CHUNKS = 512, 8, 64


def _launch(name: str, arrays: tuple, others: tuple, activation: str, how: tuple, chunks: int) -> None:
    """A kernel over matrices of one shape, wide where they are aligned."""
    (rows, width), char = arrays[0].shape, arrays[0].dtype.char
    wide = width % WIDE[char] == 0 and not any(x.data.ptr % 16 for x in arrays)
    defines = f"PACK={WIDE[char] if wide else 1}", f"RELU={int(activation == 'relu')}"
    function = kernel("dense_dropout", name, char, *defines)
    if rows and width:
        function((-(-width // _COLUMNS), chunks), (32, _ROWS), (*others, rows, width, *how))


def forward(x: Any, weight: Any, bias: Any, *, activation: str, p: float, stream: Stream) -> tuple[Any, Any]:
    rows, factor, added, precision = factors(x, weight, bias)
    z, with_bias = biased_product(rows, factor, added, False, precision)
    out, how = empty(z.shape, z.dtype), dropping(p, stream)
    _launch("activation_dropout", (z, out), (z, 0 if with_bias or added is None else added, out), activation, how,
            max(1, min(-(-z.shape[0] // _ROWS), 1024)))
    dtypes = x.dtype, weight.dtype, weight.dtype if bias is None else bias.dtype
    saved = rows, factor, z, activation, how, x.shape, precision, dtypes
    return out if x.ndim == 2 else out.reshape(*x.shape[:-1], weight.shape[0]), saved


def backward(xp: Any, g: Any, saved: Any, needs: tuple) -> tuple:
    rows, weight, z, activation, how, shape, precision, dtypes = saved
    g = contiguous(converted(g.reshape(z.shape), z.dtype))
    g_z, g_bias, left, counters = empty(z.shape, z.dtype), None, 0, 0
    chunks = max(1, min(-(-z.shape[0] // _ROWS), _CHUNKS))
    if needs[2]:
        g_bias = empty((z.shape[1],), "d" if z.dtype.char == "d" else "f")
        left, counters = empty((chunks, z.shape[1]), g_bias.dtype), workspace()
        if not z.shape[0]:
            g_bias.fill(0)
    _launch("activation_dropout_backward", (z, g, g_z), (z, g, g_z, 0 if g_bias is None else g_bias, left, counters),
            activation, how, chunks)
    g_bias = None if g_bias is None else g_bias.astype(dtypes[2], copy=False)
    return gradients(g_z, g_bias, rows, weight, shape, precision, dtypes, needs)


def supports(x: Any, weight: Any, bias: Any, *, activation: str | None, p: float, stream: Stream) -> bool:
    return (activation in ("gelu", "relu") and 0 < p < 1 and weight.shape[0] <= COUNTERS * _COLUMNS
            and supports_linear(x, weight, bias, activation=activation))


register("linear_dropout", "cupy", forward, backward, supports)
