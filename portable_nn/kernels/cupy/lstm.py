"""lstm on CuPy: one launch for all steps, or a product and a launch for each step of a wide layer."""

from __future__ import annotations

from typing import Any

from portable_nn.kernels.cupy.launch import empty
from portable_nn.kernels.cupy.recurrent import (
    Sequence,
    bias_sums,
    given,
    multiply_step,
    per_element,
    prepare,
    real_of,
    state,
    supports,
    take_all,
    way_of,
    weight_gradients,
)
from portable_nn.kernels.registry import register


def _steps(sequence: Sequence, h: Any, c: Any, y: Any, kept: tuple) -> tuple:
    """A product and a kernel for each step; the last states."""
    (batch, steps, hidden), weight = sequence.sizes, sequence.weight_hh.T
    h_now, c_now, c_last = state(sequence), state(sequence, real=True), state(sequence)
    if h is None:
        h_now.fill(0)
    else:
        h_now[...] = h
    c_kept, h_before = kept
    for k in range(steps):
        product = multiply_step(sequence, h_now, weight)
        per_element("lstm", "lstm_step", sequence.char, batch * hidden,
                    (sequence.gates, product, sequence.bias_ih, sequence.bias_hh, given(c), sequence.lengths, y, c_kept,
                     c_now, h_before, h_now, c_last), (hidden, steps, k, sequence.reverse))
    return h_now, c_last


def _run(sequence: Sequence, h: Any, c: Any, keep: bool) -> tuple:
    """(y, last h, last c), and what is kept: c after each step and h before it."""
    (batch, steps, hidden), dtype = sequence.sizes, sequence.x.dtype
    shape = (batch, steps, hidden)
    y = empty(shape, dtype)
    kept = (empty(shape, real_of(sequence.char)), empty(shape, dtype)) if keep else (0, 0)
    way = way_of(sequence)
    if way is None:
        return (y, *_steps(sequence, h, c, y, kept)), kept
    last = state(sequence), state(sequence)
    take_all("lstm", way, "", sequence,
             (sequence.gates, sequence.weight_hh, sequence.bias_ih, sequence.bias_hh, given(h), given(c),
              sequence.lengths, y, *kept, *last))
    return (y, *last), kept


def forward(x: Any, h: Any, c: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, lengths: Any, *,
            reverse: bool) -> tuple:
    sequence = prepare(x, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse)
    out, kept = _run(sequence, h, c, True)
    return out, (sequence, c, *kept)


def infer(x: Any, h: Any, c: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, lengths: Any, *,
          reverse: bool) -> tuple:
    return _run(prepare(x, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse), h, c, False)[0]


def _steps_back(sequence: Sequence, c: Any, c_kept: Any, g: tuple, sums: Any) -> tuple:
    """A kernel and a product for each step, from the last to the first; the gradients of the first states."""
    batch, steps, hidden = sequence.sizes
    held, g_c, g_c_first = state(sequence, real=True), state(sequence, real=True), state(sequence)
    d, through = empty((batch, 4 * hidden), sequence.x.dtype), g[1]
    for k in range(steps - 1, -1, -1):
        per_element("lstm", "lstm_step_back", sequence.char, batch * hidden,
                    (sequence.gates, d, c, sequence.lengths, c_kept, g[0], through, g[2], held, g_c, g_c_first, sums),
                    (hidden, steps, k, sequence.reverse))
        through = multiply_step(sequence, d, sequence.weight_hh)
    if type(sequence.lengths) is not int:  # rows that are over pass their gradient by the product
        g_h = state(sequence)
        per_element("recurrent", "add_held", sequence.char, batch * hidden, (through, held, g_h), ())
        return g_h, g_c_first
    return through, g_c_first


def backward(xp: Any, g: Any, saved: Any, weight_ih: Any, needs: Any) -> tuple:
    sequence, c, c_kept, h_before = saved
    g, c, sums, way = tuple([given(x) for x in g]), given(c), bias_sums(sequence), way_of(sequence)
    if way is not None:
        first = state(sequence), state(sequence)
        take_all("lstm", way, "_back", sequence,
                 (sequence.gates, sequence.weight_hh, c, sequence.lengths, c_kept, *g, *first, sums))
    else:
        first = _steps_back(sequence, c, c_kept, g, sums)
    g_x, *weights = weight_gradients(sequence, sequence.gates, sequence.gates, h_before, sums, weight_ih,
                                     (needs[0], *needs[3:7]))
    return g_x, *first, *weights, None


register("lstm", "cupy", forward, backward, supports, infer=infer)
