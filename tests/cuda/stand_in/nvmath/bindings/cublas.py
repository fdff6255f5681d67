"""cublasGemmEx and cublasGemmStridedBatchedEx as NVIDIA documents them, over host memory."""

from __future__ import annotations

import itertools
import weakref
from typing import Any

import cupy
import numpy as np
from cupy._device import current_device, record

from nvmath.bindings._memory import InvalidValue, check, check_types, multiply, scalar, view

_numbers = itertools.count(1)
#: Handle -> its device, stream and workspace.
handles: dict[int, dict[str, Any]] = {}
#: Workspace -> the stream whose products work in it.
_users: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
#: Every product since tests last emptied it: (transa, transb, m, n, k, count, compute type).
products: list[tuple] = []


def create() -> int:
    if cupy.cuda.get_current_stream().is_capturing():
        raise InvalidValue("a handle made while a stream is captured: its memory would be allocated then")
    number = next(_numbers)
    handles[number] = {"device": current_device(), "stream": 0, "workspace": (0, 0)}
    return number


def destroy(handle: int) -> None:
    del handles[handle]


def set_stream(handle: int, stream_id: int) -> None:
    handles[handle].update(stream=stream_id, workspace=(0, 0))


def set_workspace(handle: int, workspace: int, workspace_size_in_bytes: int) -> None:
    piece, stream = check(workspace, workspace_size_in_bytes), handles[handle]["stream"]
    if _users.setdefault(piece, stream) != stream:
        raise InvalidValue("a workspace of two streams, whose products may run at once")
    handles[handle]["workspace"] = workspace, workspace_size_in_bytes


def gemm_ex(handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, a: int, atype: int, lda: int,
            b: int, btype: int, ldb: int, beta: int, c: int, ctype: int, ldc: int, compute_type: int,
            algo: int) -> None:
    gemm_strided_batched_ex(handle, transa, transb, m, n, k, alpha, a, atype, lda, 0, b, btype, ldb, 0, beta, c, ctype,
                            ldc, 0, 1, compute_type, algo)


def gemm_strided_batched_ex(handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, a: int,
                            atype: int, lda: int, stride_a: int, b: int, btype: int, ldb: int, stride_b: int, beta: int,
                            c: int, ctype: int, ldc: int, stride_c: int, batch_count: int, compute_type: int,
                            algo: int) -> None:
    state, stream = handles[handle], cupy.cuda.get_current_stream()
    if state["device"] != current_device() or state["stream"] != stream.ptr:
        raise InvalidValue(f"a handle of {state}, on device {current_device()} and stream {stream.ptr}")
    workspace = state["workspace"]
    if stream.is_capturing() and not workspace[1]:
        raise InvalidValue("a product recorded without a workspace: cuBLAS would allocate one")
    if batch_count > 1 and abs(stride_c) < ldc * (n - 1) + m:
        raise InvalidValue("results that overlap")
    check_types(atype, btype, ctype, compute_type)
    products.append((transa, transb, m, n, k, batch_count, compute_type))
    factors = scalar(alpha, compute_type), scalar(beta, compute_type)  # host memory, read when called

    def at(pointer: int, kind: int, stride: int, i: int) -> int:
        return pointer + i * stride * {0: 4, 1: 8, 2: 2, 14: 2}[kind]

    def compute() -> None:
        if workspace[1]:
            check(*workspace)  # a graph works in it for as long as it is launched
        for i in range(batch_count):
            left = view(at(a, atype, stride_a, i), atype, *((k, m) if transa else (m, k)), lda)
            right = view(at(b, btype, stride_b, i), btype, *((n, k) if transb else (k, n)), ldb)
            out = view(at(c, ctype, stride_c, i), ctype, m, n, ldc)
            made = multiply(left.T if transa else left, right.T if transb else right, compute_type)
            made = made * made.dtype.type(factors[0])
            with np.errstate(all="ignore"):
                out[...] = (made if factors[1] == 0 else made + factors[1] * out.astype(made.dtype)).astype(out.dtype)

    compute()
    kept = [check(pointer, 1) for pointer in (a, b, c)]  # as the pool of a captured step keeps them
    record(lambda: kept and compute(), "product")
