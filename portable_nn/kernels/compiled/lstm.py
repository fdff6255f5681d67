"""Whole-sequence LSTM: each gate is read and written once, between two products; where these are small, all steps in
one compiled loop. Layouts and what is saved are those of `kernels.numpy.lstm`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.kernels.compiled import sequences
from portable_nn.kernels.compiled.elementary import sigmoid, tanh
from portable_nn.kernels.compiled.jit import (
    Count,
    Cube,
    Mask,
    Matrix,
    OutCube,
    OutMatrix,
    OutVector,
    Vector,
    compiled,
    inline,
)
from portable_nn.kernels.numpy import lstm
from portable_nn.kernels.numpy.buffers import scratch
from portable_nn.kernels.numpy.sequences import pack_weights
from portable_nn.kernels.registry import register


@inline
def _cell(gates: OutVector, c_new: OutVector, tanh_c: OutVector, h_new: OutVector) -> None:
    """Gates from what the product gave, and the states after a step."""
    n = h_new.size
    o, i, f, g, c = gates[:n], gates[n:2 * n], gates[2 * n:3 * n], gates[3 * n:4 * n], gates[4 * n:]
    for j in range(n):
        o[j], i[j], f[j] = sigmoid(o[j]), sigmoid(i[j]), sigmoid(f[j])
        g[j] = tanh(g[j])
        c_new[j] = f[j] * c[j] + i[j] * g[j]
        tanh_c[j] = tanh(c_new[j])
        h_new[j] = o[j] * tanh_c[j]


@compiled
def _take_steps(gates: OutCube, tanh_c: OutCube, rows: OutCube, weight: Matrix, outside: Mask, first: Count,
                last: Count) -> None:
    """Steps from the first to before the last; no weights: the products are there."""
    hidden, batch = tanh_c.shape[1], rows.shape[2]
    for step in range(first, last):
        now, after = gates[step % gates.shape[0]], gates[(step + 1) % gates.shape[0]]
        if weight.size > 0:
            np.dot(weight, rows[step], now[:4 * hidden])
        c_new, h_new, h = after[4 * hidden:], rows[step + 1, :hidden], rows[step, :hidden]
        _cell(now.reshape(-1), c_new.reshape(-1), tanh_c[step % tanh_c.shape[0]].reshape(-1), h_new.reshape(-1))
        if outside.size > 0:
            for b in range(batch):
                if outside[step * batch + b]:
                    h_new[:, b] = h[:, b]
                    c_new[:, b] = now[4 * hidden:, b]


@inline
def _cell_gradient(d: OutVector, g_h: Vector, g_c: OutVector, gates: Vector, tanh_c: Vector) -> None:
    """Gradients of the gates' sums, and of c before the step, from those of h and c after it."""
    n = g_h.size
    o, i, f, g, c = gates[:n], gates[n:2 * n], gates[2 * n:3 * n], gates[3 * n:4 * n], gates[4 * n:]
    d_o, d_i, d_f, d_g = d[:n], d[n:2 * n], d[2 * n:3 * n], d[3 * n:]
    for j in range(n):
        h = o[j] * tanh_c[j]
        through = g_c[j] + g_h[j] * (o[j] - h * tanh_c[j])
        d_o[j] = g_h[j] * (h - h * o[j])
        d_i[j] = through * g[j] * (i[j] - i[j] * i[j])
        d_f[j] = through * c[j] * (f[j] - f[j] * f[j])
        d_g[j] = through * (i[j] - i[j] * g[j] * g[j])
        g_c[j] = through * f[j]


@compiled
def _go_back(columns: OutCube, d: OutMatrix, g_h: OutMatrix, g_c: OutMatrix, held: OutCube, gates: Cube, tanh_c: Cube,
             g_out: Cube, to_h: Matrix, outside: Mask, first: Count, last: Count) -> None:
    """Steps of a chunk from before the last to the first; `d` and `held` are room for one step's gate gradients, and
    for the states' gradients where it is beyond its row's end. No weights: the product and g_h += held[0] are left out.
    """
    for k in range(last - 1, first - 1, -1):
        if outside.size > 0:
            held[0], held[1] = 0.0, g_c
            for b in range(g_h.shape[1]):
                if outside[k * g_h.shape[1] + b]:
                    held[0, :, b] = g_h[:, b]
        if g_out.size > 0:
            g_h += g_out[k]
        _cell_gradient(d.reshape(-1), g_h.reshape(-1), g_c.reshape(-1), gates[k].reshape(-1), tanh_c[k].reshape(-1))
        if outside.size > 0:
            for b in range(g_h.shape[1]):
                if outside[k * g_h.shape[1] + b]:
                    d[:, b], g_c[:, b] = 0.0, held[1, :, b]
        columns[:, k] = d
        if to_h.size > 0:
            np.dot(to_h, d, g_h)
            if outside.size > 0:
                g_h += held[0]


def _run(x: Any, h: Any, c: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, lengths: Any,
         reverse: bool, keep: bool) -> lstm.Saved:
    (batch, steps, _), hidden = x.shape, weight_hh.shape[1]
    saved = lstm.prepare(x, h, c, hidden, lengths, reverse, keep)
    rows, gates, tanh_c, outside = saved
    weight, beyond = pack_weights(lstm.GATES, weight_ih, weight_hh, bias_ih, bias_hh), sequences.mask(outside)
    if sequences.is_small(weight, batch):
        _take_steps(gates, tanh_c, rows, weight, beyond, 0, steps)
    else:
        for step in range(steps):
            np.dot(weight, rows[step], out=gates[step % len(gates), :4 * hidden])
            _take_steps(gates, tanh_c, rows, weight[:0], beyond, step, step + 1)
    return saved


def forward(x: Any, h: Any, c: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, lengths: Any, *,
            reverse: bool) -> tuple:
    saved = _run(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse, True)
    return lstm.results(saved, reverse, True), saved


def infer(x: Any, h: Any, c: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, lengths: Any, *,
          reverse: bool) -> tuple:
    saved = _run(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse, False)
    return lstm.results(saved, reverse, False)


def _chunk_back(saved: lstm.Saved, chunk: slice, columns: np.ndarray, g_h: np.ndarray, g_c: np.ndarray,
                g_out: np.ndarray | None, to_h: np.ndarray) -> None:
    (hidden, batch), steps = g_h.shape, columns.shape[1]
    d, outside = scratch((4 * hidden, batch), g_h.dtype), None if saved.outside is None else saved.outside[chunk]
    held = np.empty((0 if outside is None else 2, hidden, batch), dtype=g_h.dtype)
    known = (columns, d, g_h, g_c, held, saved.gates[chunk], saved.tanh_c[chunk],
             sequences.gradient(g_out, hidden, batch))
    beyond = sequences.mask(outside)
    if sequences.is_small(to_h, batch):
        _go_back(*known, to_h, beyond, 0, steps)
        return
    for k in range(steps - 1, -1, -1):
        _go_back(*known, to_h[:0], beyond, k, k + 1)
        np.dot(to_h, d, out=g_h)
        if outside is not None:
            np.add(g_h, held[0], out=g_h)


def backward(xp: Any, g: Any, saved: lstm.Saved, weight_ih: Any, weight_hh: Any, reverse: Any, needs: Any) -> tuple:
    return lstm.through_time(_chunk_back, g, saved, weight_ih, weight_hh, reverse, needs)


register("lstm", "numpy", forward, backward, sequences.supports, infer=infer)
