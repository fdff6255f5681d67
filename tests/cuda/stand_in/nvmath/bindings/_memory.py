"""Matrices as cuBLAS sees them: pointers, column by column, checked against the memory that is there."""

from __future__ import annotations

import ctypes
from typing import Any

import cupy._memory
import ml_dtypes
import numpy as np
from cupy._device import current_device

#: cudaDataType -> the host's.
TYPES = {0: np.dtype("float32"), 1: np.dtype("float64"), 2: np.dtype("float16"), 14: np.dtype(ml_dtypes.bfloat16)}
TF32 = 77


class InvalidValue(Exception):
    """What cuBLAS would refuse, or what would read or write memory that is not the caller's."""


def view(pointer: int, kind: int, rows: int, columns: int, leading: int) -> np.ndarray:
    """The matrix of `columns` columns, `leading` elements apart, at an address."""
    dtype = TYPES[kind]
    if min(rows, columns) < 1 or leading < max(1, rows) or max(rows, columns, leading) >= 2**31:
        raise InvalidValue(f"CUBLAS_STATUS_INVALID_VALUE: {rows} rows, {columns} columns, leading dimension {leading}")
    size = (leading * (columns - 1) + rows) * dtype.itemsize
    if pointer % dtype.itemsize:
        raise InvalidValue("a pointer that is not aligned to its elements")
    check(pointer, size)
    raw = np.frombuffer((ctypes.c_ubyte * size).from_address(pointer), np.uint8)
    return np.lib.stride_tricks.as_strided(raw[:dtype.itemsize].view(dtype), (rows, columns),
                                           (dtype.itemsize, leading * dtype.itemsize))


def check(pointer: int, size: int) -> Any:
    """The piece of memory of the current device that holds these bytes."""
    for piece in cupy._memory.pieces():
        if piece.ptr <= pointer and pointer + size <= piece.ptr + piece.size and piece.device == current_device():
            return piece
    raise InvalidValue(f"{size} bytes at {pointer:x} are not those of one array on device {current_device()}")


def widen(x: np.ndarray, compute: int) -> np.ndarray:
    """What the product is computed with."""
    if compute == TF32:  # the 10 bits of the fraction that the tensor cores take
        bits = np.array(x, np.float32).view(np.uint32)
        return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
    return x.astype(np.float64 if x.dtype == np.float64 else np.float32)


def scalar(pointer: int, compute: int) -> float:
    return (ctypes.c_double if compute == 70 else ctypes.c_float).from_address(pointer).value


def check_types(a: int, b: int, c: int, compute: int) -> None:
    wanted = {70: [(1, 1)], 68: [(0, 0), (2, 2), (14, 14), (2, 0), (14, 0)], TF32: [(0, 0)]}
    if a != b or (a, c) not in wanted[compute]:
        raise InvalidValue(f"CUBLAS_STATUS_NOT_SUPPORTED: types {a}, {b}, {c}, compute type {compute}")


def multiply(a: Any, b: Any, compute: int) -> np.ndarray:
    with np.errstate(all="ignore"):
        return widen(a, compute) @ widen(b, compute)
