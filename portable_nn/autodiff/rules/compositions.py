"""Functions that are recorded as other functions of the standard, and so need no rules of their own."""

from __future__ import annotations

import math

from portable_nn.autodiff.rules import define_composition
from portable_nn.backend.errors import ArgumentError, GradientError, ShapeError


@define_composition
def diagonal(xp, x, *, offset=0):
    """Every (n + 1)-th element of the flattened matrices: a slice, so the gradient is written back the same way."""
    rows, columns = x.shape[-2:]
    count = max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)
    start = offset if offset >= 0 else -offset * columns
    flat = xp.reshape(x, (*x.shape[:-2], rows * columns))
    return flat[..., start:start + (count - 1) * (columns + 1) + 1:columns + 1] if count else flat[..., :0]


@define_composition
def trace(xp, x, *, offset=0, dtype=None):
    return xp.sum(diagonal(xp, x, offset=offset), axis=-1, dtype=dtype)


@define_composition
def outer(xp, x1, x2):
    if x1.ndim != 1 or x2.ndim != 1:
        raise ShapeError("two vectors", f"shapes {x1.shape} and {x2.shape}", "reshape them")
    return xp.expand_dims(x1, axis=1) * xp.expand_dims(x2, axis=0)


@define_composition
def cross(xp, x1, x2, *, axis=-1):
    if x1.shape[axis] != 3 or x2.shape[axis] != 3:
        raise ShapeError(f"vectors of 3 elements along axis {axis}", f"shapes {x1.shape} and {x2.shape}",
                         "choose another axis")
    a, b = (xp.unstack(x, axis=axis) for x in (x1, x2))
    parts = [a[i - 2] * b[i - 1] - a[i - 1] * b[i - 2] for i in range(3)]
    return xp.stack(parts, axis=axis)


@define_composition
def matrix_power(xp, x, *, n):
    if n == 0:
        return x * 0 + xp.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    base, n = (xp.linalg.inv(x), -n) if n < 0 else (x, n)
    result = None
    while n:
        if n % 2:
            result = base if result is None else xp.matmul(result, base)
        n //= 2
        base = xp.matmul(base, base) if n else base
    return result


@define_composition
def eigvalsh(xp, x):
    return xp.linalg.eigh(x)[0]


@define_composition
def svdvals(xp, x):
    return xp.linalg.svd(x, full_matrices=False)[1]


@define_composition
def matrix_norm(xp, x, *, keepdims=False, ord="fro"):
    if ord in ("fro", None):
        return xp.linalg.vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    if ord in (1, -1, math.inf, -math.inf):
        total = xp.sum(xp.abs(x), axis=-2 if abs(ord) == 1 else -1)
        norm = (xp.max if ord > 0 else xp.min)(total, axis=-1)
    elif ord in ("nuc", 2, -2):
        reduce = {"nuc": xp.sum, 2: xp.max, -2: xp.min}[ord]
        norm = reduce(svdvals(xp, x), axis=-1)
    else:
        raise ArgumentError("ord among 'fro', 'nuc', 1, 2, inf and their negatives", repr(ord), "choose one of them")
    return xp.expand_dims(norm, axis=(-2, -1)) if keepdims else norm


@define_composition
def svd(xp, x, *, full_matrices=True):
    if full_matrices and x.shape[-2] != x.shape[-1]:
        raise GradientError("svd with full_matrices=False where it is recorded", f"full matrices of shape {x.shape}",
                            "pass full_matrices=False: the other vectors are not determined by x")
    return xp.record_operation("thin_svd", lambda x: xp.raw.linalg.svd(x, full_matrices=False), ("x",), (x,), {})


@define_composition
def qr(xp, x, *, mode="reduced"):
    if x.shape[-2] < x.shape[-1] or (mode != "reduced" and x.shape[-2] != x.shape[-1]):
        raise GradientError("qr in mode 'reduced' of at least as many rows as columns, where it is recorded",
                            f"mode {mode!r}, shape {x.shape}", "transpose the matrix, or detach it")
    return xp.record_operation("thin_qr", lambda x: xp.raw.linalg.qr(x, mode="reduced"), ("x",), (x,), {})
