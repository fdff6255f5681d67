"""cublasLtMatmul with a bias and relu, or with the sums of B over k, as NVIDIA documents it, over host memory.

Attributes are read from bytes; what the bias pointer points to has the type of D.
"""

from __future__ import annotations

import ctypes
import itertools
from typing import Any

import cupy
import numpy as np
from cupy._device import record

from nvmath.bindings._memory import InvalidValue, check, check_types, multiply, scalar, view

_numbers = itertools.count(10**6)
_objects: dict[int, dict[str, Any]] = {}
#: Every product since tests last emptied it: (m, n, k, compute type, epilogue).
products: list[tuple] = []
matmul_heuristic_result_dtype = np.dtype([("algo", [("data_", "<u8", (8,))]), ("workspace_size", "<u8"),
                                          ("state", "<i4"), ("waves_count", "<f4"), ("reserved", "<i4", (4,))])
_DESCRIPTION = {3: "<i4", 4: "<i4", 7: "<u4", 8: "<i8"}
_PREFERENCE = {1: "<u8", 5: "<u4", 6: "<u4", 7: "<u4", 8: "<u4"}
#: Products of these compute types have no algorithm; tests fill it.
unknown: set[int] = set()
SUMS_OF_B = 512  # CUBLASLT_EPILOGUE_BGRADB
#: Whether the relu of NaN is NaN: it is 0 in some versions; tests set it.
keeps_nan = True


class cuBLASLtError(Exception):
    pass


def _make(**contents: Any) -> int:
    number = next(_numbers)
    _objects[number] = contents
    return number


def _destroy(number: int) -> None:
    del _objects[number]


def create() -> int:
    return _make(kind="handle")


def matmul_desc_create(compute_type: int, scale_type: int) -> int:
    if (scale_type == 1) != (compute_type == 70):
        raise cuBLASLtError("CUBLAS_STATUS_INVALID_VALUE: scale type")
    return _make(kind="description", compute=compute_type, values={})


def matrix_layout_create(type: int, rows: int, cols: int, ld: int) -> int:
    return _make(kind="layout", type=type, rows=rows, columns=cols, leading=ld)


def matmul_preference_create() -> int:
    return _make(kind="preference", values={})


matmul_desc_destroy = matrix_layout_destroy = matmul_preference_destroy = _destroy


def _set(number: int, attribute: int, address: int, size: int, known: dict[int, str]) -> None:
    dtype = np.dtype(known[attribute])
    if size != dtype.itemsize:
        raise cuBLASLtError(f"CUBLAS_STATUS_INVALID_VALUE: attribute {attribute} of {size} bytes")
    _objects[number]["values"][attribute] = int(np.frombuffer(ctypes.string_at(address, size), dtype)[0])


def matmul_desc_set_attribute(matmul_desc: int, attr: int, buf: int, size_in_bytes: int) -> None:
    _set(matmul_desc, attr, buf, size_in_bytes, _DESCRIPTION)


def matmul_preference_set_attribute(pref: int, attr: int, buf: int, size_in_bytes: int) -> None:
    _set(pref, attr, buf, size_in_bytes, _PREFERENCE)


def matmul_algo_get_heuristic(light_handle: int, operation_desc: int, adesc: int, bdesc: int, cdesc: int, ddesc: int,
                              preference: int, requested_algo_count: int, heuristic_results_array: int,
                              return_algo_count: int) -> None:
    values = _objects[preference]["values"]
    found = np.zeros(1, matmul_heuristic_result_dtype)
    found["algo"]["data_"][0] = [values[i] for i in (5, 6, 7, 8)] * 2
    ctypes.memmove(heuristic_results_array, found.ctypes.data, found.nbytes)
    count = 0 if _objects[operation_desc]["compute"] in unknown else 1
    ctypes.c_int32.from_address(return_algo_count).value = count


def matmul(light_handle: int, compute_desc: int, alpha: int, a: int, adesc: int, b: int, bdesc: int, beta: int, c: int,
           cdesc: int, d: int, ddesc: int, algo: int, workspace: int, workspace_size_in_bytes: int,
           stream: int) -> None:
    description, left, right, out = (_objects[x] for x in (compute_desc, adesc, bdesc, ddesc))
    compute, values = description["compute"], description["values"]
    check(workspace, workspace_size_in_bytes)
    if stream != cupy.cuda.get_current_stream().ptr or values[7] not in (4, 6, SUMS_OF_B) or (c, cdesc) != (d, ddesc):
        raise InvalidValue("another stream, epilogue or C than is expected")
    for pointer, alignment in zip((a, b, c, d), np.frombuffer(ctypes.string_at(algo, 32), "<u8"), strict=True):
        if pointer % int(alignment):
            raise InvalidValue(f"an address that is no multiple of {alignment}, as was promised")
    check_types(left["type"], right["type"], out["type"], compute)
    if (scalar(alpha, compute), scalar(beta, compute)) != (1, 0):
        raise InvalidValue("α other than 1 or β other than 0")
    if values[7] == SUMS_OF_B and (not values[4] or right["columns"] < 2):
        raise cuBLASLtError("CUBLAS_STATUS_NOT_SUPPORTED: sums of a B that is not transposed, or of one row")
    turned, bias, relu = (values[3], values[4]), values[8], values[7] == 6
    products.append((out["rows"], out["columns"], left["rows"] if turned[0] else left["columns"], compute, values[7]))

    def run() -> None:
        check(workspace, workspace_size_in_bytes)
        sides = [view(pointer, x["type"], x["rows"], x["columns"], x["leading"])
                 for pointer, x in ((a, left), (b, right))]
        made = multiply(*(x.T if turn else x for x, turn in zip(sides, turned, strict=True)), compute)
        result = view(d, out["type"], out["rows"], out["columns"], out["leading"])
        if values[7] == SUMS_OF_B:
            sums = view(bias, out["type"], out["columns"], 1, out["columns"])
            right_side = sides[1].T if turned[1] else sides[1]  # (k, columns)
            with np.errstate(all="ignore"):
                sums[:, 0] = np.sum(right_side.astype(np.float64), axis=0).astype(sums.dtype)
                result[...] = made.astype(result.dtype)
            return
        added = view(bias, out["type"], out["rows"], 1, out["rows"])
        with np.errstate(all="ignore"):
            made = made + added.astype(made.dtype)
            if relu:
                made = np.where((made <= 0) | (np.isnan(made) & (not keeps_nan)), 0, made)
            result[...] = made.astype(result.dtype)

    run()
    kept = [check(pointer, 1) for pointer in (a, b, d, bias)]
    record(lambda: kept and run(), "product")
