"""layer_norm, rms_norm and add_norm on CuPy: one kernel forward and one backward, whatever is summed and normalised."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import cupy

from portable_nn.autodiff.engine import Leaf, Pair
from portable_nn.backend.random import Stream
from portable_nn.kernels.cupy.columns import leave_sums
from portable_nn.kernels.cupy.dropout import drop, dropping, wider
from portable_nn.kernels.cupy.launch import SCALARS, WIDE, contiguous, empty, is_floating, kernel
from portable_nn.kernels.cupy.products import half_dtype
from portable_nn.kernels.cupy.workspace import workspace
from portable_nn.kernels.registry import register

#: Elements of a row that a thread holds in registers, and threads that may hold one.
_HELD, _THREADS = 16, (32, 64, 128, 256, 512)
_WIDEST = _HELD * _THREADS[-1]
#: Blocks backward: one for each multiprocessor of an H100, a fixed number, so that sums have a fixed order; and of how
#: many the sums are added up at once (TOGETHER of norms.cu), to which end each rather goes through its rows twice.
_BLOCKS, _TOGETHER = 132, 24


class Saved(NamedTuple):
    """What backward needs: the sum that was normalised, the statistics, and what the arguments were like."""

    total: Any
    weight: Any
    bias: Any
    mean: Any
    rstd: Any
    rows: int
    width: int
    out_dtype: Any
    x_dtype: Any
    y_dtype: Any
    how: tuple


def _given(x: Any) -> Any:
    return 0 if x is None else x


def _function(name: str, saved: Saved, arrays: tuple, *, twice: bool = False) -> tuple[Any, int]:
    """The kernel for rows of these types and this width, and how many threads it gives to each."""
    like = saved.weight if saved.weight is not None else saved.bias
    aligned = not any(x is not None and x.data.ptr % 16 for x in arrays)
    return _compiled(name, (saved.x_dtype.char, saved.y_dtype.char, saved.out_dtype.char),
                     "f" if like is None else like.dtype.char, saved.width, saved.mean is not None, aligned, twice)


@functools.cache
def _compiled(name: str, types: tuple, weights: str, width: int, centred: bool, aligned: bool,
              twice: bool) -> tuple[Any, int]:
    pack = max(WIDE[char] for char in types)
    if width % pack or not aligned:
        pack = 1
    threads = next(threads for threads in _THREADS if width <= _HELD * threads)
    defines = {**dict(zip(("X", "Y", "OUT"), (SCALARS[char] for char in types))), "CENTRED": int(centred),
               "TWICE": int(twice), "THREADS": threads, "PACK": pack, "CHUNKS": -(-width // (threads * pack))}
    return kernel("norms", name, "d" if "d" in types else weights, *(f"{k}={v}" for k, v in defines.items())), threads


def _forward(x: Any, y: Any, weight: Any, bias: Any, *, centred: bool, eps: float | None, how: tuple, keep: bool,
             ) -> tuple[Any, Saved]:
    """The norm of x + dropout(y), or of x; `keep` says whether the sum and the statistics are wanted."""
    like = weight if weight is not None else bias
    width = x.shape[-1] if like is None else math.prod(like.shape)
    x, y, weight, bias = (None if z is None else contiguous(z) for z in (x, y, weight, bias))
    rows, half, dtype = x.size // width, half_dtype(), x.dtype if y is None else wider(x, y)
    out_dtype = half if half is not None and dtype.char in ("f", half.char) else dtype
    total = x if y is None else empty(x.shape, dtype) if keep else None
    out, statistics = empty(x.shape, out_dtype), "d" if dtype.char == "d" else "f"
    mean = empty((rows if keep else 0,), statistics) if centred else None
    rstd = empty((rows if keep else 0,), statistics)
    saved = Saved(total, weight, bias, mean, rstd, rows, width, out_dtype, x.dtype, (x if y is None else y).dtype, how)
    if rows:
        function, threads = _function("add_norm", saved, (x, y, total, out))
        eps = float(cupy.finfo(dtype).eps) if eps is None else float(eps)
        side = max(1, 128 // threads)
        kept = (0 if mean is None else mean, rstd) if keep else (0, 0)
        function((-(-rows // side),), (threads, side),
                 (x, _given(y), _given(weight), _given(bias), 0 if y is None else _given(total), out, *kept,
                  rows, width, eps, *how))
    return out, saved


def _rows(g: Any, width: int) -> tuple[Any, int]:
    """The rows of g, and for how many each stands: it is repeated in memory of its own where it comes from a mean."""
    if g.ndim == 3 and g.shape[2] == width and g.strides[1] == 0 and g.shape[1] > 1:
        return g[:, 0, :], g.shape[1]
    return g, 1


def _backward(g: Any, g_total: Any, saved: Saved, needs: tuple, y_node: Any = None) -> tuple:
    """The gradients of x, y, weight and bias, from that of the norm, which may be two, and that of the sum, if any.

    Sums are not left for a leaf `y_node`: its gradient is the user's, who may write to it before passing it on.
    """
    total, weight, bias, mean, rstd, rows, width, out_dtype, x_dtype, y_dtype, how = saved
    g, more, of_g = (g.first, g.second, True) if isinstance(g, Pair) else (g, g_total, False)
    if of_g and g_total is not None:
        g, more, of_g = g + more, g_total, False
    g, every = _rows(g, width)
    g = contiguous(g.astype(out_dtype, copy=False))
    more = None if more is None else contiguous(more.astype(out_dtype if of_g else total.dtype, copy=False))
    same = not how[0] and x_dtype == y_dtype  # then the gradient of y is that of x
    g_x = empty(total.shape, x_dtype) if needs[0] or (same and needs[1]) else None
    g_y = empty(total.shape, y_dtype) if needs[1] and not same else None
    g_weight, g_bias = (empty(like.shape, like.dtype) if like is not None and need else None
                        for like, need in zip((weight, bias), needs[2:]))
    if rows:
        function, threads = _function("add_norm_backward", saved, (total, g, more, g_x, g_y), twice=of_g)
        many = 256 if total.dtype.char == "d" and threads < 512 else 512
        side = many // threads
        blocks = -(-rows // side)
        blocks = min(blocks, _BLOCKS) if blocks > 2 * _TOGETHER else -(-blocks // 2)
        left = counters = y_sums = 0
        if needs[1]:
            y_sums = empty((width,), rstd.dtype)
            if type(y_node) is not Leaf:
                leave_sums(g_x if same else g_y, y_sums)
        if needs[1] or g_weight is not None or g_bias is not None:
            left, counters = empty((3 * (blocks + 11), width), rstd.dtype), workspace()
        function((blocks,), (threads, side),
                 (total, _given(weight), g, _given(more), _given(mean), rstd,
                  *map(_given, (g_x, g_y, g_weight, g_bias)), y_sums, left, counters, rows, width, every,
                  *how))
    else:
        for sums in (g_weight, g_bias):
            if sums is not None:
                sums.fill(0)
    return g_x if needs[0] else None, g_x if same and needs[1] else g_y, g_weight, g_bias


_ALONE = dropping(0.0, None)


def layer_norm(x: Any, weight: Any, bias: Any, *, eps: float) -> tuple[Any, Saved]:
    return _forward(x, None, weight, bias, centred=True, eps=eps, how=_ALONE, keep=True)


def layer_norm_backward(xp: Any, g: Any, saved: Saved, needs: tuple) -> tuple:
    g_x, _, g_weight, g_bias = _backward(g, None, saved, (needs[0], False, *needs[1:]))
    return g_x, g_weight, g_bias


def layer_norm_alone(x: Any, weight: Any, bias: Any, *, eps: float) -> Any:
    return _forward(x, None, weight, bias, centred=True, eps=eps, how=_ALONE, keep=False)[0]


def rms_norm(x: Any, weight: Any, *, eps: float | None) -> tuple[Any, Saved]:
    return _forward(x, None, weight, None, centred=False, eps=eps, how=_ALONE, keep=True)


def rms_norm_backward(xp: Any, g: Any, saved: Saved, needs: tuple) -> tuple:
    g_x, _, g_weight, _ = _backward(g, None, saved, (needs[0], False, needs[1], False))
    return g_x, g_weight


def rms_norm_alone(x: Any, weight: Any, *, eps: float | None) -> Any:
    return _forward(x, None, weight, None, centred=False, eps=eps, how=_ALONE, keep=False)[0]


def add_norm(x: Any, y: Any, weight: Any, bias: Any, *, norm: str, eps: float | None, p: float, stream: Stream | None,
             both: bool) -> tuple[Any, Saved]:
    out, saved = _forward(x, y, weight, bias, centred=norm == "layer", eps=eps, how=dropping(p, stream), keep=True)
    return (saved.total, out), saved


def add_norm_alone(x: Any, y: Any, weight: Any, bias: Any, *, norm: str, eps: float | None, p: float,
                   stream: Stream | None, both: bool) -> tuple:
    out, saved = _forward(x, y, weight, bias, centred=norm == "layer", eps=eps, how=dropping(p, stream), keep=both)
    return saved.total if both else out, out


def add_norm_backward(xp: Any, g: Any, saved: Saved, needs: tuple, parents: tuple) -> tuple:
    g_total, g_out = g
    if isinstance(g_total, Pair):
        g_total = g_total.first + g_total.second
    if g_out is not None:
        return _backward(g_out, g_total, saved, needs, parents[1])
    g_x = g_total.astype(saved.x_dtype, copy=False)
    g_y = drop(None, g_total, saved.y_dtype, saved.how) if needs[1] else None
    return g_x, g_y, None, None


add_norm_backward.adds_up = True  # type: ignore[attr-defined]


def _supported(x: Any, weights: tuple, eps: float | None) -> bool:
    like = next((w for w in weights if w is not None), None)
    width = x.shape[-1] if like is None else math.prod(like.shape)
    return is_floating(x) and 0 < width <= _WIDEST and (x.dtype.char != "E" or eps is not None)


def supports(x: Any, *weights: Any, eps: float | None) -> bool:
    return _supported(x, weights, eps)


def supports_sum(x: Any, y: Any, *weights: Any, norm: str, eps: float | None, p: float, stream: Stream | None,
                 both: bool) -> bool:
    return _supported(x, weights, eps) and (y is None or is_floating(y)) and p < 1


register("layer_norm", "cupy", layer_norm, layer_norm_backward, supports, infer=layer_norm_alone)
register("rms_norm", "cupy", rms_norm, rms_norm_backward, supports, infer=rms_norm_alone)
register("add_norm", "cupy", add_norm, add_norm_backward, supports_sum, infer=add_norm_alone)
