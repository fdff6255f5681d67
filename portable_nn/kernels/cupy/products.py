"""matmul, tensordot and vecdot on CuPy: what the namespace of CuPy arrays has in place of CuPy's own.

They mean what the standard says. In a context of lower precision (`portable_nn.precision`) float32 arguments may be
rounded to it, and the sums are float32 as before; so is the result. What layers hand on is stored in `half_dtype()`.
"""

from __future__ import annotations

import functools
import importlib
import math
from typing import Any

import cupy

from portable_nn.backend.notices import notice
from portable_nn.backend.precision import compute_precision, emulated_precision
from portable_nn.kernels.cupy import blas, blaslt
from portable_nn.kernels.cupy.launch import contiguous, empty, kernel

#: The dtypes' characters of the precisions that arguments are converted to, and their cudaDataType.
HALVES = {"bfloat16": ("E", 14), "float16": ("e", 2)}
_UINT16, _FLOAT32 = cupy.dtype("uint16"), cupy.dtype("float32")
FLOATING = frozenset(blas.TYPES)
#: The longest inner axis of a product that is summed as well.
_SHORT = 256


def chosen_precision() -> str | None:
    """What products of float32 may compute in, in this context; where it is emulated, they get rounded arguments."""
    return None if emulated_precision() is not None else compute_precision()


def half_dtype() -> Any:
    """The dtype that operations hand on in this context: float16 or bfloat16, None where what they got decides.

    That is so in a context of half precision, unless it is emulated or products are CuPy's own.
    """
    name = chosen_precision()
    return _half_dtype(name) if name in HALVES and blas.usable() else None


@functools.cache
def _half_dtype(name: str) -> Any:
    if name == "float16":
        return cupy.dtype(name)
    try:
        return cupy.dtype(importlib.import_module("ml_dtypes").bfloat16)
    except ImportError:
        notice("activations stay float32 in a context of bfloat16, so more memory moves: pip install ml_dtypes")
        return None


def matmul(x1: Any, x2: Any, /) -> Any:
    """x1 @ x2, as the standard defines it."""
    a, b = x1.dtype.char, x2.dtype.char
    if (a not in FLOATING or b not in FLOATING or 0 in (x1.ndim, x2.ndim)
            or x1.shape[-1] != x2.shape[-1 if x2.ndim == 1 else -2]):
        return cupy.matmul(x1, x2)  # integers, complex numbers, errors
    dtype = x1.dtype
    if a != b:
        dtype, half = cupy.result_type(dtype, x2.dtype), half_dtype()
        common = half if half is not None and {a, b} == {"f", half.char} else dtype  # float32 would be rounded to half
        x1, x2 = converted(x1, common), converted(x2, common)
    if x1.ndim > 1 and x2.ndim > 1:
        return product(x1, x2, chosen_precision(), dtype)
    out = product(x1[None, :] if x1.ndim == 1 else x1, x2[:, None] if x2.ndim == 1 else x2, chosen_precision(), dtype)
    out = out[..., 0] if x2.ndim == 1 else out
    return out if x1.ndim > 1 else out[..., 0] if x2.ndim == 1 else out[..., 0, :]


def product(a: Any, b: Any, precision: str | None, dtype: Any = None) -> Any:
    """The product of arrays of one floating dtype and of two or more axes, computing float32 in `precision`.

    The result is of that dtype too; of half precision it may be float32 (`dtype`).
    """
    dtype = a.dtype if dtype is None else dtype
    if not blas.usable():
        return _cupys(a, b, dtype)
    a, b, compute, kind = _prepared(a, b, precision)
    return blas.product(a, b, dtype, compute, (kind, kind))


def _prepared(a: Any, b: Any, precision: str | None) -> tuple[Any, Any, int, int | None]:
    """The factors as they are multiplied, the compute type, and what they hold if their dtype does not say it."""
    if a.dtype.char == "d":
        return a, b, blas.FLOAT64, None
    if a.dtype.char != "f" or precision is None:
        return a, b, blas.FLOAT32, None
    if precision == "tf32":
        return a, b, blas.TF32, None
    half, kind = HALVES[precision]
    return cast(a, half), cast(b, half), blas.FLOAT32, kind


def biased_product(x: Any, weight: Any, bias: Any, relu: bool, precision: str | None) -> tuple[Any, bool]:
    """x weightᵀ of matrices, computing float32 in `precision`; and whether the bias (contiguous, or None) is in it, and
    then relu too if it is wanted."""
    if bias is not None and blas.usable() and x.size and weight.size:
        a, b, compute, kind = _prepared(x, weight, precision)
        out = blaslt.biased_product(a, b, bias, x.dtype, compute, kind, relu)
        if out is not None:
            return out, True
    return product(x, cupy.swapaxes(weight, 0, 1), precision), False


