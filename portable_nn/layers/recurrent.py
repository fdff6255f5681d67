"""LSTM and GRU over sequences: several layers, one or both directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from portable_nn import functional
from portable_nn.backend.errors import ArgumentError, ShapeError
from portable_nn.backend.namespace import array_namespace, is_array
from portable_nn.backend.random import keep_threshold
from portable_nn.layers.initializers import torch_uniform
from portable_nn.layers.module import Module
from portable_nn.layers.parameter import Parameter


class _Recurrent(Module):
    """What LSTM and GRU share: parameters by PyTorch's names, layers over layers, both directions side by side."""

    _gates: int
    _run: Callable[..., tuple]

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = True, dropout: float = 0.0, bidirectional: bool = False) -> None:
        if not isinstance(num_layers, int) or num_layers < 1:
            raise ArgumentError("num_layers of 1 or more", repr(num_layers), "pass how many layers to stack")
        if not isinstance(dropout, (int, float)):
            raise ArgumentError("a dropout probability from 0 to 1", repr(dropout), "pass a number")
        if dropout:
            keep_threshold(dropout)
        self.input_size, self.hidden_size, self.num_layers, self.bias = input_size, hidden_size, num_layers, bias
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        for layer in range(num_layers):
            features = hidden_size * (1 + bidirectional) if layer else input_size
            for suffix in self._suffixes(layer):
                add_weights(self, self._gates, features, hidden_size, bias, suffix)

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][:1 + self.bidirectional]

    def _forward(self, x: Any, states: Sequence[Any], lengths: Any) -> tuple[Any, list[Any]]:
        """(output, last states); states are (layers · directions, B, H), or None."""
        if len(x.shape) != 3:
            raise ShapeError("x of shape " + ("(B, T, I)" if self.batch_first else "(T, B, I)"), f"{x.shape}",
                             "give it axes of batch and time, as with x[None, ...]")
        xp = array_namespace(x)
        y = x if self.batch_first else xp.permute_dims(x, (1, 0, 2))             # (B, T, I)
        self._check_states(states, y.shape[0])
        if lengths is not None and not is_array(lengths):
            lengths = getattr(xp, "raw", xp).asarray(lengths, dtype=xp.int32, device=x.device)
        last: list[tuple] = []
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                y = functional.dropout(y, p=self.dropout, stream=self.next_stream())
            outputs = []
            for suffix in self._suffixes(layer):
                first = [None if state is None else state[len(last), ...] for state in states]
                out, *after = type(self)._run(y, *first, *get_weights(self, suffix), lengths,
                                              reverse=suffix.endswith("reverse"))
                outputs.append(out)
                last.append(tuple(after))
            y = xp.concat(outputs, axis=-1) if self.bidirectional else outputs[0]
        y = y if self.batch_first else xp.permute_dims(y, (1, 0, 2))
        return y, [xp.stack(states, axis=0) if len(states) > 1 else xp.expand_dims(states[0], axis=0)
                   for states in zip(*last)]

    def _check_states(self, states: Sequence[Any], batch: int) -> None:
        shape = (self.num_layers * (1 + self.bidirectional), batch, self.hidden_size)
        for state in states:
            if state is not None and tuple(state.shape) != shape:
                raise ShapeError(f"initial states of shape {shape}: (num_layers · directions, B, hidden_size)",
                                 f"{tuple(state.shape)}", "stack one state for each layer and direction")

    def extra_repr(self) -> str:
        options = {"num_layers": 1, "bias": True, "batch_first": True, "dropout": 0.0, "bidirectional": False}
        changed = "".join(f", {name}={getattr(self, name)!r}" for name, default in options.items()
                          if getattr(self, name) != default)
        return f"{self.input_size}, {self.hidden_size}{changed}"


def add_weights(module: Any, gates: int, features: int, hidden_size: int, bias: bool, suffix: str) -> None:
    """Give a module the parameters of one layer in one direction."""
    if not (isinstance(features, int) and features >= 0 and isinstance(hidden_size, int) and hidden_size > 0):
        raise ArgumentError("an input_size of 0 or more and a hidden_size of 1 or more",
                            f"{features!r} and {hidden_size!r}", "pass two integers")
    initializer = torch_uniform(hidden_size)
    width = gates * hidden_size
    setattr(module, "weight_ih" + suffix, Parameter((width, features), initializer))
    setattr(module, "weight_hh" + suffix, Parameter((width, hidden_size), initializer))
    for name in ("bias_ih", "bias_hh"):
        setattr(module, name + suffix, Parameter((width,), initializer) if bias else None)


