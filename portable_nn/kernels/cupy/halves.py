"""Functions of CuPy's namespace for half precision: bfloat16 is a floating dtype, and what adds up does so in float32.

CuPy's bfloat16 is that of ml_dtypes, a dtype of kind "V", which NumPy's rules for dtypes know nothing of; `where` and
some other functions have no kernels for it. Elsewhere CuPy's own functions serve, for float16 too, whose sums would
overflow.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import cupy

from portable_nn.kernels.cupy.products import converted

_compat = importlib.import_module("array_api_compat.cupy")
_FLOAT32, _UINT16 = cupy.dtype("float32"), cupy.dtype("uint16")
_KINDS = ("real floating", "numeric")
_SCALARS = (bool, int, float)

#: Functions whose intermediate values need float32.
_SUMS = ("sum", "mean", "prod", "var", "std", "cumulative_sum", "cumulative_prod")
#: Functions that bfloat16 goes through float32 for, where they lose nothing.
_WIDENED = ("max", "min", "clip", "sort", "round", "sign", "diff", "logaddexp", "hypot", "atan2")
#: As these, but their results are no floating numbers.
_ASKING = ("argmax", "argmin", "argsort", "count_nonzero", "searchsorted", "nonzero", "logical_not", "all", "any")
#: Functions of two arrays, or of one and a number: its dtype counts for nothing.
_BINARY = ("add", "subtract", "multiply", "divide", "pow", "maximum", "minimum", "copysign", "floor_divide",
           "remainder")


def isdtype(dtype: Any, kind: Any) -> bool:
    """As the standard defines it; bfloat16 is real floating."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if _is_bfloat16(dtype):
        return any(k in _KINDS if isinstance(k, str) else dtype == k for k in kinds)
    return bool(_compat.isdtype(dtype, tuple([k for k in kinds if not _is_bfloat16(k)])))


def _is_bfloat16(dtype: Any) -> bool:
    return getattr(dtype, "char", "") == "E"


def finfo(type: Any, /) -> Any:
    """As the standard defines it; what ml_dtypes says of bfloat16."""
    dtype = type.dtype if isinstance(type, cupy.ndarray) else type
    return importlib.import_module("ml_dtypes").finfo(dtype) if _is_bfloat16(dtype) else _compat.finfo(dtype)


def result_type(*arrays_and_dtypes: Any) -> Any:
    """As the standard defines it: numbers count for nothing beside bfloat16, and with float16 it makes float32."""
    dtypes = [x.dtype if isinstance(x, cupy.ndarray) else x for x in arrays_and_dtypes]
    narrow = [dtype for dtype in dtypes if _is_bfloat16(dtype)]
    if not narrow:
        return cupy.result_type(*arrays_and_dtypes)
    others = [dtype for dtype in dtypes if not _is_bfloat16(dtype) and type(dtype) not in _SCALARS]
    return cupy.result_type(_FLOAT32, *others) if others else narrow[0]


def where(condition: Any, x1: Any, x2: Any, /) -> Any:
    """As the standard defines it; of two arrays of bfloat16 it moves the bits."""
    if _char(x1) == "E" == _char(x2):
        return cupy.where(condition, x1.view(_UINT16), x2.view(_UINT16)).view(x1.dtype)
    if "E" not in (_char(x1), _char(x2)):
        return cupy.where(condition, x1, x2)
    dtype = result_type(x1, x2)
    return cupy.where(condition, *(x if type(x) in _SCALARS else x.astype(_FLOAT32) for x in (x1, x2))).astype(
        dtype, copy=False)


def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    """As the standard defines it; between float32 and half precision, 16 bytes a thread."""
    dtype = cupy.dtype(dtype)
    if device is None and x.dtype != dtype and x.flags.c_contiguous:
        return converted(x, dtype)
    return _compat.astype(x, dtype, copy=copy, device=device)


def _char(x: Any) -> str:
    return x.dtype.char if hasattr(x, "dtype") else ""


def _summing(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which takes half precision in float32 and rounds its result."""

    def run(x: Any, /, *rest: Any, **options: Any) -> Any:
        if x.dtype.char not in "eE":
            return function(x, *rest, **options)
        wanted = options.pop("dtype", None)
        out = function(converted(x, _FLOAT32), *rest, **options)
        return out.astype(x.dtype if wanted is None else wanted, copy=False)

    return run


def _widened(function: Callable[..., Any], back: bool) -> Callable[..., Any]:
    """The function, which takes bfloat16 as float32; its result is bfloat16 again if it goes `back`."""

    def run(*arrays: Any, **options: Any) -> Any:
        if not any(_char(x) == "E" for x in arrays):
            return function(*arrays, **options)
        dtype = result_type(*(x for x in arrays if x is not None))
        out = function(*(x.astype(_FLOAT32) if _char(x) == "E" else x for x in arrays), **options)
        return out.astype(dtype, copy=False) if back else out

    return run


def _binary(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose result has the dtype of its one array where the other argument is a number."""

    def run(x1: Any, x2: Any, /) -> Any:
        out = function(x1, x2)
        if type(x1) in _SCALARS or type(x2) in _SCALARS:
            dtype = x2.dtype if type(x1) in _SCALARS else x1.dtype
            if dtype.char == "E" and out.dtype.char != "E":
                return out.astype(dtype)
        return out

    return run


def replacements() -> dict[str, Any]:
    """What stands in for functions of array-api-compat's namespace."""
    found: dict[str, Any] = {name: _summing(getattr(_compat, name)) for name in _SUMS}
    found.update({name: _widened(getattr(_compat, name), True) for name in _WIDENED if hasattr(_compat, name)})
    found.update({name: _widened(getattr(_compat, name), False) for name in _ASKING})
    found.update({name: _binary(getattr(_compat, name)) for name in _BINARY})
    return found | {"isdtype": isdtype, "finfo": finfo, "result_type": result_type, "where": where, "astype": astype}
