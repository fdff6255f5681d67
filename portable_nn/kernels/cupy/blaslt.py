"""Products through cublasLt with what saves a pass: a bias for every row, relu, or sums of a factor on the way.

A plan (layouts and cublasLt's choice of an algorithm) is made once for each shape, layout, alignment and dtype, by each
thread for each device; a captured step makes its plans in its first runs. What cublasLt finds no algorithm for, refuses
or computes otherwise than we define it is left to cuBLAS and our kernels.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections import OrderedDict
from typing import Any

import cupy
import numpy as np

from portable_nn.kernels.cupy import blas
from portable_nn.kernels.cupy.blas import _POINTERS, FLOAT64, TYPES, WORKSPACE, Matrices, matrices
from portable_nn.kernels.cupy.launch import empty

#: Plans that a thread keeps.
_PLANS = 1024
# cublasLtMatmulDescAttributes_t, cublasLtMatmulPreferenceAttributes_t and cublasLtEpilogue_t. What the bias pointer
# points to has the type of the result.
_TRANSA, _TRANSB, _EPILOGUE, _BIAS_POINTER = 3, 4, 7, 8
_WORKSPACE_BYTES, _ALIGNMENTS = 1, (5, 6, 7, 8)
_BIAS, _RELU_BIAS, _SUMS_OF_B = 4, 6, 512


class Plan:
    """One product of cublasLt, columns first: D = f(op(A) op(B) + bias), or with the sums of op(B) over its rows."""

    def __init__(self, lt: Any, handle: int, key: tuple) -> None:
        _, m, k, n, (a_kind, a_turned, a_leading), (b_kind, b_turned, b_leading), kind, compute, aligned, epilogue = key
        self.lt, self.handle, self.scalars = lt, handle, _POINTERS[compute == FLOAT64]
        self.description = lt.matmul_desc_create(compute, TYPES["d" if compute == FLOAT64 else "f"])
        for attribute, value in ((_TRANSA, np.int32(b_turned)), (_TRANSB, np.int32(a_turned)),
                                 (_EPILOGUE, np.uint32(epilogue))):
            self._set(attribute, np.asarray(value))
        self.bias = np.zeros(1, np.int64)
        self.is_tried = epilogue != _RELU_BIAS
        self.layouts = (lt.matrix_layout_create(b_kind, *((k, n) if b_turned else (n, k)), b_leading),
                        lt.matrix_layout_create(a_kind, *((m, k) if a_turned else (k, m)), a_leading),
                        lt.matrix_layout_create(kind, n, m, n))
        self.choice = self._choose(aligned)

    def _set(self, attribute: int, value: np.ndarray) -> None:
        self.lt.matmul_desc_set_attribute(self.description, attribute, value.ctypes.data, value.nbytes)

    def _choose(self, aligned: tuple[int, ...]) -> np.ndarray:
        lt, found, count = self.lt, np.zeros(1, self.lt.matmul_heuristic_result_dtype), np.zeros(1, np.int32)
        preference = lt.matmul_preference_create()
        try:
            wanted = [(_WORKSPACE_BYTES, np.asarray(WORKSPACE, np.uint64))]
            wanted += [(name, np.asarray(x, np.uint32)) for name, x in zip(_ALIGNMENTS, aligned, strict=True)]
            for name, value in wanted:
                lt.matmul_preference_set_attribute(preference, name, value.ctypes.data, value.nbytes)
            first, second, out = self.layouts
            lt.matmul_algo_get_heuristic(self.handle, self.description, first, second, out, out, preference, 1,
                                         found.ctypes.data, count.ctypes.data)
        finally:
            lt.matmul_preference_destroy(preference)
        if not count[0]:
            raise LookupError("cublasLt knows no algorithm for this product")
        return found

    def run(self, a: Matrices, b: Matrices, bias: Any, out: Any, work: blas.Handle) -> None:
        self.bias[0] = bias.data.ptr
        self._set(_BIAS_POINTER, self.bias)
        (one, zero), (first, second, result), pointer = self.scalars, self.layouts, out.data.ptr
        self.lt.matmul(self.handle, self.description, one, b.pointer, first, a.pointer, second, zero, pointer, result,
                       pointer, result, self.choice.ctypes.data, work.workspace.ptr, WORKSPACE, work.stream)

    def try_relu(self, a: Matrices, b: Matrices, out: Any, work: blas.Handle) -> bool:
        """Whether its relu of NaN is NaN; some algorithms of cublasLt make 0 of it. Waits for the device, once."""
        bias = cupy.full((out.shape[1] * out.itemsize,), 255, dtype="uint8")  # all bits set: NaN in every format
        self.run(a, b, bias, out, work)
        self.is_tried = True
        return bool(np.isnan(out[:1, :1].get().astype(np.float64)).all())

    def __del__(self) -> None:
        if sys.is_finalizing():
            return
        for layout in getattr(self, "layouts", ()):
            self.lt.matrix_layout_destroy(layout)
        if hasattr(self, "description"):
            self.lt.matmul_desc_destroy(self.description)


_local = threading.local()


def _plans() -> OrderedDict:
    if not hasattr(_local, "plans"):
        _local.plans, _local.handles = OrderedDict(), {}
    return _local.plans


def _plan(key: tuple) -> Plan | None:
    """The plan for a product, None where cublasLt has none; the one used least recently makes room."""
    plans = _plans()
    if key in plans:
        plans.move_to_end(key)
        return plans[key]
    lt, device = importlib.import_module("nvmath.bindings.cublasLt"), key[0]
    try:
        if device not in _local.handles:
            _local.handles[device] = lt.create()
        plan: Plan | None = Plan(lt, _local.handles[device], key)
    except (LookupError, lt.cuBLASLtError):
        plan = None
    plans[key] = plan
    if len(plans) > _PLANS:
        plans.popitem(last=False)
    return plan


def _alignment(*pointers: int) -> int:
    """The largest power of two up to 16 that divides the addresses."""
    return next(n for n in (16, 8, 4, 2, 1) if not any(p % n for p in pointers))


def _product(a: Any, b: Any, vector: Any, dtype: Any, compute: int, kind: int | None, epilogue: int) -> Any:
    """The product of matrices that are not empty, `vector` being added or written; None where there is no algorithm.

    `kind` is the cudaDataType of a and b where their dtype is not what they hold. The vector must begin at a multiple
    of 16 bytes: cublasLt refuses others late, when it runs.
    """
    if vector.data.ptr % 16:
        return None
    work, sizes = blas.handle(), (*a.shape, b.shape[1])
    first, second = matrices(a, (), kind), matrices(b, (), kind)
    if epilogue == _SUMS_OF_B and not first.transposed:  # as cublasLt requires of what it sums
        return None
    out = empty((a.shape[0], b.shape[1]), dtype)
    aligned = (_alignment(second.pointer), _alignment(first.pointer), *[_alignment(out.data.ptr)] * 2)
    key = (cupy.cuda.runtime.getDevice(), *sizes, (first.kind, first.transposed, first.leading),
           (second.kind, second.transposed, second.leading), TYPES[out.dtype.char], compute, aligned, epilogue)
    plan = _plan(key)
    if plan is None:
        return None
    try:
        if not plan.is_tried:
            if cupy.cuda.get_current_stream().is_capturing():
                return None
            if not plan.try_relu(first, second, out, work):
                _plans()[key] = None
                return None
        plan.run(first, second, vector, out, work)
    except plan.lt.cuBLASLtError:  # which its heuristics did not see coming
        _plans()[key] = None
        return None
    return out


def biased_product(x: Any, weight: Any, bias: Any, dtype: Any, compute: int, kind: int | None, relu: bool) -> Any:
    """x weightᵀ + bias, or its relu, or None; bias in the dtype of the result. See `_product`."""
    return _product(x, cupy.swapaxes(weight, 0, 1), bias, dtype, compute, kind, _RELU_BIAS if relu else _BIAS)


def product_and_sums(a: Any, b: Any, dtype: Any, compute: int, kind: int | None) -> tuple[Any, Any] | None:
    """a b, and the sums of the rows of a, both of `dtype`, or None. See `_product`."""
    sums = empty((a.shape[0],), dtype)
    out = _product(a, b, sums, dtype, compute, kind, _SUMS_OF_B)
    return None if out is None else (out, sums)