def get_weights(module: Any, suffix: str) -> tuple[Any, Any, Any, Any]:
    """What `add_weights` gave, as forward sees it."""
    weight_ih, weight_hh = getattr(module, "weight_ih" + suffix), getattr(module, "weight_hh" + suffix)
    return weight_ih, weight_hh, getattr(module, "bias_ih" + suffix), getattr(module, "bias_hh" + suffix)


class LSTM(_Recurrent):
    """Long short-term memory: i, f, o = σ(·), g = tanh(·) of x W_ihᵀ + b_ih + h W_hhᵀ + b_hh;
    c ← f c + i g; h ← o tanh(c).

    Shape
    -----
    x (B, T, input_size), (h, c) each (L, B, hidden_size) -> y (B, T, D · hidden_size), (h, c), where D is 2 if
    bidirectional, else 1, and L = num_layers · D; x and y are (T, B, …) with `batch_first=False`.

    Parameters
    ----------
    input_size, hidden_size : int
    num_layers : int
        Each further layer reads the outputs of the one before.
    bias : bool
        Whether to have b_ih and b_hh.
    batch_first : bool
        False for PyTorch's layout, time before batch.
    dropout : float
        The share of elements dropped between layers, in training mode.
    bidirectional : bool
        Whether each layer also reads from the end to the beginning; outputs lie side by side.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0 : Parameter (4 hidden_size, input_size), (4 hidden_size, hidden_size)
        The gates i, f, g, o by rows, drawn uniformly from ±1/√hidden_size, as are the biases; for later layers _l1, …,
        for the other direction _l0_reverse, …
    bias_ih_l0, bias_hh_l0 : Parameter (4 hidden_size,), or None

    References
    ----------
    S. Hochreiter and J. Schmidhuber, "Long short-term memory", 1997; as `torch.nn.LSTM`.

    Examples
    --------
    >>> import numpy as np
    >>> y, (h, c) = LSTM(3, 4)(np.ones((2, 5, 3), dtype=np.float32), lengths=[5, 2])
    >>> y.shape, h.shape
    ((2, 5, 4), (1, 2, 4))
    """

    _gates, _run = 4, functional.lstm

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, tuple[Any, Any]]:
        """`state` is (h, c) or None for zeros; `lengths` the steps of each row, integers (B,), or None for all."""
        if state is not None and not (isinstance(state, (tuple, list)) and len(state) == 2):
            raise ArgumentError("an initial state (h, c)", type(state).__name__, "pass a pair of arrays, or None")
        y, (h, c) = self._forward(x, (None, None) if state is None else state, lengths)
        return y, (h, c)


class GRU(_Recurrent):
    """Gated recurrent units: r, z = σ(·) of x W_ihᵀ + b_ih + h W_hhᵀ + b_hh;
    n = tanh(x W_inᵀ + b_in + r (h W_hnᵀ + b_hn)); h ← (1 - z) n + z h.

    Shape
    -----
    x (B, T, input_size), h (L, B, hidden_size) -> y (B, T, D · hidden_size), h; letters and layouts as in `LSTM`.

    Parameters
    ----------
    As in `LSTM`.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0 : Parameter (3 hidden_size, input_size), (3 hidden_size, hidden_size)
        The gates r, z, n by rows; names and values as in `LSTM`.
    bias_ih_l0, bias_hh_l0 : Parameter (3 hidden_size,), or None

    References
    ----------
    K. Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine translation",
    2014; as `torch.nn.GRU`.

    Examples
    --------
    >>> import numpy as np
    >>> y, h = GRU(3, 4, bidirectional=True)(np.ones((2, 5, 3), dtype=np.float32))
    >>> y.shape, h.shape
    ((2, 5, 8), (2, 2, 4))
    """

    _gates, _run = 3, functional.gru

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        """`state` is h or None for zeros; `lengths` the steps of each row, integers (B,), or None for all."""
        if state is not None and not is_array(state):
            raise ArgumentError("one initial state h", type(state).__name__, "pass an array, or None")
        y, (h,) = self._forward(x, (state,), lengths)
        return y, h
