"""What the tests of CUDA kernels share: arrays of any dtype and alignment, and how far results may be off."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np

#: The dtypes that kernels are compiled for; NumPy has bfloat16 where ml_dtypes is.
DTYPES = ("float32", "float64", "float16", *(["bfloat16"] if importlib.util.find_spec("ml_dtypes") else []))
#: Bits of the fraction, and the exponent of the smallest normal number.
_FORMATS = {"float16": (10, -14), "bfloat16": (7, -126), "float32": (23, -126), "float64": (52, -1022)}


def host_dtype(name: str) -> Any:
    return np.dtype(importlib.import_module("ml_dtypes").bfloat16 if name == "bfloat16" else name)


def place(x: Any, name: str, shift: int = 0) -> tuple[Any, np.ndarray]:
    """x on the device in a dtype, `shift` elements behind an aligned address; and what it is there, in float64."""
    import cupy

    host = np.asarray(x).astype(host_dtype(name))
    whole = cupy.empty((host.size + shift,), host.dtype)
    placed = whole[shift:].reshape(host.shape)
    placed[...] = cupy.asarray(host)
    return placed, host.astype(np.float64)


def read(x: Any) -> np.ndarray:
    """An array of the device in float64."""
    return x.get().astype(np.float64)


def spacing(x: np.ndarray, name: str) -> np.ndarray:
    """The distance of neighbouring numbers of a dtype at x."""
    bits, least = _FORMATS[name]
    with np.errstate(divide="ignore"):
        exponent = np.floor(np.log2(np.abs(x)))
    return np.exp2(np.maximum(exponent, least) - bits)


def assert_rounded(actual: Any, expected: np.ndarray, name: str, terms: float = 0.0) -> None:
    """Require the exact result rounded once, give or take what computing in `real` costs.

    That is 4e-6 (1e-14 for float64) of the largest result, or of `terms`, the size of what cancels in it. A definition
    in half precision rounds at least once as well, so this is within twice its error.
    """
    got = read(actual)
    assert got.shape == expected.shape
    assert actual.dtype == host_dtype(name)
    scale = max(float(np.max(np.abs(expected), initial=0.0)), terms)
    real = 1e-14 if name == "float64" else 4e-6
    tolerance = 0.501 * spacing(expected, name) + real * scale + real * np.abs(expected)
    worst = np.max(np.abs(got - expected) - tolerance, initial=-1.0)
    assert worst <= 0 or not np.isfinite(expected).all(), f"off by {worst} more than allowed, of {scale}"
