"""cuBLAS through nvmath-python: products of matrices where they lie, which CUDA graphs can record.

CuPy's own calls of cuBLAS cannot be recorded (cupy issue 6290). Rows of an array lie one after the other, columns of
cuBLAS's matrices do: what is an array C = A B to us is Cᵀ = Bᵀ Aᵀ to it, so the factors change places, and a matrix
that is transposed already is passed with a flag.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import math
import sys
import threading
from contextlib import suppress
from typing import Any, NamedTuple

import cupy

from portable_nn.backend.notices import notice
from portable_nn.kernels.cupy.launch import empty
from portable_nn.kernels.cupy.workspace import PerStream

#: cudaDataType of a dtype's character: float32, float64, float16, bfloat16.
TYPES = {"f": 0, "d": 1, "e": 2, "E": 14}
FLOAT32, TF32, FLOAT64 = 68, 77, 70  # cublasComputeType_t
#: Bytes that products work in; of ours, or cuBLAS would allocate while a step is recorded.
WORKSPACE = 32 * 2**20
_INSTALL = 'pip install "nvmath-python[cu13]" (or [cu12])'
_LARGEST = 2**31 - 1
_DEFAULT = -1  # cublasGemmAlgo_t: cuBLAS chooses
#: α = 1 and β = 0 in host memory, by whether the product is computed in float64.
_SCALARS = {False: (ctypes.c_float(1), ctypes.c_float(0)), True: (ctypes.c_double(1), ctypes.c_double(0))}
_POINTERS = {wide: tuple(ctypes.addressof(x) for x in pair) for wide, pair in _SCALARS.items()}


@functools.cache
def obstacle() -> str | None:
    """What keeps products from going through nvmath-python, and what to do; None where nothing does."""
    try:
        cublas = importlib.import_module("nvmath.bindings.cublas")
        cublas.destroy(cublas.create())  # finds cuBLAS itself, which is loaded here
    except ImportError:
        return f"nvmath-python is not installed; {_INSTALL}"
    except Exception as error:  # whatever keeps cuBLAS from being loaded
        return f"nvmath-python finds no cuBLAS ({error}); {_INSTALL}"
    return None


def usable() -> bool:
    """Whether products go through here; if not, it is said once."""
    reason = obstacle()
    if reason is not None:
        notice(f"matrix products are CuPy's: no TF32, no bfloat16, no captured steps; {reason}")
    return reason is None


# Not from CuPy's pool: a captured step's would be in use here when the step is gone.
_workspaces = PerStream("workspace", lambda: cupy.cuda.Memory(WORKSPACE), 16)


class Handle:
    """A handle of cuBLAS for one device and thread, whose products are given to one stream at a time."""

    stream: int
    workspace: Any

    def __init__(self) -> None:
        self.cublas = importlib.import_module("nvmath.bindings.cublas")
        self.number = self.cublas.create()
        self._given: Any = None

    def on_current_stream(self) -> Handle:
        stream = cupy.cuda.get_current_stream()
        if stream is not self._given:
            self.stream, self.workspace = stream.ptr, _workspaces.of(stream)
            self.cublas.set_stream(self.number, self.stream)
            self.cublas.set_workspace(self.number, self.workspace.ptr, WORKSPACE)  # which set_stream takes away
            self._given = stream
        return self

    def __del__(self) -> None:
        if not sys.is_finalizing() and hasattr(self, "number"):
            with suppress(Exception):
                self.cublas.destroy(self.number)


_local = threading.local()


def handle() -> Handle:
    """This thread's handle for the current device, on the current stream."""
    handles = _local.__dict__
    device = cupy.cuda.runtime.getDevice()
    found = handles.get(device)
    if found is None:
        found = handles[device] = Handle()
    return found.on_current_stream()


class Matrices(NamedTuple):
    """Matrices (rows, columns) as cuBLAS takes them.

    Attributes
    ----------
    memory : object
        What keeps the memory alive.
    kind : int
        The cudaDataType of an element.
    transposed : bool
        Whether the columns lie in rows.
    leading : int
        Elements from one row (column, if transposed) to the next.
    stride : int
        Elements from one matrix to the next, 0 where all are the same.
    """

    memory: Any
    pointer: int
    kind: int
    transposed: bool
    leading: int
    stride: int


