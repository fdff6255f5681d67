"""What LSTM and GRU on CuPy share: the products over all steps, and how one kernel goes through a whole sequence.

A small layer's recurrent weights stay in the registers of a block, which goes through one row of the batch by itself:
one launch for all steps. Those of a wider one fit into a cluster of blocks, where the GPU has such. Any other takes a
product and a kernel for each step.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import cupy

from portable_nn.kernels.cupy import products
from portable_nn.kernels.cupy.columns import sum_columns
from portable_nn.kernels.cupy.launch import as_int64, contiguous, empty, is_floating, kernel

#: Hidden units whose weights fit into a block's registers, by dtype. Every GPU has 65,536 of them a block, and 255 a
#: thread at most; four threads a unit, with H weights each (of two registers for float64), leave 72 to compute with.
MOST_HIDDEN = {"f": 96, "e": 96, "E": 96, "d": 64}
#: The same for a cluster of eight blocks, of 32 units each; and how many clusters of so many blocks run at once on an
#: H100, whose multiprocessors come in groups of 16 or 18.
MOST_OF_CLUSTER, CLUSTERS = 256, {4: 28, 8: 12}
#: PRECISION of the kernels: exact (0); or what the tensor cores of clusters multiply h in, TF32 (1) or bfloat16 (2),
#: and quick functions. By dtype, and by what products of float32 may compute in: float16 has no more bits than TF32.
PRECISIONS = {("d", None): 0, ("f", None): 0, ("f", "tf32"): 1, ("f", "float16"): 1, ("f", "bfloat16"): 2,
              ("e", None): 1, ("E", None): 2}
#: From which width on rounding float32 arrays to half precision takes less time than the product gains over TF32, at
#: 3 TB/s, 350 and 700 TFLOP/s.
_WIDE = 700
#: By it, rows times blocks up to which clusters should be quicker than a product for each step: measured on an H100
#: for float32, computed for the others.
MOST_WORK = (2048, 4096, 4096)
_CLUSTER_LAUNCH = 120  # cudaDevAttrClusterLaunch, which CuPy has no name for


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
    def rounding(self) -> int:
        """PRECISION of the kernels."""
        return PRECISIONS[self.char, self.precision if self.char == "f" else None]

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
    gates = _product(flat, weight_ih.T, precision, features).reshape(batch, steps, weight_ih.shape[0])
    return Sequence(flat, gates, contiguous(weight_hh), given(bias_ih), given(bias_hh), given(lengths), int(reverse),
                    precision)


def per_element(file: str, name: str, char: str, count: int, arrays: tuple, sizes: tuple) -> None:
    """Launch a kernel with a thread for each of `count` elements."""
    kernel(file, name, char)((-(-count // 256),), (256,), (*arrays, count, *sizes))


@functools.cache
def has_clusters(device: int) -> bool:
    """Whether blocks of a GPU can share their memory in clusters: from Hopper on."""
    return cupy.cuda.runtime.deviceGetAttribute(_CLUSTER_LAUNCH, device) == 1


def blocks_of(hidden: int) -> int:
    """Blocks of a cluster."""
    return 4 if hidden <= 128 else 8


def way_of(sequence: Sequence) -> str | None:
    """What goes through the whole sequence in one launch: "sequence", a "cluster" of blocks, or None."""
    batch, _, hidden = sequence.sizes
    if hidden <= MOST_HIDDEN[sequence.char]:
        return "sequence"
    if (sequence.char != "d" and hidden <= MOST_OF_CLUSTER and has_clusters(cupy.cuda.runtime.getDevice())
            and batch * blocks_of(hidden) <= MOST_WORK[sequence.rounding]):
        return "cluster"
    return None


def take_all(operation: str, way: str, suffix: str, sequence: Sequence, arrays: tuple) -> None:
    """Launch a kernel that goes through the whole sequence: a block for each row, four threads a unit, or a cluster of
    blocks, each for 32 units, for every 8 rows, or 16 where more clusters would not run at once."""
    batch, steps, hidden = sequence.sizes
    name = f"{operation}_{way}{suffix}"
    if way == "sequence":
        threads = -(-4 * hidden // 32) * 32
        defines = (f"HIDDEN={hidden}", f"THREADS={threads}", *(["PRECISION=1"] if sequence.rounding else []))
        kernel(operation, name, sequence.char, *defines)((batch,), (threads,), (*arrays, steps, sequence.reverse))
    else:
        blocks = blocks_of(hidden)
        passes = 2 if batch > 8 * CLUSTERS[blocks] else 1
        defines = (f"HIDDEN={hidden}", f"CLUSTER={blocks}", f"PASSES={passes}", f"PRECISION={sequence.rounding}")
        grid = (-(-batch // (8 * passes)) * blocks,)
        function = kernel(f"{operation}_cluster", name, sequence.char, *defines)
        function(grid, (256,), (*arrays, batch, steps, sequence.reverse))


def _product(a: Any, b: Any, precision: str | None, width: int) -> Any:
    """A product of float32 that may be rounded: to TF32 in place of half precision unless arrays are as wide as that
    takes to gain from their conversion."""
    return products.product(a, b, "tf32" if precision is not None and width < _WIDE else precision)


def multiply_step(sequence: Sequence, h: Any, weight: Any) -> Any:
    """One step's product. Where float32 may be rounded it is to TF32: half precision would need conversions."""
    return products.product(h, weight, None if sequence.precision is None else "tf32")


def bias_sums(sequence: Sequence) -> Any:
    """Room for the gradients of each row's sums over all steps, (B, 4, H), of which those of the biases are made."""
    batch, _, hidden = sequence.sizes
    return empty((batch, 4, hidden), real_of(sequence.char))


def weight_gradients(sequence: Sequence, g_gates: Any, g_hidden: Any, h_before: Any, g_sums: Any, weight_ih: Any,
                     needs: tuple) -> tuple:
    """Gradients of x, W_ih, W_hh and both biases, from those of x W_ihᵀ and h W_hhᵀ, and from `bias_sums`; `needs` in
    this order."""
    (batch, steps, hidden), width = sequence.sizes, g_gates.shape[2]
    from_x, from_h = (g.reshape(batch * steps, width) for g in (g_gates, g_hidden))
    precision = sequence.precision
    features = weight_ih.shape[1]
    g_x = _product(from_x, weight_ih, precision, features).reshape(batch, steps, features) if needs[0] else None
    g_ih = _product(from_x.T, sequence.x, precision, features) if needs[1] else None
    g_hh = _product(from_h.T, h_before.reshape(batch * steps, hidden), precision, hidden) if needs[2] else None
    biases = [empty((width,), sequence.x.dtype) if need else None for need in needs[3:]]
    if any(needs[3:]):
        sum_columns(kernel("recurrent", "sum_biases", sequence.char), (g_sums, hidden),
                    tuple([0 if bias is None else bias for bias in biases]), batch, width, sequence.char)
    return g_x, g_ih, g_hh, *biases


def supports(x: Any, *arrays: Any, reverse: bool) -> bool:
    """Whether there is something to compute; the last arrays are W_ih, W_hh, two biases and the lengths."""
    return is_floating(x) and x.size > 0 and arrays[-4].size > 0 and all(
        a is None or a.dtype == x.dtype for a in arrays[:-1])
