"""add_dropout and add_norm on NumPy: the kernels of their parts, with sums in memory that is these kernels' own."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.backend.random import Stream
from portable_nn.kernels.numpy.blocks import into, is_floating
from portable_nn.kernels.numpy.buffers import empty
from portable_nn.kernels.registry import Kernel, find, register


def _add(out: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    np.add(x, y, out)


def _sum(x: np.ndarray, y: np.ndarray, out: np.ndarray) -> np.ndarray:
    """x + y in `out`, which may be one of them."""
    into(_add, out.reshape(-1), *[np.ascontiguousarray(part).reshape(-1) for part in (x, y)])
    return out


def _kernel(operation: str, *arrays: Any, **options: Any) -> Kernel | None:
    """The kernel of a part: NumPy's, or one that is compiled."""
    return find(operation, np, arrays, options)


def _part(norm: str, x: Any, weight: Any, bias: Any, eps: float | None) -> tuple[Any, tuple]:
    weights = (weight, bias) if norm == "layer" else (weight,)
    return _kernel(f"{norm}_norm", x, *weights, eps=eps), weights


def add_dropout(x: np.ndarray, y: np.ndarray, *, p: float, stream: Stream | None) -> tuple[np.ndarray, Any]:
    if p == 0:
        return _sum(x, y, empty(x.shape, x.dtype)), None
    kernel: Any = _kernel("dropout", y, p=p, stream=stream)
    dropped, saved = kernel.forward(y, p=p, stream=stream)
    return _sum(x, dropped, dropped), (kernel, saved)


def add_dropout_backward(xp: Any, g: Any, saved: Any, needs: tuple) -> tuple:
    if not needs[1] or saved is None:
        return g, g
    kernel, of_kernel = saved
    return g, kernel.backward(xp, g, of_kernel, (True,))[0]


def add_norm(x: np.ndarray, y: np.ndarray | None, weight: Any, bias: Any, *, norm: str, eps: float | None, p: float,
             stream: Stream | None, both: bool) -> tuple[tuple, Any]:
    total, saved = (x, None) if y is None else add_dropout(x, y, p=p, stream=stream)
    kernel, weights = _part(norm, total, weight, bias, eps)
    out, of_norm = kernel.forward(total, *weights, eps=eps)
    return (total, out), (kernel, of_norm, saved)


def add_norm_backward(xp: Any, g: Any, saved: Any, needs: tuple) -> tuple:
    (g_total, g_out), (kernel, of_norm, of_dropout) = g, saved
    g_weight = g_bias = None
    if g_out is not None:
        wanted = (True, *needs[2:]) if kernel.operation == "layer_norm" else (True, needs[2])
        g_norm, g_weight, *rest = kernel.backward(xp, g_out, of_norm, wanted)
        g_bias = rest[0] if rest else None
        g_total = g_norm if g_total is None else _sum(g_norm, g_total, g_norm)
    return *add_dropout_backward(xp, g_total, of_dropout, needs), g_weight, g_bias


def supports_sum(x: Any, y: Any, *, p: float, stream: Stream | None) -> bool:
    return is_floating(x) and (p == 0 or _kernel("dropout", y, p=p, stream=stream) is not None)


def supports(x: Any, y: Any, weight: Any, bias: Any, *, norm: str, eps: float | None, p: float, stream: Stream | None,
             both: bool) -> bool:
    kernel = _part(norm, x, weight, bias, eps)[0]
    return (kernel is not None and "saved" in kernel.asked
            and (y is None or supports_sum(x, y, p=p, stream=stream)))


register("add_dropout", "numpy", add_dropout, add_dropout_backward, supports_sum)
register("add_norm", "numpy", add_norm, add_norm_backward, supports)