def layout(rows: int, columns: int, row_step: int, column_step: int) -> tuple[bool, int] | None:
    """Whether a matrix is transposed, and its leading dimension; None where cuBLAS cannot read it."""
    if column_step == 1 or columns == 1:
        leading = row_step if rows > 1 else max(columns, 1)
        if columns <= leading <= _LARGEST:
            return False, leading
    if row_step == 1 or rows == 1:
        leading = column_step if columns > 1 else max(rows, 1)
        if rows <= leading <= _LARGEST:
            return True, leading
    return None


def batch_step(lead: tuple[int, ...], steps: tuple[int, ...]) -> int | None:
    """Elements from one matrix to the next over all leading axes, if that is one number."""
    found = beyond = None
    for n, step in zip(reversed(lead), reversed(steps), strict=True):
        if n == 1:
            continue
        if found is None:
            found = step
        elif step != beyond:
            return None
        beyond = step * n
    return 0 if found is None else found


def matrices(x: Any, lead: tuple[int, ...], kind: int | None = None) -> Matrices:
    """The matrices in the last two axes of x, whose leading axes broadcast to `lead`; copied if they must be."""
    kind = TYPES[x.dtype.char] if kind is None else kind
    for array in (x, None):
        array = cupy.ascontiguousarray(x) if array is None else array
        size = array.itemsize
        steps = tuple([step // size for step in array.strides])
        found = layout(*array.shape[-2:], *steps[-2:])
        own = array.shape[:-2]
        wide = (0,) * (len(lead) - len(own)) + tuple([0 if n == 1 else step for n, step in zip(own, steps)])
        step = batch_step(lead, wide)
        if found is not None and step is not None and step >= 0:
            return Matrices(array, array.data.ptr, kind, *found, step)
    return matrices(cupy.ascontiguousarray(cupy.broadcast_to(x, (*lead, *x.shape[-2:]))), lead, kind)


def multiply(a: Matrices, b: Matrices, out: Any, shape: tuple[int, int, int, int], compute: int) -> None:
    """out = a b, for `shape` (matrices, m, k, n), none of them 0, and `out` contiguous."""
    count, m, k, n = shape
    if count > 1 and b.stride == 0 and not a.transposed and a.stride == m * a.leading:
        count, m = 1, count * m  # the rows of all the matrices are those of one
    work, (one, zero) = handle(), _POINTERS[compute == FLOAT64]
    kind = TYPES[out.dtype.char]
    suffix = "_64" if max(count, m, n, k) > _LARGEST else ""
    if count == 1:
        getattr(work.cublas, "gemm_ex" + suffix)(
            work.number, int(b.transposed), int(a.transposed), n, m, k, one, b.pointer, b.kind, b.leading, a.pointer,
            a.kind, a.leading, zero, out.data.ptr, kind, n, compute, _DEFAULT)
    else:
        getattr(work.cublas, "gemm_strided_batched_ex" + suffix)(
            work.number, int(b.transposed), int(a.transposed), n, m, k, one, b.pointer, b.kind, b.leading, b.stride,
            a.pointer, a.kind, a.leading, a.stride, zero, out.data.ptr, kind, n, m * n, count, compute, _DEFAULT)


def product(a: Any, b: Any, dtype: Any, compute: int, kinds: tuple[int | None, int | None] = (None, None)) -> Any:
    """The product of the matrices in the last two axes, whose leading axes broadcast, as an array of `dtype`.

    `kinds` are the cudaDataTypes of arrays whose dtype is not what they hold.
    """
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    lead = a.shape[:-2] if a.shape[:-2] == b.shape[:-2] else cupy.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if k == 0:
        return cupy.zeros((*lead, m, n), dtype=dtype)
    out = empty((*lead, m, n), dtype)
    if out.size:
        multiply(matrices(a, lead, kinds[0]), matrices(b, lead, kinds[1]), out, (math.prod(lead), m, k, n), compute)
    return out