def product_and_sums(a: Any, b: Any, precision: str | None, dtype: Any) -> tuple[Any, Any] | None:
    """The product of matrices and the sums of the rows of a, as `dtype`; None where they are better computed apart.

    cublasLt sums while it multiplies, but then has one block go through all of an inner axis: a short one only.
    """
    if not 2 <= a.shape[1] <= _SHORT or not (a.size and b.size and blas.usable()):
        return None
    a, b, compute, kind = _prepared(a, b, precision)
    return blaslt.product_and_sums(a, b, dtype, compute, kind)


def _cupys(a: Any, b: Any, dtype: Any) -> Any:
    if a.dtype.char == "E":  # which CuPy cannot multiply in batches
        return cupy.matmul(a.astype("f"), b.astype("f")).astype(dtype)
    return cupy.matmul(a, b).astype(dtype, copy=False)


def converted(x: Any, dtype: Any) -> Any:
    """x in a dtype, itself if it has it; between float32 and half precision 16 bytes a thread."""
    old, new = x.dtype.char, dtype.char
    if old == new:
        return x
    if old == "f" and new in "eE":
        return cast(x, new, dtype)
    return widen(x, old) if old in "eE" and new == "f" and x.flags.c_contiguous else x.astype(dtype)


def parameters_in_half(weight: Any, bias: Any, dtype: Any) -> tuple[Any, Any]:
    """As `converted`, of two contiguous arrays, the second of which may be None, in one launch."""
    if bias is None or not weight.dtype == bias.dtype == _FLOAT32 or not weight.flags.c_contiguous or not weight.size:
        return converted(weight, dtype), None if bias is None else converted(bias, dtype)
    out = empty(weight.shape, dtype), empty(bias.shape, dtype)
    kernel("cast", "cast_both", dtype.char)((-(-weight.size // 2048),), (256,), (
        weight, out[0], weight.size, bias, out[1], bias.size))
    return out


def cast(x: Any, char: str, dtype: Any = _UINT16) -> Any:
    """float32 rounded to half precision, in the order in which it lies: as bits, or as an array of its dtype."""
    if not x.flags.c_contiguous and x.ndim > 1:
        turned = cupy.swapaxes(x, -1, -2)
        if turned.flags.c_contiguous:
            return cupy.swapaxes(cast(turned, char, dtype), -1, -2)
    x = contiguous(x)
    out = empty(x.shape, dtype)
    if x.size:
        kernel("cast", "cast", char)((-(-x.size // 2048),), (256,), (x, out, x.size))
    return out


def widen(x: Any, char: str) -> Any:
    """What `cast` made, or half precision itself, as float32; of four axes, in the order in which they lie."""
    if not x.flags.c_contiguous:
        return cupy.swapaxes(widen(cupy.swapaxes(x, 1, 2), char), 1, 2)
    out = empty(x.shape, _FLOAT32)
    if x.size:
        kernel("cast", "widen_all", char)((-(-x.size // 2048),), (256,), (x, out, x.size))
    return out


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """Σ conj(x1) x2 over an axis, as the standard defines it; half precision is summed in float32."""
    if x1.shape[axis] != x2.shape[axis]:
        raise ValueError(f"x1 and x2 must have the same size along axis {axis}, not {x1.shape[axis]} and "
                         f"{x2.shape[axis]}")
    dtype = cupy.result_type(x1.dtype, x2.dtype)
    x1, x2 = cupy.moveaxis(x1, axis, -1), cupy.moveaxis(x2, axis, -1)
    if dtype.char in "eE":
        x1, x2 = x1.astype("f"), x2.astype("f")
    x1 = cupy.conj(x1) if x1.dtype.kind == "c" else x1
    return cupy.sum(x1 * x2, axis=-1, dtype=x1.dtype if dtype.char in "eE" else dtype).astype(dtype, copy=False)


def tensordot(x1: Any, x2: Any, /, *, axes: Any = 2) -> Any:
    """Sums of products over some axes of both, as the standard defines it."""
    if isinstance(axes, int):
        pairs: Any = range(x1.ndim - axes, x1.ndim), range(axes)
    else:
        pairs = ([axes[0]], [axes[1]]) if isinstance(axes[0], int) else axes
    first, second = ([i % max(x.ndim, 1) for i in chosen] for x, chosen in zip((x1, x2), pairs))
    if [x1.shape[i] for i in first] != [x2.shape[i] for i in second]:
        raise ValueError(f"shapes {x1.shape} and {x2.shape} do not match along axes {axes}")
    free = [i for i in range(x1.ndim) if i not in first], [i for i in range(x2.ndim) if i not in second]
    rows, columns = ([x.shape[i] for i in kept] for x, kept in zip((x1, x2), free))
    size = math.prod(x1.shape[i] for i in first)
    a = cupy.transpose(x1, free[0] + first).reshape(math.prod(rows), size)
    b = cupy.transpose(x2, second + free[1]).reshape(size, math.prod(columns))
    return matmul(a, b).reshape(*rows, *columns)


def outer(x1: Any, x2: Any, /) -> Any:
    """The products of all pairs of elements of two vectors."""
    return x1[:, None] * x2[None, :]
