"""What the recurrent kernels share: how sequences, states and weights lie in memory.

Time comes first and the batch last, so that each gate of a step is one contiguous block, and h, 1 and x of a step are
the rows of one matrix: a single product with [W_hh | b | W_ih] gives all gates. For the gradients, steps are taken in
chunks: what does not depend on later steps is made for a whole chunk at once, and its weight gradients by one product.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.kernels.numpy.blocks import is_floating
from portable_nn.kernels.numpy.buffers import empty, scratch

#: Elements of gates in a chunk, and columns that its products should have at least.
CHUNK, COLUMNS = 1 << 17, 512


def supports(x: Any, *arrays: Any, reverse: bool) -> bool:
    """Whether there is something to compute; the last arrays are W_ih, W_hh, two biases and the lengths."""
    return is_floating(x) and x.size > 0 and arrays[-4].size > 0


def pack_input(x: np.ndarray, h: np.ndarray | None, hidden: int, outside: np.ndarray | None,
               reverse: bool) -> np.ndarray:
    """(T + 1, H + 1 + I, B): h, ones and x of each step in the order they are taken; h but for the first is not set."""
    batch, steps, features = x.shape
    rows = empty((steps + 1, hidden + 1 + features, batch), x.dtype)
    rows[:, hidden] = 1
    rows[0, :hidden] = 0 if h is None else h.T
    inputs = rows[:steps, hidden + 1:]
    inputs[...] = in_order(x, reverse)
    if outside is not None:
        np.copyto(inputs, 0, where=outside[:, None, :])
    return rows


def in_order(x: np.ndarray, reverse: bool) -> np.ndarray:
    """A view of (B, T, D) as (T, D, B), the steps in the order they are taken."""
    return x.transpose(1, 2, 0)[::-1 if reverse else 1]


def put_out(h: np.ndarray, outside: np.ndarray | None, reverse: bool, *, copy: bool) -> np.ndarray:
    """(B, T, H) from the states (T, H, B) after each step, zeros outside; a view, unless it has to be a copy."""
    y = h[::-1 if reverse else 1].transpose(2, 0, 1)
    if outside is None:
        return np.ascontiguousarray(y) if copy else y
    beyond = outside[::-1 if reverse else 1].T
    return np.where(beyond[..., None], h.dtype.type(0), y)


def pack_weights(gates: tuple[int, ...], weight_ih: np.ndarray, weight_hh: np.ndarray,
                 *biases: np.ndarray | None) -> np.ndarray:
    """[W_hh | b | W_ih] with the gates in this order, (G H, H + 1 + I)."""
    width, hidden = weight_hh.shape
    packed = np.empty((len(gates) * hidden, hidden + 1 + weight_ih.shape[1]), dtype=weight_hh.dtype)
    given = [b for b in biases if b is not None]
    bias = sum(given[1:], given[0]) if given else np.zeros(width, dtype=weight_hh.dtype)
    for k, gate in enumerate(gates):
        rows, block = slice(gate * hidden, (gate + 1) * hidden), packed[k * hidden:(k + 1) * hidden]
        block[:, :hidden], block[:, hidden + 1:] = weight_hh[rows], weight_ih[rows]
        block[:, hidden] = bias[rows]
    return packed


def reorder(rows: np.ndarray, gates: tuple[int, ...]) -> np.ndarray:
    """A copy of the gates' blocks of rows, in this order."""
    blocks = np.split(rows, len(gates))
    return np.concatenate([blocks[gate] for gate in gates])


def invalid_steps(lengths: np.ndarray | None, steps: int, reverse: bool) -> np.ndarray | None:
    """Which steps, in the order they are taken, are beyond each row's length: booleans (T, B), or None if none is."""
    if lengths is None or lengths.min() == steps:
        return None
    outside = np.arange(steps)[:, None] >= lengths
    return outside[::-1] if reverse else outside


def chunks(steps: int, per_step: int, batch: int) -> list[slice]:
    """The steps from last to first, some at a time."""
    count = min(steps, max(CHUNK // per_step, -(-COLUMNS // batch), 1))
    return [slice(max(stop - count, 0), stop) for stop in range(steps, 0, -count)]


def gradient_of(y: np.ndarray | None, chunk: slice, outside: np.ndarray | None) -> np.ndarray | None:
    """A chunk (n, H, B) of y's gradient, zeros outside; None where it is zero, as where the last step alone is used."""
    if y is None or not y[chunk].any():
        return None
    if outside is None:
        return np.ascontiguousarray(y[chunk])
    return np.where(outside[chunk][:, None, :], y.dtype.type(0), y[chunk])


class Products:
    """What the gradients of all steps' gates add up to: the gradients of the weights and of x.

    Parameters
    ----------
    rows : array (T + 1, K, B)
        As packed.
    parts : list of (slice of gate rows, slice of packed rows)
        Each gives one matrix of weight gradients in `sums`. Empty if none are needed.
    to_x : array (I, gate rows), or None
        What turns the gradients of the last gate rows into those of x.
    """

    def __init__(self, rows: np.ndarray, width: int, largest: slice, parts: list[tuple[slice, slice]],
                 to_x: np.ndarray | None) -> None:
        (stop, count, batch), steps = rows.shape, largest.stop - largest.start
        self.rows, self.parts, self.to_x = rows, parts, to_x
        self.columns = scratch(steps * width * batch, rows.dtype)
        self.inputs = scratch(steps * count * batch, rows.dtype)
        self.width = width
        self.sums = [np.zeros((len(range(width)[gates]), len(range(count)[packed])), rows.dtype)
                     for gates, packed in parts]
        self.g_x = None if to_x is None else empty((stop - 1, to_x.shape[0], batch), rows.dtype)

    def columns_of(self, chunk: slice) -> np.ndarray:
        """Where a chunk's gate gradients are to be written: (width, n, B)."""
        steps, batch = chunk.stop - chunk.start, self.rows.shape[2]
        return self.columns[:self.width * steps * batch].reshape(self.width, steps, batch)

    def add(self, chunk: slice) -> None:
        """Take up a chunk's gate gradients."""
        columns = self.columns_of(chunk).reshape(self.width, -1)
        if self.parts:
            inputs = _as_columns(self.rows[chunk], self.inputs)
            for known, (gates, packed) in zip(self.sums, self.parts):
                np.add(known, np.dot(columns[gates], inputs[packed].T, scratch(known.shape, known.dtype)), known)
        if self.to_x is not None and self.g_x is not None:
            flat = np.dot(self.to_x, columns[-self.to_x.shape[1]:])
            self.g_x[chunk] = flat.reshape(flat.shape[0], -1, self.rows.shape[2]).transpose(1, 0, 2)

    def x_gradient(self, reverse: bool) -> np.ndarray | None:
        """(B, T, I)."""
        return None if self.g_x is None else self.g_x[::-1 if reverse else 1].transpose(2, 0, 1)


def _as_columns(block: np.ndarray, out: np.ndarray) -> np.ndarray:
    """(n, D, B) as a contiguous matrix (D, n B), in the memory of `out`."""
    steps, rows, batch = block.shape
    matrix = out[:block.size].reshape(rows, steps, batch)
    np.copyto(matrix, block.transpose(1, 0, 2))
    return matrix.reshape(rows, steps * batch)
