"""The rows of the recurrent layers; see tests/specs.py. The formulas go row by row and step by step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit

from portable_nn import layers
from portable_nn.backend.errors import ArgumentError, DataError, DTypeError, ShapeError
from portable_nn.backend.namespace import array_namespace
from tests.specs import Bad, Case, Spec


class Joined(layers.Module):
    """All results of a recurrent layer in one array: one random cotangent then reaches each of them."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def forward(self, x: Any, lengths: Any = None, *state: Any) -> Any:
        arguments = [x, (state if len(state) == 2 else state[0]) if state else None]
        out = self.inner(*arguments) if lengths is None else self.inner(*arguments, lengths)
        flat = [*out[:-1], *(out[-1] if isinstance(out[-1], tuple) else out[-1:])]
        xp = array_namespace(*flat)
        return xp.concat([xp.reshape(y, (math.prod(y.shape),)) for y in flat])


def lstm_step(w: Callable[[str], Any], x: Any, h: Any, c: Any) -> tuple:
    i, f, g, o = np.split(w("weight_ih") @ x + w("bias_ih") + w("weight_hh") @ h + w("bias_hh"), 4)
    c = expit(f) * c + expit(i) * np.tanh(g)
    return expit(o) * np.tanh(c), c


def gru_step(w: Callable[[str], Any], x: Any, h: Any) -> tuple:
    a_r, a_z, a_n = np.split(w("weight_ih") @ x + w("bias_ih"), 3)
    b_r, b_z, b_n = np.split(w("weight_hh") @ h + w("bias_hh"), 3)
    z = expit(a_z + b_z)
    return ((1 - z) * np.tanh(a_n + expit(a_r + b_r) * b_n) + z * h,)


def recurrent(step: Callable, num_layers: int = 1, directions: int = 1, batch_first: bool = True) -> Callable[..., Any]:
    """The joined results of a stack of layers: y, then the last states."""
    def formula(state: dict, x: Any, lengths: Any = None, *first: Any) -> Any:
        y = x if batch_first else x.swapaxes(0, 1)
        (batch, steps, _), hidden = y.shape, state["inner.weight_hh_l0"].shape[1]
        lengths = [steps] * batch if lengths is None else lengths
        count = 2 if step is lstm_step else 1
        first = first or tuple(np.zeros((num_layers * directions, batch, hidden)) for _ in range(count))
        last = [np.array(s) for s in first]
        for layer in range(num_layers):
            outputs = np.zeros((batch, steps, directions * hidden))
            for d in range(directions):
                k = layer * directions + d
                w = lambda name, s=f"_l{layer}{'_reverse' * d}": state.get(f"inner.{name}{s}", 0.0)  # noqa: E731
                for b in range(batch):
                    states = tuple(s[k, b] for s in first)
                    for t in range(lengths[b])[::-1 if d else 1]:
                        states = step(w, y[b, t], *states)
                        outputs[b, t, d * hidden:(d + 1) * hidden] = states[0]
                    for s, value in zip(last, states):
                        s[k, b] = value
            y = outputs
        return np.concatenate([z.reshape(-1) for z in (y if batch_first else y.swapaxes(0, 1), *last)])
    return formula


def cell(step: Callable) -> Callable[..., Any]:
    def formula(state: dict, x: Any, _: Any = None, *first: Any) -> Any:
        prefix = "inner." if step is lstm_step else ""
        w = lambda name: state.get(prefix + name, 0.0)  # noqa: E731
        hidden = w("weight_hh").shape[1]
        first = first or (np.zeros((len(x), hidden)),) * (2 if step is lstm_step else 1)
        rows = [step(w, row, *(s[b] for s in first)) for b, row in enumerate(x)]
        return np.concatenate([np.stack(s).reshape(-1) for s in zip(*rows)]) if step is lstm_step else np.stack(
            [row[0] for row in rows])
    return formula


def inputs(x: tuple[int, ...], lengths: Any = None, *states: tuple[int, ...]) -> Callable[[np.random.Generator], tuple]:
    def make(rng: np.random.Generator) -> tuple:
        arrays = rng.standard_normal(x), *(rng.standard_normal(s) for s in states)
        if lengths is None and not states:
            return arrays
        return arrays[0], None if lengths is None else np.asarray(lengths), *arrays[1:]
    return make


