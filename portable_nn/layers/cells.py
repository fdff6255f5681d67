"""LSTM and GRU for one step; and gates in the order of others brought into ours."""

from __future__ import annotations

from typing import Any

from portable_nn import functional
from portable_nn.backend.errors import ArgumentError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.layers.module import Module
from portable_nn.layers.recurrent import add_weights, get_weights


class LSTMCell(Module):
    """One step of an LSTM; formulas as in `LSTM`.

    Shape
    -----
    x (B, input_size), (h, c) each (B, hidden_size), zeros if left out -> (h, c)

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
        Whether to have b_ih and b_hh.

    Attributes
    ----------
    weight_ih, weight_hh : Parameter (4 hidden_size, input_size), (4 hidden_size, hidden_size)
        The gates i, f, g, o by rows, drawn uniformly from ±1/√hidden_size, as are the biases.
    bias_ih, bias_hh : Parameter (4 hidden_size,), or None

    Examples
    --------
    >>> import numpy as np
    >>> h, c = LSTMCell(3, 4)(np.ones((2, 3), dtype=np.float32))
    >>> h.shape
    (2, 4)
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        add_weights(self, 4, input_size, hidden_size, bias, "")

    def forward(self, x: Any, state: Any = None) -> tuple[Any, Any]:
        if state is not None and not (isinstance(state, (tuple, list)) and len(state) == 2):
            raise ArgumentError("an initial state (h, c)", type(state).__name__, "pass a pair of arrays, or None")
        h, c = (None, None) if state is None else state
        _, h, c = functional.lstm(_one_step(x), h, c, *get_weights(self, ""), None, reverse=False)
        return h, c

    def extra_repr(self) -> str:
        return _describe(self)


class GRUCell(Module):
    """One step of a GRU; formulas as in `GRU`.

    Shape
    -----
    x (B, input_size), h (B, hidden_size), zeros if left out -> h

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
        Whether to have b_ih and b_hh.

    Attributes
    ----------
    weight_ih, weight_hh : Parameter (3 hidden_size, input_size), (3 hidden_size, hidden_size)
        The gates r, z, n by rows, drawn uniformly from ±1/√hidden_size, as are the biases.
    bias_ih, bias_hh : Parameter (3 hidden_size,), or None

    Examples
    --------
    >>> import numpy as np
    >>> GRUCell(3, 4)(np.ones((2, 3), dtype=np.float32)).shape
    (2, 4)
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        add_weights(self, 3, input_size, hidden_size, bias, "")

    def forward(self, x: Any, state: Any = None) -> Any:
        return functional.gru(_one_step(x), state, *get_weights(self, ""), None, reverse=False)[1]

    def extra_repr(self) -> str:
        return _describe(self)


def _one_step(x: Any) -> Any:
    if len(x.shape) != 2:
        raise ShapeError("x of shape (B, I)", f"{x.shape}", "give it an axis of batch, as with x[None, ...]")
    return array_namespace(x).expand_dims(x, axis=1)                             # (B, 1, I)


def _describe(cell: Any) -> str:
    return f"{cell.input_size}, {cell.hidden_size}{'' if cell.bias else ', bias=False'}"


def reorder_gates(stacked: Any, order: str = "fico") -> Any:
    """LSTM weights or biases whose gates are stacked in another order, brought into ours: i, f, g, o.

    Parameters
    ----------
    stacked : array of shape (4 H, ...)
    order : str
        The four gates as they are stacked, in any order; "c", for candidate, is another name of "g". Tutorials often
        have f, i, c, o; Keras has i, f, c, o, which is ours.

    Returns
    -------
    array of the same shape

    Raises
    ------
    ArgumentError, ShapeError
        The order is not of these four; the first axis is not of four gates.

    Examples
    --------
    >>> import numpy as np
    >>> reorder_gates(np.asarray(["f", "i", "c", "o"]))
    array(['i', 'f', 'c', 'o'], dtype='<U1')
    """
    names = order.replace("c", "g")
    if sorted(names) != sorted("ifgo"):
        raise ArgumentError("the gates i, f, c (or g) and o in some order", repr(order), 'pass "fico", for example')
    if not stacked.shape or stacked.shape[0] % 4:
        raise ShapeError("four gates of one size, stacked by rows: shape (4 H, ...)", f"{stacked.shape}",
                         "concatenate the gates' weights along their first axis")
    size = stacked.shape[0] // 4
    blocks = [stacked[k * size:(k + 1) * size, ...] for k in map(names.index, "ifgo")]
    return array_namespace(stacked).concat(blocks, axis=0)


def from_joint_weights(weight: Any, bias: Any, order: str = "fico") -> dict[str, Any]:
    """The state dict of an `LSTMCell` from tutorial weights over [h, x], one matrix for both.

    Parameters
    ----------
    weight : array of shape (4 H, H + I)
        What multiplies the old h and x, put together in this order.
    bias : array of shape (4 H,) or (4 H, 1)
    order : str
        Of the gates, as in `reorder_gates`.

    Returns
    -------
    dict
        weight_ih, weight_hh, bias_ih and bias_hh, which is zeros. Add "_l0" to the names for an `LSTM`.

    Raises
    ------
    ArgumentError, ShapeError
        As `reorder_gates`; the bias does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> cell = LSTMCell(3, 2)
    >>> cell.load_state_dict(from_joint_weights(np.ones((8, 5)), np.zeros((8, 1))))
    """
    weight = reorder_gates(weight, order)
    hidden = weight.shape[0] // 4
    if len(weight.shape) != 2 or weight.shape[1] < hidden or tuple(bias.shape) not in ((4 * hidden,), (4 * hidden, 1)):
        raise ShapeError("weight of shape (4 H, H + I) and bias of shape (4 H,)", f"{weight.shape} and {bias.shape}",
                         "stack the gates by rows; transpose weights that multiply from the right")
    xp = array_namespace(weight, bias)
    bias = reorder_gates(xp.reshape(bias, (4 * hidden,)), order)
    return {"weight_ih": weight[:, hidden:], "weight_hh": weight[:, :hidden], "bias_ih": bias,
            "bias_hh": xp.zeros_like(bias)}
