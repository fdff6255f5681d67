"""Whole-sequence GRU: each gate is read and written once, between two products; where these are small, all steps in one
compiled loop. Layouts and what is saved are those of `kernels.numpy.gru`.
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
from portable_nn.kernels.numpy import gru
from portable_nn.kernels.numpy.buffers import scratch
from portable_nn.kernels.registry import register


@inline
def _cell(gates: OutVector, h_new: OutVector, h: Vector, a_n: Vector) -> None:
    """Gates from what the product gave, and the state after a step."""
    m = h_new.size
    b_n, r, z, n = gates[:m], gates[m:2 * m], gates[2 * m:3 * m], gates[3 * m:]
    for j in range(m):
        r[j], z[j] = sigmoid(r[j]), sigmoid(z[j])
        n[j] = tanh(a_n[j] + r[j] * b_n[j])
        h_new[j] = n[j] + z[j] * (h[j] - n[j])


@compiled
def _take_steps(gates: OutCube, rows: OutCube, weight: Matrix, a_n: Cube, outside: Mask, first: Count,
                last: Count) -> None:
    """Steps from the first to before the last; no weights: the products are there."""
    hidden, batch = a_n.shape[1:]
    for step in range(first, last):
        now, h, h_new = gates[step % gates.shape[0]], rows[step, :hidden], rows[step + 1, :hidden]
        if weight.size > 0:
            np.dot(weight, rows[step], now[:3 * hidden])
        _cell(now.reshape(-1), h_new.reshape(-1), h.reshape(-1), a_n[step].reshape(-1))
        if outside.size > 0:
            for b in range(batch):
                if outside[step * batch + b]:
                    h_new[:, b] = h[:, b]


@inline
def _cell_gradient(d: OutVector, through: OutVector, g_h: Vector, gates: Vector, h: Vector) -> None:
    """Gradients of the gates' sums, and of h before the step but for what comes through W_hh, from that of h after."""
    m = g_h.size
    b_n, r, z, n = gates[:m], gates[m:2 * m], gates[2 * m:3 * m], gates[3 * m:]
    d_b, d_r, d_z, d_a = d[:m], d[m:2 * m], d[2 * m:3 * m], d[3 * m:]
    for j in range(m):
        kept = g_h[j] * z[j]
        a = (g_h[j] - kept) * (1.0 - n[j] * n[j])
        d_b[j] = a * r[j]
        d_r[j] = a * b_n[j] * (r[j] - r[j] * r[j])
        d_z[j] = (h[j] - n[j]) * (kept - kept * z[j])
        d_a[j] = a
        through[j] = kept


@compiled
def _go_back(columns: OutCube, d: OutMatrix, through: OutMatrix, g_h: OutMatrix, gates: Cube, rows: Cube, g_out: Cube,
             to_h: Matrix, outside: Mask, first: Count, last: Count) -> None:
    """Steps of a chunk from before the last to the first; `d` and `through` are room for one step. No weights: the
    product and g_h += through are left out."""
    hidden, batch = g_h.shape
    for k in range(last - 1, first - 1, -1):
        if g_out.size > 0:
            g_h += g_out[k]
        _cell_gradient(d.reshape(-1), through.reshape(-1), g_h.reshape(-1), gates[k].reshape(-1),
                       rows[k, :hidden].reshape(-1))
        if outside.size > 0:
            for b in range(batch):
                if outside[k * batch + b]:
                    d[:, b], through[:, b] = 0.0, g_h[:, b]
        columns[:, k] = d
        if to_h.size > 0:
            np.dot(to_h, d[:3 * hidden], g_h)
            g_h += through


def _run(x: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, lengths: Any, reverse: bool,
         keep: bool) -> gru.Saved:
    saved, weight, a_n = gru.prepare(x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse, keep)
    (rows, gates, outside), (steps, hidden, batch) = saved, a_n.shape
    beyond = sequences.mask(outside)
    if sequences.is_small(weight, batch):
        _take_steps(gates, rows, weight, a_n, beyond, 0, steps)
    else:
        for step in range(steps):
            np.dot(weight, rows[step], out=gates[step % len(gates), :3 * hidden])
            _take_steps(gates, rows, weight[:0], a_n, beyond, step, step + 1)
    return saved


def forward(x: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, lengths: Any, *,
            reverse: bool) -> tuple:
    saved = _run(x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse, True)
    return gru.results(saved, weight_hh.shape[1], reverse, True), saved


def infer(x: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, lengths: Any, *,
          reverse: bool) -> tuple:
    saved = _run(x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse, False)
    return gru.results(saved, weight_hh.shape[1], reverse, False)


def _chunk_back(saved: gru.Saved, chunk: slice, columns: np.ndarray, g_h: np.ndarray, g_out: np.ndarray | None,
                to_h: np.ndarray) -> None:
    (hidden, batch), steps = g_h.shape, columns.shape[1]
    d, through = scratch((4 * hidden, batch), g_h.dtype), np.empty_like(g_h)
    known = (columns, d, through, g_h, saved.gates[chunk], saved.rows[chunk],
             sequences.gradient(g_out, hidden, batch))
    beyond = sequences.mask(None if saved.outside is None else saved.outside[chunk])
    if sequences.is_small(to_h, batch):
        _go_back(*known, to_h, beyond, 0, steps)
        return
    for k in range(steps - 1, -1, -1):
        _go_back(*known, to_h[:0], beyond, k, k + 1)
        np.dot(to_h, d[:3 * hidden], out=g_h)
        np.add(g_h, through, out=g_h)


def backward(xp: Any, g: Any, saved: gru.Saved, weight_ih: Any, weight_hh: Any, reverse: Any, needs: Any) -> tuple:
    return gru.through_time(_chunk_back, g, saved, weight_ih, weight_hh, reverse, needs)


register("gru", "numpy", forward, backward, sequences.supports, infer=infer)