def sequence_spec(kind: type, step: Callable, states: int) -> Spec:
    def case(name: str, make: Callable[[], Any], data: Callable, *stack: Any, gradient: bool = True) -> Case:
        return Case(name, lambda: Joined(make()), data, recurrent(step, *stack), gradient)

    three = ((1, 4, 3),) * states
    return Spec(kind, [
        case("plain", lambda: kind(2, 3), inputs((3, 4, 2))),
        case("states", lambda: kind(2, 3), inputs((4, 3, 2), None, *three)),
        case("lengths", lambda: kind(2, 3), inputs((4, 3, 2), [3, 0, 1, 2], *three)),
        case("both directions", lambda: kind(2, 3, bidirectional=True), inputs((4, 3, 2), [0, 3, 1, 2]), 1, 2),
        case("layers", lambda: kind(2, 3, num_layers=3, bias=False), inputs((2, 3, 2)), 3),
        case("all", lambda: kind(2, 3, 2, batch_first=False, bidirectional=True),
             inputs((4, 2, 2), [4, 1], *((4, 2, 3),) * states), 2, 2, False),
        case("one token", lambda: kind(2, 1), inputs((1, 1, 2))),
        case("no rows", lambda: kind(2, 3), inputs((0, 4, 2)), gradient=False),
        case("no steps", lambda: kind(2, 3, 2), inputs((2, 0, 2)), 2, gradient=False),
    ], [
        Bad("features", lambda a: kind(2, 3)(a(np.ones((2, 4, 5)))), ShapeError, "input_size=5"),
        Bad("axes", lambda a: kind(2, 3)(a(np.ones((4, 2)))), ShapeError, "x[None, ...]"),
        Bad("integers", lambda a: kind(2, 3)(a(np.ones((2, 4, 2), int))), DTypeError, "floating"),
        Bad("too long", lambda a: kind(2, 3)(a(np.ones((2, 4, 2))), None, a([4, 5])), DataError, "0 to 4"),
        Bad("negative", lambda a: kind(2, 3)(a(np.ones((2, 4, 2))), None, a([-1, 4])), DataError, "-1"),
        Bad("lengths", lambda a: kind(2, 3)(a(np.ones((2, 4, 2))), None, a([4])), ShapeError, "one length"),
        Bad("fractions", lambda a: kind(2, 3)(a(np.ones((2, 4, 2))), None, a([4.0, 1.0])), DTypeError, "integer"),
        Bad("state", lambda a: kind(2, 3)(a(np.ones((2, 4, 2))), 1), ArgumentError, "initial state"),
        Bad("state shape", lambda a: kind(2, 3)(a(np.ones((2, 4, 2))), _state(a, (1, 3, 3), states)), ShapeError,
            "(1, 2, 3)"),
        Bad("layers", lambda a: kind(2, 3, num_layers=0), ArgumentError, "num_layers"),
        Bad("dropout", lambda a: kind(2, 3, dropout=1.5), ArgumentError, "0 to 1"),
        Bad("sizes", lambda a: kind(2, -3), ArgumentError, "0 or more"),
    ])


def _state(asarray: Any, shape: tuple[int, ...], states: int) -> Any:
    zeros = asarray(np.zeros(shape))
    return (zeros, zeros) if states == 2 else zeros


def cell_spec(kind: type, step: Callable, states: int) -> Spec:
    make: Any = lambda **options: Joined(kind(2, 3, **options)) if states == 2 else kind(2, 3, **options)  # noqa: E731
    given = inputs((4, 2), None, *((4, 3),) * states) if states == 2 else lambda rng: (
        rng.standard_normal((4, 2)), rng.standard_normal((4, 3)))
    formula = cell(step) if states == 2 else lambda s, x, *first: cell(step)(s, x, None, *first)
    return Spec(kind, [
        Case("plain", make, inputs((4, 2)), formula),
        Case("states", make, given, formula),
        Case("no bias", lambda: make(bias=False), inputs((4, 2)), formula),
    ], [
        Bad("features", lambda a: kind(2, 3)(a(np.ones((4, 5)))), ShapeError, "input_size=5"),
        Bad("axes", lambda a: kind(2, 3)(a(np.ones(2))), ShapeError, "x[None, ...]"),
        Bad("state", lambda a: kind(2, 3)(a(np.ones((4, 2))), _state(a, (3, 3), states)), ShapeError, "(4, 3)"),
        Bad("integers", lambda a: kind(2, 3)(a(np.ones((4, 2), int))), DTypeError, "floating"),
    ])


RECURRENT = [
    sequence_spec(layers.LSTM, lstm_step, 2), sequence_spec(layers.GRU, gru_step, 1),
    cell_spec(layers.LSTMCell, lstm_step, 2), cell_spec(layers.GRUCell, gru_step, 1),
]
