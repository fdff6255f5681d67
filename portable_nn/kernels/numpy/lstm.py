"""Whole-sequence LSTM on NumPy.

Gates lie in the order o, i, f, g, followed by c: one product of (i, f) with (g, c) gives both terms of the new c. The
rows of o, i and f are halved, so that one tanh over all four serves: σ(x) = 1/2 + tanh(x/2)/2.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np

from portable_nn.kernels.numpy import sequences
from portable_nn.kernels.numpy.blocks import CONSTANTS
from portable_nn.kernels.numpy.buffers import empty, scratch
from portable_nn.kernels.registry import register

#: Of the gates i, f, g, o those that come first, second, … here, and the way back.
GATES, BACK = (3, 0, 1, 2), (1, 2, 3, 0)


class Saved(NamedTuple):
    """`rows` (T + 1, H + 1 + I, B) as packed; `gates` (T + 1, 5 H, B), c before each step last; tanh of c after it."""

    rows: np.ndarray
    gates: np.ndarray
    tanh_c: np.ndarray
    outside: np.ndarray | None


def prepare(x: Any, h: Any, c: Any, hidden: int, lengths: Any, reverse: bool, keep: bool) -> Saved:
    """Room for all steps, with the inputs and initial states in place; for gates and tanh(c) of the last two steps
    alone, unless they are to be kept."""
    batch, steps, _ = x.shape
    outside = sequences.invalid_steps(lengths, steps, reverse)
    rows = sequences.pack_input(x, h, hidden, outside, reverse)
    gates = empty((steps + 1 if keep else 2, 5 * hidden, batch), x.dtype)
    tanh_c = empty((steps if keep else 1, hidden, batch), x.dtype)
    gates[0, 4 * hidden:] = 0 if c is None else c.T
    return Saved(rows, gates, tanh_c, outside)


def _take_steps(saved: Saved, weight: np.ndarray) -> None:
    rows, gates, tanh_c, outside = saved
    _, hidden, batch = tanh_c.shape
    weight[:3 * hidden] *= 0.5
    terms, half = np.empty((2 * hidden, batch), dtype=rows.dtype), CONSTANTS[rows.dtype.char].half
    first, second = terms[:hidden], terms[hidden:]
    kept = len(gates) == len(rows)
    z_all, c_all = gates[:, :4 * hidden], gates[1:, 4 * hidden:] if kept else gates[::-1, 4 * hidden:]
    parts = (z_all, z_all[:, :3 * hidden], z_all[:, :hidden], z_all[:, hidden:3 * hidden], gates[:, 3 * hidden:],
             c_all, tanh_c)
    for step, (row, h_new, z, sigmoids, o, i_f, g_c, c_new, t) in enumerate(
            zip(rows[:-1], rows[1:, :hidden], *map(cycle, parts))):  # views are made cheapest by iteration
        np.dot(weight, row, z)
        np.tanh(z, z)
        np.multiply(sigmoids, half, sigmoids)
        np.add(sigmoids, half, sigmoids)
        np.multiply(i_f, g_c, terms)
        np.add(first, second, c_new)
        np.tanh(c_new, t)
        np.multiply(o, t, h_new)
        if outside is not None and outside[step].any():
            np.copyto(h_new, row[:hidden], where=outside[step])
            np.copyto(c_new, g_c[hidden:], where=outside[step])


def results(saved: Saved, reverse: bool, keep: bool) -> tuple:
    """y and the last h and c."""
    rows, gates, tanh_c, outside = saved
    hidden = tanh_c.shape[1]
    c = gates[-1 if keep else (rows.shape[0] - 1) % 2, 4 * hidden:]
    y = sequences.put_out(rows[1:, :hidden], outside, reverse, copy=not keep)
    return y, np.array(rows[-1, :hidden].T, order="C"), np.array(c.T, order="C")


def forward(x: Any, h: Any, c: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, lengths: Any, *,
            reverse: bool) -> tuple:
    saved = prepare(x, h, c, weight_hh.shape[1], lengths, reverse, True)
    _take_steps(saved, sequences.pack_weights(GATES, weight_ih, weight_hh, bias_ih, bias_hh))
    return results(saved, reverse, True), saved


def infer(x: Any, h: Any, c: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, lengths: Any, *,
          reverse: bool) -> tuple:
    saved = prepare(x, h, c, weight_hh.shape[1], lengths, reverse, False)
    _take_steps(saved, sequences.pack_weights(GATES, weight_ih, weight_hh, bias_ih, bias_hh))
    return results(saved, reverse, False)


def _slopes(saved: Saved, chunk: slice, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """∂z/∂h of o, and ∂z/∂c of i, f, g, into d (n, 4 H, B); and ∂c/∂h and ∂c/∂c' (n, H, B), in what was saved."""
    gates, t = saved.gates[chunk], saved.tanh_c[chunk]
    hidden = t.shape[1]
    o, i, f, g = (gates[:, k * hidden:(k + 1) * hidden] for k in range(4))
    h, i_f = saved.rows[chunk.start + 1:chunk.stop + 1, :hidden], gates[:, hidden:3 * hidden]
    g_c = gates[:, 3 * hidden:]
    d_o, d_i, d_i_f, d_g = d[:, :hidden], d[:, hidden:2 * hidden], d[:, hidden:3 * hidden], d[:, 3 * hidden:]
    np.multiply(h, o, out=d_o)
    np.subtract(h, d_o, out=d_o)                                         # h (1 - o)
    np.multiply(h, t, out=t)
    np.subtract(o, t, out=t)                                             # o - h tanh(c)
    np.multiply(i_f, g_c, out=d_i_f)
    np.multiply(d_i, g, out=d_g)
    np.subtract(i, d_g, out=d_g)                                         # i (1 - g²)
    np.multiply(d_i_f, i_f, out=g_c)
    np.subtract(d_i_f, g_c, out=d_i_f)                                   # g i (1 - i), c' f (1 - f)
    if saved.outside is not None:  # there, nothing reaches the gates, and c passes unchanged
        outside = saved.outside[chunk][:, None, :]
        np.copyto(d, 0, where=outside)
        np.copyto(t, 0, where=outside)
        np.copyto(f, 1, where=outside)
    return t, f


