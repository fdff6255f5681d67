"""Whole-sequence GRU on NumPy.

Gates lie in the order b_n, r, z, a_n, where n = tanh(a_n + r b_n): the gradients of the first three are those of
W_hh's rows, those of the last three W_ih's. The rows of r and z are halved: σ(x) = 1/2 + tanh(x/2)/2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from portable_nn.kernels.numpy import sequences
from portable_nn.kernels.numpy.blocks import CONSTANTS
from portable_nn.kernels.numpy.buffers import empty, scratch
from portable_nn.kernels.registry import register

#: Of the gates r, z, n those that come first, second, … among W_hh's rows here.
GATES = (2, 0, 1)


class Saved(NamedTuple):
    """`rows` (T + 1, H + 1 + I, B) as packed; `gates` (T, 4 H, B): b_n, r, z, n."""

    rows: np.ndarray
    gates: np.ndarray
    outside: np.ndarray | None


def prepare(x: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, lengths: Any, reverse: bool,
            keep: bool) -> tuple[Saved, np.ndarray, np.ndarray]:
    """Room for all steps, with inputs and initial state in place, for the gates of the last alone unless they are to be
    kept; the weights of b_n, r, z; and a_n of all steps, (T, H, B)."""
    (batch, steps, _), hidden = x.shape, weight_hh.shape[1]
    outside = sequences.invalid_steps(lengths, steps, reverse)
    rows = sequences.pack_input(x, h, hidden, outside, reverse)
    weight = sequences.pack_weights(GATES, weight_ih, weight_hh, bias_ih, bias_hh)
    weight[:hidden, hidden + 1:] = 0
    weight[:hidden, hidden] = 0 if bias_hh is None else bias_hh[2 * hidden:]
    a_n = np.matmul(weight_ih[2 * hidden:], rows[:-1, hidden + 1:])
    if bias_ih is not None:
        np.add(a_n, bias_ih[2 * hidden:, None], out=a_n)
    gates = empty((steps if keep else 1, 4 * hidden, batch), x.dtype)
    return Saved(rows, gates, outside), weight, a_n


def _take_steps(saved: Saved, weight: np.ndarray, a_n: np.ndarray) -> None:
    rows, gates, outside = saved
    hidden, half = a_n.shape[1], CONSTANTS[a_n.dtype.char].half
    weight[hidden:] *= 0.5
    for step in range(len(a_n)):
        now, h_old, h_new = gates[step % len(gates)], rows[step, :hidden], rows[step + 1, :hidden]
        z, sigmoids, n = now[:3 * hidden], now[hidden:3 * hidden], now[3 * hidden:]
        np.dot(weight, rows[step], out=z)
        np.tanh(sigmoids, out=sigmoids)
        np.multiply(sigmoids, half, out=sigmoids)
        np.add(sigmoids, half, out=sigmoids)
        np.multiply(now[:hidden], now[hidden:2 * hidden], out=n)
        np.add(n, a_n[step], out=n)
        np.tanh(n, out=n)
        np.subtract(h_old, n, out=h_new)
        np.multiply(h_new, now[2 * hidden:3 * hidden], out=h_new)
        np.add(h_new, n, out=h_new)
        if outside is not None and outside[step].any():
            np.copyto(h_new, h_old, where=outside[step])


def results(saved: Saved, hidden: int, reverse: bool, keep: bool) -> tuple:
    """y and the last h."""
    y = sequences.put_out(saved.rows[1:, :hidden], saved.outside, reverse, copy=not keep)
    return y, np.array(saved.rows[-1, :hidden].T, order="C")


def forward(x: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, lengths: Any, *,
            reverse: bool) -> tuple:
    saved, weight, a_n = prepare(x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse, True)
    _take_steps(saved, weight, a_n)
    return results(saved, weight_hh.shape[1], reverse, True), saved


def infer(x: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, lengths: Any, *,
          reverse: bool) -> tuple:
    saved, weight, a_n = prepare(x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse, False)
    _take_steps(saved, weight, a_n)
    return results(saved, weight_hh.shape[1], reverse, False)


def _slopes(saved: Saved, chunk: slice, d: np.ndarray) -> np.ndarray:
    """The gradients of b_n, r, z and a_n for g_h = 1, into d (n, 4 H, B); and z (n, H, B), what h keeps of g_h."""
    hidden, one = d.shape[1] // 4, CONSTANTS[d.dtype.char].one
    b_n, r, z, n = (saved.gates[chunk, k * hidden:(k + 1) * hidden] for k in range(4))
    d_b, d_r, d_z, d_a = (d[:, k * hidden:(k + 1) * hidden] for k in range(4))
    np.multiply(n, n, out=d_a)
    np.subtract(one, d_a, out=d_a)
    np.subtract(one, z, out=d_z)
    np.multiply(d_a, d_z, out=d_a)                                       # (1 - z) (1 - n²)
    np.multiply(d_z, z, out=d_z)
    np.subtract(saved.rows[chunk, :hidden], n, out=d_b)
    np.multiply(d_z, d_b, out=d_z)                                       # (h - n) z (1 - z)
    np.multiply(d_a, r, out=d_b)
    np.subtract(one, r, out=d_r)
    np.multiply(d_r, d_b, out=d_r)
    np.multiply(d_r, b_n, out=d_r)                                       # d_a b_n r (1 - r)
    if saved.outside is not None:  # there, nothing reaches the gates, and h passes unchanged
        outside = saved.outside[chunk][:, None, :]
        np.copyto(d, 0, where=outside)
        np.copyto(z, 1, where=outside)
    return z


def _go_back(saved: Saved, chunk: slice, columns: np.ndarray, g_h: np.ndarray, g_out: np.ndarray | None,
             to_h: np.ndarray) -> None:
    """Gate gradients of a chunk's steps into columns (4 H, n, B), and g_h from after the last to before the first."""
    hidden, batch = g_h.shape
    through, d = np.empty_like(g_h), scratch((columns.shape[1], 4 * hidden, batch), g_h.dtype)
    z, gates = _slopes(saved, chunk, d), d.reshape(-1, 4, hidden, batch)
    for k in range(len(d) - 1, -1, -1):
        if g_out is not None:
            np.add(g_h, g_out[k], out=g_h)
        np.multiply(gates[k], g_h, out=gates[k])
        np.multiply(g_h, z[k], out=through)
        np.dot(to_h, d[k, :3 * hidden], out=g_h)
        np.add(g_h, through, out=g_h)
    columns[...] = d.transpose(1, 0, 2)


