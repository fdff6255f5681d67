"""LSTM and GRU over whole sequences: one layer, one direction."""

from __future__ import annotations

from typing import Any

from portable_nn.backend.errors import DataError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.functional.checks import check_floating, check_integer, is_on_host
from portable_nn.functional.fused import fused
from portable_nn.functional.products import in_float32
from portable_nn.functional.scan import Weights, gru_cell, lstm_cell, scan, scan_backward


def _forward_lstm(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, lengths, *, reverse):
    return scan(lstm_cell, x, (h, c), Weights(weight_ih, weight_hh, bias_ih, bias_hh), lengths, reverse)


def _define_lstm(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, lengths, /, *, reverse):
    return _forward_lstm(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse=reverse)[0]


def _lstm_backward(xp, g, saved, x, weight_ih, weight_hh, bias_ih, bias_hh, reverse, needs):
    given = Weights(weight_ih, weight_hh, bias_ih, bias_hh)
    g_x, (g_h, g_c), weights = scan_backward(xp, lstm_cell, g, saved, x.shape, given, reverse, needs[0],
                                             Weights(*needs[3:7]))
    return g_x, g_h, g_c, *weights, None


def _forward_gru(x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, *, reverse):
    return scan(gru_cell, x, (h,), Weights(weight_ih, weight_hh, bias_ih, bias_hh), lengths, reverse)


def _define_gru(x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, /, *, reverse):
    return _forward_gru(x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse=reverse)[0]


def _gru_backward(xp, g, saved, x, weight_ih, weight_hh, bias_ih, bias_hh, reverse, needs):
    given = Weights(weight_ih, weight_hh, bias_ih, bias_hh)
    g_x, (g_h,), weights = scan_backward(xp, gru_cell, g, saved, x.shape, given, reverse, needs[0],
                                         Weights(*needs[2:6]))
    return g_x, g_h, *weights, None


def _check_lstm(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, lengths, *, reverse):
    _check("lstm", 4, x, (h, c), weight_ih, weight_hh, (bias_ih, bias_hh), lengths)


def _check_gru(x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, *, reverse):
    _check("gru", 3, x, (h,), weight_ih, weight_hh, (bias_ih, bias_hh), lengths)


def _check(operation, gates, x, states, weight_ih, weight_hh, biases, lengths):
    check_floating(operation, x, *states, weight_ih, weight_hh, *biases)
    if x.ndim != 3:
        raise ShapeError("x of shape (B, T, I)", f"{x.shape}", "give it axes of batch and time, as with x[None, ...]")
    if weight_hh.ndim != 2 or weight_ih.ndim != 2 or weight_ih.shape[0] != weight_hh.shape[0] or (
            weight_hh.shape[0] != gates * weight_hh.shape[1]):
        raise ShapeError(f"weight_ih of shape ({gates} H, I) and weight_hh of shape ({gates} H, H)",
                         f"{weight_ih.shape} and {weight_hh.shape}", f"stack the weights of the {gates} gates by rows")
    batch, steps, features = x.shape
    if weight_ih.shape[1] != features:
        raise ShapeError(f"x of shape (B, T, {weight_ih.shape[1]})", f"{x.shape}",
                         f"build the layer with input_size={features}")
    width, hidden = weight_hh.shape
    for bias in biases:
        if bias is not None and bias.shape != (width,):
            raise ShapeError(f"biases of shape ({width},)", f"{bias.shape}", "reshape them")
    for state in states:
        if state is not None and state.shape != (batch, hidden):
            raise ShapeError(f"initial states of shape ({batch}, {hidden})", f"{state.shape}",
                             "give each row of the batch a state of its own")
    if lengths is not None:
        _check_lengths(operation, batch, steps, lengths)


def _check_lengths(operation, batch, steps, lengths):
    check_integer(operation, "lengths", lengths)
    if lengths.shape != (batch,):
        raise ShapeError(f"one length for each row, shape ({batch},)", f"{lengths.shape}", "reshape them")
    if batch and is_on_host(lengths):
        xp = array_namespace(lengths)
        low, high = int(xp.min(lengths)), int(xp.max(lengths))
        if low < 0 or high > steps:
            raise DataError(f"lengths from 0 to {steps}, the number of steps", f"{low if low < 0 else high}",
                            "count the steps of each row that are no padding")


_lstm = fused("lstm", definition=_define_lstm, forward=_forward_lstm, backward=_lstm_backward, check=_check_lstm)
_gru = fused("gru", definition=_define_gru, forward=_forward_gru, backward=_gru_backward, check=_check_gru)


def lstm(x: Any, h: Any, c: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, lengths: Any, *,
         reverse: bool) -> tuple[Any, Any, Any]:
    """Long short-term memory over a sequence: i, f, o = σ(·), g = tanh(·) of x W_ihᵀ + b_ih + h W_hhᵀ + b_hh;
    c ← f c + i g; h ← o tanh(c).

    Parameters
    ----------
    x : floating array of shape (B, T, I)
    h, c : arrays of shape (B, H), or None for zeros
        The states before the first step.
    weight_ih, weight_hh : arrays of shape (4 H, I) and (4 H, H)
        The gates i, f, g, o, stacked by rows.
    bias_ih, bias_hh : arrays of shape (4 H,), or None
    lengths : integer array of shape (B,), or None for T
        Steps of each row, from 0 to T. What x holds beyond them counts for nothing, not even if it is NaN. On a GPU and
        under JAX they are not looked at: there those above T mean T.
    reverse : bool
        From each row's last step to its first.

    Returns
    -------
    y : array of shape (B, T, H)
        h after each step; zeros beyond a row's length.
    h, c : arrays of shape (B, H)
        The states after each row's last step; the initial ones for a row of length 0.

    Raises
    ------
    ShapeError, DTypeError, DeviceError
        Shapes do not fit; dtypes are not floating or differ, lengths are no integers; devices differ.
    DataError
        A length is out of range.

    References
    ----------
    S. Hochreiter and J. Schmidhuber, "Long short-term memory", 1997, with the forget gate of F. Gers et al., 2000;
    layouts and formulas as `torch.nn.LSTM`.
    """
    x, h, c = in_float32(x), in_float32(h), in_float32(c)
    return _lstm(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse=reverse)


def gru(x: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, lengths: Any, *,
        reverse: bool) -> tuple[Any, Any]:
    """Gated recurrent units over a sequence: r, z = σ(·) of x W_ihᵀ + b_ih + h W_hhᵀ + b_hh;
    n = tanh(x W_inᵀ + b_in + r (h W_hnᵀ + b_hn)); h ← (1 - z) n + z h.

    Parameters
    ----------
    x : floating array of shape (B, T, I)
    h : array of shape (B, H), or None for zeros
        The state before the first step.
    weight_ih, weight_hh : arrays of shape (3 H, I) and (3 H, H)
        The gates r, z, n, stacked by rows.
    bias_ih, bias_hh : arrays of shape (3 H,), or None
    lengths, reverse
        As in `lstm`, as are the errors.

    Returns
    -------
    y : array of shape (B, T, H)
        h after each step; zeros beyond a row's length.
    h : array of shape (B, H)
        The state after each row's last step; the initial one for a row of length 0.

    References
    ----------
    K. Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine translation",
    2014, with the reset gate after the product, as in `torch.nn.GRU`.
    """
    x, h = in_float32(x), in_float32(h)
    return _gru(x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse=reverse)
