"""What LSTM and GRU on CuPy share: the products over all steps, and how one kernel goes through a whole sequence.

A small layer's recurrent weights stay in the registers of a block, which goes through one row of the batch by itself:
one launch for all steps. A wider one takes a product and a kernel for each step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from portable_nn.kernels.cupy import products
from portable_nn.kernels.cupy.columns import sum_columns
from portable_nn.kernels.cupy.launch import as_int64, contiguous, empty, is_floating, kernel

#: Hidden units whose weights fit into a block's registers, by dtype. Every GPU has 65,536 of them a block, and 255 a
#: thread at most; four threads a unit, with H weights each (of two registers for float64), leave 72 to compute with.
MOST_HIDDEN = {"f": 96, "e": 96, "E": 96, "d": 64}


class Sequence(NamedTuple):
    """The arguments of a layer as kernels take them.

    Attributes
    ----------
    x : array (B T, I)
        With zeros beyond each row's length.
    gates : array (B, T, G H)
        x W_ihᵀ, to be overwritten.
    bias_ih, bias_hh, lengths : array, or 0
    precision : str or None
        What products of float32 may compute in, forward and backward.
    """

    x: Any
    gates: Any
    weight_hh: Any
    bias_ih: Any
    bias_hh: Any
    lengths: Any
    reverse: int
    precision: str | None

    @property
    def char(self) -> str:
        return self.x.dtype.char

    @property
    def sizes(self) -> tuple[int, int, int]:
        """B, T, H."""
        return *self.gates.shape[:2], self.weight_hh.shape[1]


def given(x: Any) -> Any:
    """An optional array as an argument of a kernel."""
    return 0 if x is None else contiguous(x)


def state(like: Sequence, *, real: bool = False) -> Any:
    """Room for (B, H), in the layer's dtype or in what is computed in."""
    batch, _, hidden = like.sizes
    return empty((batch, hidden), real_of(like.char) if real else like.x.dtype)


def real_of(char: str) -> str:
    """What kernels compute in."""
    return "d" if char == "d" else "f"


def prepare(x: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, lengths: Any,
            reverse: bool) -> Sequence:
    """The inputs' share of all gates, by one product."""
    batch, steps, features = x.shape
    flat, precision = contiguous(x).reshape(batch * steps, features), products.chosen_precision()
    if lengths is not None:
        lengths = as_int64(lengths)
        masked = empty(flat.shape, flat.dtype)
        per_element("recurrent", "mask_steps", x.dtype.char, flat.size, (flat, lengths, masked), (steps, features))
        flat = masked
    gates = products.product(flat, weight_ih.T, precision).reshape(batch, steps, weight_ih.shape[0])
    return Sequence(flat, gates, contiguous(weight_hh), given(bias_ih), given(bias_hh), given(lengths), int(reverse),
                    precision)


def per_element(file: str, name: str, char: str, count: int, arrays: tuple, sizes: tuple) -> None:
    """Launch a kernel with a thread for each of `count` elements."""
    kernel(file, name, char)((-(-count // 256),), (256,), (*arrays, count, *sizes))


def fits(sequence: Sequence) -> bool:
    """Whether one kernel goes through the whole sequence."""
    return sequence.sizes[2] <= MOST_HIDDEN[sequence.char]


def take_all(file: str, name: str, sequence: Sequence, arrays: tuple) -> None:
    """Launch a kernel that goes through the whole sequence: a block for each row, four threads a unit."""
    batch, steps, hidden = sequence.sizes
    threads = -(-4 * hidden // 32) * 32
    function = kernel(file, name, sequence.char, f"HIDDEN={hidden}", f"THREADS={threads}")
    function((batch,), (threads,), (*arrays, steps, sequence.reverse))


def multiply_step(sequence: Sequence, h: Any, weight: Any) -> Any:
    """One step's product. Where float32 may be rounded it is to TF32: half precision would need conversions."""
    return products.product(h, weight, None if sequence.precision is None else "tf32")


def weight_gradients(sequence: Sequence, g_gates: Any, g_hidden: Any, h_before: Any, weight_ih: Any,
                     needs: tuple) -> tuple:
    """Gradients of x, W_ih, W_hh and both biases, from those of x W_ihᵀ and h W_hhᵀ; `needs` in this order."""
    (batch, steps, hidden), width = sequence.sizes, g_gates.shape[2]
    from_x, from_h = (g.reshape(batch * steps, width) for g in (g_gates, g_hidden))
    precision = sequence.precision
    g_x = products.product(from_x, weight_ih, precision).reshape(batch, steps, -1) if needs[0] else None
    g_ih = products.product(from_x.T, sequence.x, precision) if needs[1] else None
    g_hh = products.product(from_h.T, h_before.reshape(batch * steps, hidden), precision) if needs[2] else None
    biases = [empty((width,), sequence.x.dtype) if need else None for need in needs[3:]]
    if any(needs[3:]):
        sum_columns(kernel("recurrent", "sum_two", sequence.char), (from_x, from_h),
                    tuple([0 if bias is None else bias for bias in biases]), batch * steps, width, sequence.char)
    return g_x, g_ih, g_hh, *biases


def supports(x: Any, *arrays: Any, reverse: bool) -> bool:
    """Whether there is something to compute; the last arrays are W_ih, W_hh, two biases and the lengths."""
    return is_floating(x) and x.size > 0 and arrays[-4].size > 0 and all(
        a is None or a.dtype == x.dtype for a in arrays[:-1])