def through_time(go_back: Callable[..., None], g: Any, saved: Saved, weight_ih: Any, weight_hh: Any, reverse: bool,
                 needs: tuple) -> tuple:
    """All gradients, in chunks of steps that `go_back` goes through as `_go_back` does."""
    rows, outside = saved.rows, saved.outside
    (steps, _, batch), hidden = saved.gates.shape, weight_hh.shape[1]
    g_y = None if g[0] is None else sequences.in_order(g[0], reverse)
    g_h = np.zeros((hidden, batch), dtype=rows.dtype) if g[1] is None else np.array(g[1].T, order="C")
    to_h = np.ascontiguousarray(sequences.reorder(weight_hh, GATES).T)
    chunks = sequences.chunks(steps, 4 * g_h.size, batch)
    parts = [(slice(3 * hidden), slice(hidden + 1)), (slice(hidden, None), slice(hidden, None))]
    products = sequences.Products(rows, 4 * hidden, chunks[0], parts if any(needs[2:6]) else [],
                                  weight_ih.T if needs[0] else None)
    for chunk in chunks:
        go_back(saved, chunk, products.columns_of(chunk), g_h, sequences.gradient_of(g_y, chunk, outside), to_h)
        products.add(chunk)
    return products.x_gradient(reverse), g_h.T, *_weight_gradients(products.sums, hidden, needs[2:6]), None


def backward(xp: Any, g: Any, saved: Saved, weight_ih: Any, weight_hh: Any, reverse: Any, needs: Any) -> tuple:
    return through_time(_go_back, g, saved, weight_ih, weight_hh, reverse, needs)


def _weight_gradients(sums: list, hidden: int, needs: tuple) -> list:
    """Of W_ih, W_hh and the biases, from the gradients of [W_hh | b] of b_n, r, z and of [b | W_ih] of r, z, a_n."""
    if not sums:
        return [None] * 4
    hh, ih = sequences.reorder(sums[0], (1, 2, 0)), sums[1]
    parts = ih[:, 1:], hh[:, :hidden], ih[:, 0], hh[:, hidden]
    return [np.array(part, order="C") if need else None for part, need in zip(parts, needs)]


register("gru", "numpy", forward, backward, sequences.supports, infer=infer)
