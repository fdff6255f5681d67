"""What the operations refuse, from shapes and dtypes alone; and the one look at values, that of indices.

These run on every call: the way through is comparisons of tuples and dtypes, and messages are made elsewhere.
"""

from __future__ import annotations

from typing import Any, NoReturn

from portable_nn.backend.devices import device_name
from portable_nn.backend.errors import DataError, DeviceError, DTypeError, ShapeError
from portable_nn.backend.libraries import dtype_name
from portable_nn.backend.namespace import array_namespace, is_tensor, namespace_name

#: Type of array -> its dtypes that were found to be floating, or integers. (Dtypes of two libraries do not compare.)
_floating: dict[type, list[Any]] = {}
_integer: dict[type, list[Any]] = {}
#: Types of arrays that are all on one device.
_one_device: set[type] = set()
#: Types of arrays that were found to be of these libraries, whatever the device.
_on_host: set[type] = set()
#: Libraries whose values can be looked at without making a device wait.
_HOST = {"numpy", "array_api_strict"}


def check_floating(operation: str, x: Any, *others: Any) -> None:
    """Require that x is real floating and that every other array, None aside, has its dtype and device.

    Where a library stores half precision (see `portable_nn.precision`), that stands beside float32.
    """
    dtype, kind = x.dtype, type(x)
    if dtype not in _floating.get(kind, ()):
        _check_kind(_floating, dtype, "real floating", f"a floating x for {operation}", "float32", x)
    for other in others:
        if other is None or (other.dtype is dtype and type(other) is kind and kind in _one_device):
            continue
        if other.dtype != dtype or (type(other) not in _one_device and other.device != x.device):
            _check_mixed(operation, x, other)


def check_integer(operation: str, name: str, x: Any) -> None:
    """Require an integer dtype."""
    known = _integer.get(type(x))
    if known is None:
        array_namespace(x)  # refuses what is no array
    if known is None or x.dtype not in known:
        _check_kind(_integer, x.dtype, "integral", f"integer {name} for {operation}", "int64", x)


def check_same_shape(operation: str, names: str, x: Any, other: Any) -> None:
    """Require two arrays of one shape."""
    if x.shape != other.shape:
        raise ShapeError(f"{names} of one shape for {operation}", f"{x.shape} and {other.shape}",
                         "reshape or broadcast one to the shape of the other")


def check_range(what: str, x: Any, size: int) -> None:
    """Require integers from 0 to size - 1. On a GPU, and under JAX, nothing is looked at: it would have to wait.

    Raises
    ------
    DataError
        Names the first number that is out of range, and the range.
    """
    x = x.data if is_tensor(x) else x
    if 0 in x.shape or not is_on_host(x):
        return
    xp = array_namespace(x)
    low, high = int(xp.min(x)), int(xp.max(x))
    if low < 0 or high >= size:
        refuse_range(what, low if low < 0 else high, size)


def is_on_host(x: Any) -> bool:
    """Whether the values of a raw array can be looked at without making a device wait."""
    kind = type(x)
    if kind not in _on_host:
        if namespace_name(array_namespace(x)) not in _HOST:
            return device_name(x) == "torch:cpu"
        _on_host.add(kind)
    return True


def refuse_range(what: str, value: int, size: int) -> NoReturn:
    """Raise the DataError of a label or index that is out of range."""
    raise DataError(f"{what} from 0 to {size - 1}", f"{what} {value}",
                    f"make room for {value + 1} of them, or look for the row it came from" if value >= size
                    else "negative ones do not count from the end: look for the row it came from")


def as_index(xp: Any, x: Any) -> Any:
    """Integers in the dtype that the library indexes with: not all take others, and positions are computed in it."""
    index = xp.__array_namespace_info__().default_dtypes(device=x.device)["indexing"]
    return x if x.dtype == index else xp.astype(x, index)


def at_least_float32(xp: Any, x: Any) -> Any:
    """x in float32 if its dtype is narrower: statistics of half precision would overflow."""
    return x if x.dtype == xp.float32 or x.dtype == getattr(xp, "float64", None) else xp.astype(x, xp.float32)


def _check_kind(known: dict[type, list[Any]], dtype: Any, kind: str, expected: str, cast: str, x: Any) -> None:
    xp = array_namespace(x)
    if not xp.isdtype(dtype, kind):
        raise DTypeError(expected, f"dtype {dtype}", f"cast it first, for example with xp.astype(x, xp.{cast})")
    known.setdefault(type(x), []).append(dtype)
    if namespace_name(xp) == "numpy":
        _one_device.add(type(x))


def _check_mixed(operation: str, x: Any, other: Any) -> None:
    if other.dtype != x.dtype and not _both_stored(x, other):
        target = dtype_name(other.dtype if array_namespace(other).isdtype(other.dtype, "real floating") else x.dtype)
        raise DTypeError(f"one floating dtype in {operation}", f"{x.dtype} and {other.dtype}",
                         f"cast one of them, for example with xp.astype(x, xp.{target})")
    if other.device != x.device:
        raise DeviceError(f"arrays of one device in {operation}", f"{device_name(x)} and {device_name(other)}",
                          "move one of them, for example with portable_nn.to_device(x, device)")


def _both_stored(x: Any, other: Any) -> bool:
    """Whether one is in the half precision that this context stores, and the other in float32."""
    xp = array_namespace(x)
    half = xp.half_dtype() if hasattr(xp, "half_dtype") else None
    return half is not None and x.dtype in (half, xp.float32) and other.dtype in (half, xp.float32)
