"""erf: definitions in Array API code, float64 within 1e-15 and float32 within 2 ulp, and each library's fastest."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np

from portable_nn.backend.errors import DTypeError
from portable_nn.backend.namespace import array_namespace, is_tensor

# W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of Computation 23 (1969), 631-637,
# with the coefficients of his CALERF: erf(x) / x in x² up to 0.46875, and erfc(x) exp(x²) in x above. Highest first.
_NEAR = ((1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
          3.20937758913846947e3),
         (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3))
_FAR = ((2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
         2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
         1.23033935479799725e3),
        (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
         3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3))
# Ours, minimax in float32: erf(x) / x - 1 in x² up to 1.1, and log erfc(x) in x from 1.0 to 4. Beyond its range each
# lies above the other, so erf is the smaller of the two and the kernel needs no comparison. Highest first.
_NEAR32 = (7.18801821e-05, -0.000780580041, 0.00516486447, -0.026841443, 0.112832919, -0.376125991, 0.128379166)
_FAR32 = (0.000185574143, -0.00293960865, 0.0218053237, -0.10303738, -0.638225675, -1.12704003, -0.000353716954)
_BLOCK = 32_768  # elements at a time: the work stays in the cache, and NumPy's calls cost little beside it


#: Elements from which a kernel for erf is asked for, and what finds it: None, or one `kernels/registry.py` has entered.
_LARGE = 32_768
find_kernel: Callable[[np.ndarray], Callable[[np.ndarray], np.ndarray] | None] = lambda x: None  # noqa: E731


def erf(x: Any) -> Any:
    """The error function, 2/√π ∫₀ˣ exp(-t²) dt, element by element.

    Parameters
    ----------
    x : array of float32, float64 or half precision
        Half precision is computed in float32.

    Returns
    -------
    array of the shape, dtype and device of `x`
        float32 within 2 units in the last place, float64 within 1e-15.
    """
    if type(x) is np.ndarray or isinstance(x, np.generic):
        return _numpy(np.asarray(x))
    if not is_tensor(x):
        if array_api_compat.is_cupy_array(x):
            cupys = importlib.import_module("cupyx.scipy.special").erf
            return cupys(x) if x.dtype.char in "fd" else cupys(x.astype("float32")).astype(x.dtype)
        if array_api_compat.is_torch_array(x):
            return importlib.import_module("torch").special.erf(x)
        if array_api_compat.is_jax_array(x):
            return importlib.import_module("jax.scipy.special").erf(x)
    return define_erf(x)


def define_erf(x: Any) -> Any:
    """The definition: float64 by Cody's formulas, narrower types by ours in float32."""
    xp = array_namespace(x)
    if not xp.isdtype(x.dtype, "real floating"):
        raise DTypeError("x of a real floating dtype", str(x.dtype), "cast it first, to float32 for example")
    if x.dtype != xp.float64:
        return xp.astype(_define32(xp, xp.astype(x, xp.float32)), x.dtype)
    near = _clip(xp, x, 0.5)          # odd: the gradient at 0 is right; clipped: what is unused stays finite
    far = xp.minimum(xp.abs(x), xp.full_like(x, 6.0))
    s = near * near
    small = near * _horner(_NEAR[0], s) / _horner(_NEAR[1], s)
    large = 1.0 - xp.exp(-far * far) * _horner(_FAR[0], far) / _horner(_FAR[1], far)
    return xp.where(far < 0.5, small, xp.copysign(large, x))


def _erf_block(x: np.ndarray, out: np.ndarray, size: np.ndarray, scratch: np.ndarray) -> None:
    """erf of a block of float32 numbers into `out`; `size` and `scratch` are overwritten."""
    np.abs(x, out=size)
    size.clip(_ZERO, _CAP, size)  # five times as fast as np.minimum with a number
    np.multiply(size, size, out=scratch)
    _horner_into(_NEAR32_0D, scratch, out)
    np.multiply(out, size, out=out)
    np.add(out, size, out=out)
    _horner_into(_FAR32_0D, size, scratch)
    np.exp(scratch, out=scratch)
    np.subtract(_ONE, scratch, out=scratch)
    np.minimum(out, scratch, out=out)
    sign, bits = size.view(np.uint32), out.view(np.uint32)
    np.bitwise_and(x.view(np.uint32), _SIGN, out=sign)
    np.bitwise_or(bits, sign, out=bits)


def _define32(xp: Any, x: Any) -> Any:
    near = _clip(xp, x, 1.1)
    far = xp.minimum(xp.abs(x), xp.full_like(x, 4.0))
    small = near + near * _horner(_NEAR32, near * near)
    large = 1.0 - xp.exp(_horner(_FAR32, far))
    return xp.where(far < 1.0, small, xp.copysign(large, x))


def _clip(xp: Any, x: Any, limit: float) -> Any:
    ends = xp.full_like(x, limit)  # xp.clip takes 20 µs on NumPy arrays
    return xp.maximum(xp.minimum(x, ends), -ends)


def _numpy(x: np.ndarray) -> np.ndarray:
    if x.dtype.char not in "fd":
        return define_erf(x)
    kernel = find_kernel(x) if x.size >= _LARGE else None
    if kernel is not None:
        return kernel(x)
    flat = np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("=")).reshape(-1)
    out = np.empty_like(flat)
    if x.dtype.char == "f":
        size, scratch = np.empty((2, min(_BLOCK, flat.size)), dtype=np.float32)
    for start in range(0, flat.size, _BLOCK):
        block = flat[start:start + _BLOCK]
        if x.dtype.char == "f":
            _erf_block(block, out[start:start + _BLOCK], size[:block.size], scratch[:block.size])
        else:
            out[start:start + _BLOCK] = define_erf(block)
    return out.reshape(x.shape)


def _horner(coefficients: tuple[float, ...], x: Any) -> Any:
    result = x * coefficients[0]
    for c in coefficients[1:-1]:
        result = (result + c) * x
    return result + coefficients[-1]


def _horner_into(coefficients: list[np.ndarray], x: np.ndarray, out: np.ndarray) -> None:
    np.multiply(x, coefficients[0], out=out)
    for c in coefficients[1:-1]:
        np.add(out, c, out=out)
        np.multiply(out, x, out=out)
    np.add(out, coefficients[-1], out=out)


# 0-d arrays cost half of what NumPy and Python scalars do in a call.
_NEAR32_0D, _FAR32_0D = ([np.array(c, dtype=np.float32) for c in table] for table in (_NEAR32, _FAR32))
_ONE, _SIGN = np.array(1, dtype=np.float32), np.array(0x80000000, dtype=np.uint32)
_ZERO, _CAP = (np.array(c, dtype=np.float32) for c in (0, 4))