def _go_back(saved: Saved, chunk: slice, columns: np.ndarray, g_h: np.ndarray, g_c: np.ndarray,
             g_out: np.ndarray | None, to_h: np.ndarray) -> None:
    """Gate gradients of a chunk's steps into columns (4 H, n, B); g_h and g_c from after the last to before the first.
    """
    (hidden, batch), outside = g_h.shape, saved.outside
    t, d = np.empty_like(g_c), scratch((columns.shape[1], 4 * hidden, batch), g_h.dtype)
    dh, dc = _slopes(saved, chunk, d)
    parts = (d, d[:, :hidden], d[:, hidden:].reshape(-1, 3, hidden, batch), dh, dc)
    for k, z, z_o, z_inner, h_slope, c_slope in zip(range(len(d) - 1, -1, -1), *(part[::-1] for part in parts)):
        held = None if outside is None else g_h * outside[chunk.start + k]
        if g_out is not None:
            np.add(g_h, g_out[k], g_h)
        np.multiply(g_h, h_slope, t)
        np.add(g_c, t, g_c)
        np.multiply(z_o, g_h, z_o)
        np.multiply(z_inner, g_c, z_inner)
        np.multiply(g_c, c_slope, g_c)
        np.dot(to_h, z, g_h)
        if held is not None:
            np.add(g_h, held, g_h)
    columns[...] = d.transpose(1, 0, 2)


def through_time(go_back: Callable[..., None], g: Any, saved: Saved, weight_ih: Any, weight_hh: Any, reverse: bool,
                 needs: tuple) -> tuple:
    """All gradients, in chunks of steps that `go_back` goes through as `_go_back` does."""
    rows, (steps, hidden, batch) = saved.rows, saved.tanh_c.shape
    g_y = None if g[0] is None else sequences.in_order(g[0], reverse)
    g_h, g_c = (np.zeros((hidden, batch), dtype=rows.dtype) if x is None else np.array(x.T, order="C") for x in g[1:])
    to_h = np.ascontiguousarray(sequences.reorder(weight_hh, GATES).T)
    chunks = sequences.chunks(steps, 4 * g_h.size, batch)
    products = sequences.Products(rows, 4 * hidden, chunks[0], [(slice(None), slice(None))] if any(needs[3:7]) else [],
                                  sequences.reorder(weight_ih, GATES).T if needs[0] else None)
    for chunk in chunks:
        g_out = sequences.gradient_of(g_y, chunk, saved.outside)
        go_back(saved, chunk, products.columns_of(chunk), g_h, g_c, g_out, to_h)
        products.add(chunk)
    return products.x_gradient(reverse), g_h.T, g_c.T, *_weight_gradients(products.sums, hidden, needs[3:7]), None


def backward(xp: Any, g: Any, saved: Saved, weight_ih: Any, weight_hh: Any, reverse: Any, needs: Any) -> tuple:
    return through_time(_go_back, g, saved, weight_ih, weight_hh, reverse, needs)


def _weight_gradients(sums: list, hidden: int, needs: tuple) -> list:
    """Of W_ih, W_hh and the biases, from the gradient of what `pack_weights` packed."""
    if not sums:
        return [None] * 4
    packed = sequences.reorder(sums[0], BACK)
    parts = packed[:, hidden + 1:], packed[:, :hidden], packed[:, hidden], packed[:, hidden]
    return [np.array(part, order="C") if need else None for part, need in zip(parts, needs)]


register("lstm", "numpy", forward, backward, sequences.supports, infer=infer)
