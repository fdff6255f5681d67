"""One recurrent layer in one direction, over a whole sequence: the loop over time, forward and backward.

What a cell does in a step is a pair of functions, given to the loop as a `Cell`. With a = x Wᵀ_ih + b_ih, made for all
steps by one product, and b = h Wᵀ_hh + b_hh:

    step(xp, a, b, *states) -> (new states, kept)
    step_backward(xp, kept, *g_states) -> (g_a, g_b, gradients of the states that pass by b)

The first state is h, which is also what the layer puts out. Rows whose length is over keep their states.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from portable_nn.backend.namespace import array_namespace
from portable_nn.functional.checks import as_index
from portable_nn.functional.products import product


class Cell(NamedTuple):
    """A step and its gradient; see above. `kept[-1]` is h before the step."""

    step: Callable[..., tuple]
    step_backward: Callable[..., tuple]


class Weights(NamedTuple):
    """weight_ih (G H, I), weight_hh (G H, H) and the biases (G H,) or None, for G gates."""

    ih: Any
    hh: Any
    bias_ih: Any
    bias_hh: Any


def scan(cell: Cell, x: Any, states: Sequence[Any], weights: Weights, lengths: Any,
         reverse: bool) -> tuple[tuple, tuple]:
    """((y, *last states), saved for `scan_backward`); x is (B, T, I), states (B, H), None for zeros."""
    xp = array_namespace(x, *states, *weights, lengths)
    (batch, steps, _), hidden = x.shape, weights.hh.shape[1]
    zeros = xp.zeros((batch, hidden), dtype=x.dtype, device=x.device)
    states = tuple([zeros if state is None else state for state in states])
    valid = None if lengths is None else valid_steps(xp, lengths, steps)         # (B, T, 1)
    x = x if valid is None else xp.where(valid, x, xp.zeros_like(x))  # whatever padding holds, it counts for nothing
    flat = xp.reshape(x, (batch * steps, x.shape[2]))
    a = xp.reshape(_affine(xp, flat, weights.ih, weights.bias_ih), (batch, steps, weights.ih.shape[0]))
    outputs: list[Any] = [None] * steps
    kept: list[tuple] = [()] * steps
    for t in _order(steps, reverse):
        new, kept[t] = cell.step(xp, a[:, t, :], _affine(xp, states[0], weights.hh, weights.bias_hh), *states)
        outputs[t] = new[0]
        if valid is not None:
            outputs[t] = xp.where(valid[:, t, :], new[0], zeros)
            new = tuple([xp.where(valid[:, t, :], after, before) for after, before in zip(new, states)])
        states = new
    if not steps:  # nothing is left of these, but all weights take part in it
        outputs = [xp.expand_dims(_affine(xp, states[0], weights.hh, weights.bias_hh), axis=1) + a]
    y = xp.stack(outputs, axis=1) if steps else outputs[0][..., :hidden]         # (B, T, H)
    return (y, *states), (flat, valid, kept)


def scan_backward(xp: Any, cell: Cell, g: Sequence[Any], saved: tuple, shape: tuple[int, ...], weights: Weights,
                  reverse: bool, needs_x: bool, needs: Weights) -> tuple[Any, list[Any], Weights]:
    """Gradients of x, of the first states and of the weights, of which only those that are needed are made."""
    (flat, valid, kept), (batch, steps, _) = saved, shape
    gates, hidden = weights.hh.shape
    zeros = xp.zeros((batch, hidden), dtype=flat.dtype, device=flat.device)
    g_y, g_states = g[0], [zeros if x is None else x for x in g[1:]]
    rows_a, rows_b = ([xp.zeros((batch, gates), dtype=flat.dtype, device=flat.device)] * steps for _ in range(2))
    for t in _order(steps, not reverse):
        into = g_states if g_y is None else [g_states[0] + g_y[:, t, :], *g_states[1:]]
        g_a, g_b, (g_h, *others) = cell.step_backward(xp, kept[t], *into)
        if valid is not None:
            same = g_a is g_b
            g_a = xp.where(valid[:, t, :], g_a, xp.zeros_like(g_a))
            g_b = g_a if same else xp.where(valid[:, t, :], g_b, xp.zeros_like(g_b))
        g_h = xp.matmul(g_b, weights.hh) if g_h is None else g_h + xp.matmul(g_b, weights.hh)
        past, g_states = g_states, [g_h, *others]
        if valid is not None:
            g_states = [xp.where(valid[:, t, :], after, before) for after, before in zip(g_states, past)]
        rows_a[t], rows_b[t] = g_a, g_b
    if not steps:
        return xp.reshape(flat, shape), g_states, Weights(*(None if w is None else xp.zeros_like(w) for w in weights))
    a, b, h = (_flatten(xp, rows) for rows in (rows_a, rows_b, [k[-1] for k in kept]))
    gradients = Weights(xp.matmul(xp.matrix_transpose(a), flat) if needs.ih else None,
                        xp.matmul(xp.matrix_transpose(b), h) if needs.hh else None,
                        xp.sum(a, axis=0) if needs.bias_ih else None,
                        xp.sum(b, axis=0) if needs.bias_hh else None)
    return xp.reshape(xp.matmul(a, weights.ih), shape) if needs_x else None, g_states, gradients


def _flatten(xp: Any, rows: list[Any]) -> Any:
    """Arrays (B, D), one for each step, as one (B T, D)."""
    return xp.reshape(xp.stack(rows, axis=1), (rows[0].shape[0] * len(rows), rows[0].shape[1]))


def valid_steps(xp: Any, lengths: Any, steps: int) -> Any:
    """Which steps are within each row's length: booleans of shape (B, T, 1)."""
    lengths = as_index(xp, lengths)
    time = xp.arange(steps, dtype=lengths.dtype, device=lengths.device)
    return xp.expand_dims(time < xp.expand_dims(lengths, axis=-1), axis=-1)


