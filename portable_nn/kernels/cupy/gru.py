"""gru on CuPy: one launch for all steps, or a product and a launch for each step of a wide layer."""

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
    state,
    supports,
    take_all,
    way_of,
    weight_gradients,
)
from portable_nn.kernels.registry import register


def _steps(sequence: Sequence, h: Any, y: Any, kept: tuple) -> Any:
    """A product and a kernel for each step; the last state."""
    (batch, steps, hidden), weight, h_now = sequence.sizes, sequence.weight_hh.T, state(sequence)
    if h is None:
        h_now.fill(0)
    else:
        h_now[...] = h
    for k in range(steps):
        product = multiply_step(sequence, h_now, weight)
        per_element("gru", "gru_step", sequence.char, batch * hidden,
                    (sequence.gates, product, sequence.bias_ih, sequence.bias_hh, sequence.lengths, y, *kept, h_now),
                    (hidden, steps, k, sequence.reverse))
    return h_now


def _run(sequence: Sequence, h: Any, keep: bool) -> tuple:
    """(y, last h), and what is kept: b_n of each step and h before it."""
    y = empty(sequence.sizes, sequence.x.dtype)
    kept = tuple([empty(sequence.sizes, sequence.x.dtype) if keep else 0 for _ in range(2)])
    way = way_of(sequence)
    if way is None:
        return (y, _steps(sequence, h, y, kept)), kept
    last = state(sequence)
    take_all("gru", way, "", sequence,
             (sequence.gates, sequence.weight_hh, sequence.bias_ih, sequence.bias_hh, given(h), sequence.lengths, y,
              *kept, last))
    return (y, last), kept


def forward(x: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, lengths: Any, *,
            reverse: bool) -> tuple:
    sequence = prepare(x, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse)
    out, kept = _run(sequence, h, True)
    return out, (sequence, *kept)


def infer(x: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, lengths: Any, *,
          reverse: bool) -> tuple:
    return _run(prepare(x, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse), h, False)[0]


def _steps_back(sequence: Sequence, g_hidden: Any, kept: tuple, g: tuple, sums: Any) -> Any:
    """A kernel and a product for each step, from the last to the first; the gradient of the first state."""
    batch, steps, hidden = sequence.sizes
    held, g_h = state(sequence, real=True), state(sequence)
    d, through = empty((batch, 3 * hidden), sequence.x.dtype), g[1]
    for k in range(steps - 1, -1, -1):
        per_element("gru", "gru_step_back", sequence.char, batch * hidden,
                    (sequence.gates, g_hidden, d, sequence.lengths, *kept, g[0], through, held, sums),
                    (hidden, steps, k, sequence.reverse))
        through = multiply_step(sequence, d, sequence.weight_hh)
    per_element("recurrent", "add_held", sequence.char, batch * hidden, (through, held, g_h), ())
    return g_h


def backward(xp: Any, g: Any, saved: Any, weight_ih: Any, needs: Any) -> tuple:
    sequence, *kept = saved
    g, sums = tuple([given(x) for x in g]), bias_sums(sequence)
    g_hidden = empty(sequence.gates.shape, sequence.x.dtype)
    way = way_of(sequence)
    if way is not None:
        first = state(sequence)
        take_all("gru", way, "_back", sequence,
                 (sequence.gates, g_hidden, sequence.weight_hh, sequence.lengths, *kept, *g, first, sums))
    else:
        first = _steps_back(sequence, g_hidden, tuple(kept), g, sums)
    g_x, *weights = weight_gradients(sequence, sequence.gates, g_hidden, kept[1], sums, weight_ih,
                                     (needs[0], *needs[2:6]))
    return g_x, first, *weights, None


register("gru", "cupy", forward, backward, supports, infer=infer)
