"""Which Array API namespace do these arrays belong to? The arguments decide; there is no global backend."""

from __future__ import annotations

import importlib
from typing import Any

import array_api_compat
import numpy as np

from portable_nn.backend.errors import DeviceError, DTypeError

#: type of array -> its namespace. Only a cache for raw arrays; Tensor types are put here by the autodiff room.
_namespaces: dict[type, Any] = {}
#: Tensor namespaces by the raw namespace they record.
_recording: dict[int, Any] = {}
_tensors: set[type] = set()
#: Namespaces whose arrays need no look at their devices: NumPy has one, and JAX places and checks its own.
_unplaced: set[int] = set()
_SCALARS = frozenset({bool, int, float, complex, type(None)})  # exact types: numpy.float64 is a float too


def register_namespace(kind: type, namespace: Any, *, records: Any = None) -> None:
    """Say that arrays of type `kind` belong to `namespace`, which records operations of the raw namespace `records`."""
    _namespaces[kind] = namespace
    if records is not None:
        _recording[id(records)] = namespace
        _tensors.add(kind)
        if id(records) in _unplaced:
            _unplaced.add(id(namespace))


def is_tensor(x: Any) -> bool:
    """Whether `x` is a Tensor, whose raw array is `x.data`."""
    return type(x) in _tensors


def array_namespace(*arrays: Any) -> Any:
    """Return the one Array API namespace of `arrays`; Python scalars and None are ignored.

    A Tensor beside raw arrays of its own library gives the Tensor's namespace, which lifts them.

    Raises
    ------
    DeviceError
        The arrays come from two libraries, or from two devices of one.
    DTypeError
        An argument is no array, or no argument is.
    """
    found = None
    for x in arrays:
        xp = _namespaces.get(type(x))
        if xp is None:
            if type(x) in _SCALARS:
                continue
            xp = _look_up(x)
        if xp is not found:
            found = xp if found is None else _combine(found, xp)
    if found is None:
        raise DTypeError("at least one array", f"{[type(x).__name__ for x in arrays]}",
                         "pass a NumPy or CuPy array, or any array of the Python Array API")
    if len(arrays) > 1 and has_devices(found):
        check_one_device(arrays)
    return found


def is_array(x: Any) -> bool:
    """Whether `x` is an array (raw or Tensor) of some Array API namespace."""
    return type(x) in _namespaces or (array_api_compat.is_array_api_obj(x) and not isinstance(x, type))


def _look_up(x: Any) -> Any:
    if not is_array(x):
        raise DTypeError("an array", f"{type(x).__name__} {x!r:.60}", "convert it first, as with numpy.asarray")
    if isinstance(x, np.ndarray) and type(x).__mul__ is not np.ndarray.__mul__:
        raise DTypeError("an array with the operators of arrays", f"a {type(x).__name__}, which has its own",
                         "fill what is masked, and convert it with numpy.asarray")
    xp = improved(array_api_compat.array_namespace(x))
    if not hasattr(type(x), "__jax_array__"):  # abstract JAX values of one type may come from several traces
        _namespaces[type(x)] = xp
    if namespace_name(xp) in ("numpy", "jax"):
        _unplaced.add(id(xp))
    return xp


def improved(xp: Any) -> Any:
    """What stands for a library's namespace here: that of CuPy gets products that CUDA graphs can record."""
    if namespace_name(xp) != "cupy":
        return xp
    return importlib.import_module("portable_nn.kernels.cupy.namespace").namespace


def has_devices(xp: Any) -> bool:
    """Whether arrays of this namespace may be on different devices, so that calls must look."""
    return id(xp) not in _unplaced


def check_one_device(arrays: tuple[Any, ...]) -> None:
    """Raise DeviceError, naming both, if arrays or Tensors of one library are on two devices."""
    placed = (x.data if is_tensor(x) else x for x in arrays if type(x) not in _SCALARS)
    devices = [array_api_compat.device(x) for x in placed]
    for device in devices[1:]:
        if device != devices[0]:
            raise DeviceError("arrays on one device in one call", f"{devices[0]} and {device}",
                              "move them to one device first, for example with portable_nn.to_device")


def _combine(first: Any, second: Any) -> Any:
    """The namespace that records, when one of the two records operations of the other."""
    if _recording.get(id(first)) is second:
        return second
    if _recording.get(id(second)) is first:
        return first
    raise DeviceError("arrays of one library in one call", f"{namespace_name(first)} and {namespace_name(second)}",
                      "move them to one device first, for example with portable_nn.to_device(x, 'cuda')")


def namespace_name(xp: Any) -> str:
    """The library's short name: `numpy`, `cupy`, `array_api_strict`, `torch`, …"""
    name = str(xp.__name__)
    return name.removeprefix("array_api_compat.").split(".")[0]