def _order(steps: int, reverse: bool) -> range:
    return range(steps - 1, -1, -1) if reverse else range(steps)


def _affine(xp: Any, x: Any, weight: Any, bias: Any) -> Any:
    y = product(x, xp.matrix_transpose(weight))
    return y if bias is None else y + bias


def _sigmoid(xp: Any, x: Any) -> Any:
    return 0.5 * xp.tanh(0.5 * x) + 0.5


def _parts(x: Any, count: int) -> list[Any]:
    """The gates, side by side in the last axis."""
    width = x.shape[-1] // count
    return [x[..., k * width:(k + 1) * width] for k in range(count)]


def _lstm_step(xp, a, b, h, c):
    i, f, g, o = _parts(a + b, 4)
    i, f, g, o = _sigmoid(xp, i), _sigmoid(xp, f), xp.tanh(g), _sigmoid(xp, o)
    new = f * c + i * g
    tanh_c = xp.tanh(new)
    return (o * tanh_c, new), (i, f, g, o, tanh_c, c, h)


def _lstm_step_backward(xp, kept, g_h, g_c):
    i, f, g, o, tanh_c, c, _ = kept
    g_c = g_c + g_h * o * (1 - tanh_c * tanh_c)
    gates = xp.concat([g_c * g * i * (1 - i), g_c * c * f * (1 - f), g_c * i * (1 - g * g), g_h * tanh_c * o * (1 - o)],
                      axis=-1)
    return gates, gates, (None, g_c * f)


def _gru_step(xp, a, b, h):
    (a_r, a_z, a_n), (b_r, b_z, b_n) = _parts(a, 3), _parts(b, 3)
    r, z = _sigmoid(xp, a_r + b_r), _sigmoid(xp, a_z + b_z)
    n = xp.tanh(a_n + r * b_n)
    return (n + z * (h - n),), (r, z, n, b_n, h)


def _gru_step_backward(xp, kept, g_h):
    r, z, n, b_n, h = kept
    g_n = g_h * (1 - z) * (1 - n * n)
    both = [g_n * b_n * r * (1 - r), g_h * (h - n) * z * (1 - z)]
    return xp.concat([*both, g_n], axis=-1), xp.concat([*both, g_n * r], axis=-1), (g_h * z,)


lstm_cell = Cell(_lstm_step, _lstm_step_backward)
gru_cell = Cell(_gru_step, _gru_step_backward)
