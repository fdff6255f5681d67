"""What every test may use: the backends under test, and comparisons that also look at namespace, dtype and device."""

from __future__ import annotations

import importlib
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import array_api_compat
import numpy as np

from portable_nn.backend.namespace import array_namespace

#: What `pytest --backend NAME` accepts. The first four are run when no name is given, the others only when named.
#: `cupy-emulated` is no CuPy: a stand-in for it on the host, which proves the logic of what is written for a GPU.
BACKENDS = ("numpy", "readonly", "strict", "cupy")
GUESTS = ("torch", "jax", "cupy-emulated")

#: The version of the standard that the library is written for; newer names must not creep in.
API_VERSION = "2024.12"


class Unavailable(Exception):
    """A backend is not there; the message says why."""


@dataclass(frozen=True)
class Backend:
    """One array library on one device, as the fixture `backend` hands it out.

    Attributes
    ----------
    name : str
        For example `numpy`, `readonly`, `strict:device1`, `cupy`.
    xp : namespace
        The raw Array API namespace, the one `portable_nn.array_namespace` gives for this backend's arrays.
    device : object
        The library's own device object.
    read_only : bool
        Arrays made by `asarray` refuse to be written to.
    float_dtypes : tuple of dtype
        The real floating dtypes that the device has, narrowest first: some devices have no float64.
    """

    name: str
    xp: Any
    device: Any
    read_only: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def float_dtypes(self) -> tuple[Any, ...]:
        return tuple(self._dtypes("real floating")[name] for name in ("float32", "float64")
                     if name in self._dtypes("real floating"))

    @property
    def float_dtype(self) -> Any:
        """The widest floating dtype of the device."""
        return self.float_dtypes[-1]

    @property
    def index_dtype(self) -> Any:
        """The widest signed integer dtype of the device."""
        integers = self._dtypes("signed integer")
        return integers.get("int64", integers["int32"])

    @property
    def has_float64(self) -> bool:
        return len(self.float_dtypes) == 2

    def _dtypes(self, kind: str) -> dict[str, Any]:
        return self.xp.__array_namespace_info__().dtypes(device=self.device, kind=kind)

    def asarray(self, x: Any, dtype: Any = None) -> Any:
        """Place `x` (NumPy array, list or scalar) on this device; 64-bit kinds become 32-bit where it has no others.

        `dtype` may be a name ("float32") or a dtype of this namespace.
        """
        x = np.asarray(x)
        name = dtype if isinstance(dtype, str) else (dtype_name(dtype) if dtype is not None else x.dtype.name)
        dtype = self._supported(name)
        x = np.array(x, dtype=dtype_name(dtype), order="C")
        if self.read_only:
            x.flags.writeable = False
            return x
        return self.xp.asarray(x, dtype=dtype, device=self.device)

    def _supported(self, name: str) -> Any:
        known = self.xp.__array_namespace_info__().dtypes(device=self.device)
        narrower = {"float64": "float32", "int64": "int32", "uint64": "uint32", "complex128": "complex64"}
        return known[name] if name in known else known[narrower[name]]

    def to_numpy(self, x: Any) -> np.ndarray:
        """Read an array or Tensor back, for a comparison in a test."""
        return to_numpy(x)

    def assert_close(self, actual: Any, expected: Any, rtol: float | None = None, atol: float | None = None,
                     check_dtype: bool = True) -> None:
        """Compare with `expected`, and require that `actual` lives in this namespace and on this device."""
        raw = unwrap(actual)
        assert array_api_compat.is_array_api_obj(raw), f"{type(actual).__name__} is no array of {self.name}"
        found = array_namespace(raw)
        assert found is self.xp, f"namespace {found.__name__}, expected {self.xp.__name__}"
        device = array_api_compat.device(raw)
        assert device == self.device, f"device {device}, expected {self.device}"
        if isinstance(expected, np.ndarray) and self.xp.__name__ != np.__name__:
            expected = expected.astype(dtype_name(self._supported(expected.dtype.name)))
        assert_close(actual, expected, rtol=rtol, atol=atol, check_dtype=check_dtype, check_namespace=False)


def unwrap(x: Any) -> Any:
    """The raw array of a Tensor or Parameter; a raw array as it is."""
    if not array_api_compat.is_array_api_obj(x) or type(x).__module__.startswith("portable_nn."):
        return getattr(x, "data", x)
    return x


def to_numpy(x: Any) -> np.ndarray:
    """Read an array or Tensor of any library back to NumPy, for a comparison in a test."""
    raw = unwrap(x)
    module = type(raw).__module__.split(".")[0]
    if module == "cupy":
        return raw.get()
    if module == "torch":
        return raw.detach().cpu().numpy()
    if module == "array_api_strict":
        host = importlib.import_module("array_api_strict").Device("CPU_DEVICE")
        return np.asarray(array_api_compat.to_device(raw, host))
    return np.asarray(raw)


def dtype_name(dtype: Any) -> str:
    """The standard's name of any library's dtype: `float32`, `int64`, `bool`."""
    name = getattr(dtype, "name", None) or str(getattr(dtype, "_np_dtype", dtype))
    return name.split(".")[-1].rstrip("'>")  # str(numpy.int32) is "<class 'numpy.int32'>"


def default_rtol(dtype: Any) -> float:
    """4 √eps of a floating dtype; 0 for the others."""
    kind = np.dtype(dtype_name(dtype))
    return 4 * math.sqrt(float(np.finfo(kind).eps)) if kind.kind in "fc" else 0.0


def assert_close(actual: Any, expected: Any, rtol: float | None = None, atol: float | None = None,
                 check_dtype: bool = True, check_namespace: bool = True) -> None:
    """Require equal shape, dtype, namespace and device, and values within `rtol` (4 √eps when left out).

    `atol` defaults to `rtol` times the largest expected value: entries that cancel to zero may differ by rounding.
    An `expected` that is a Python number or list has neither dtype nor namespace, and one that is a NumPy array is a
    reference: its namespace and device are not compared.
    """
    got, want = to_numpy(actual), to_numpy(expected)
    typed = array_api_compat.is_array_api_obj(unwrap(expected))
    assert got.shape == want.shape, f"shape {got.shape}, expected {want.shape}"
    if typed and check_dtype:
        assert got.dtype == want.dtype, f"dtype {got.dtype}, expected {want.dtype}"
    if typed and check_namespace and not isinstance(unwrap(expected), np.ndarray):
        first, second = (array_namespace(unwrap(x)) for x in (actual, expected))
        assert first is second, f"namespace {first.__name__}, expected {second.__name__}"
        first, second = (array_api_compat.device(unwrap(x)) for x in (actual, expected))
        assert first == second, f"device {first}, expected {second}"
    if rtol is None:
        rtol = default_rtol(got.dtype)
    if atol is None:
        finite = np.abs(want[np.isfinite(want)]) if want.dtype.kind in "fc" else np.abs(want[:0])
        atol = rtol * float(np.max(finite, initial=0.0))
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)


def make_backends(name: str) -> list[Backend]:
    """The backends that `--backend name` stands for; `strict` has one for each of its devices.

    Raises
    ------
    Unavailable
        The library or its device is not there.
    """
    if name in ("numpy", "readonly"):
        return [Backend(name, array_api_compat.array_namespace(np.empty(0)), "cpu", read_only=name == "readonly")]
    if name == "strict":
        return _strict()
    if name in ("cupy", "cupy-emulated"):
        return [_cupy(name)]
    library = _import(name)
    x = library.empty(0) if name == "torch" else importlib.import_module("jax.numpy").empty(0)
    return [Backend(name, array_api_compat.array_namespace(x), array_api_compat.device(x))]


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Unavailable(f"{module} cannot be imported: {error}") from error


def _strict() -> list[Backend]:
    strict = _import("array_api_strict")
    devices = strict.__array_namespace_info__().devices()
    names = [str(device).split("'")[1] if "'" in str(device) else str(device) for device in devices]
    return [Backend("strict" if name == "CPU_DEVICE" else f"strict:{name}", strict, device)
            for name, device in zip(names, devices, strict=True)]


def _cupy(name: str) -> Backend:
    if name == "cupy-emulated":
        _stand_in()
    cupy = _import("cupy")
    if hasattr(cupy, "is_stand_in") != (name == "cupy-emulated"):
        raise Unavailable("this process has imported the other one of CuPy and its stand-in")
    try:
        if cupy.cuda.runtime.getDeviceCount() == 0:
            raise Unavailable("CuPy is installed, but there is no GPU")
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise Unavailable(f"CuPy is installed, but finds no GPU: {error}") from error
    x = cupy.empty(0)
    return Backend("cupy", array_namespace(x), x.device)


def _stand_in() -> None:
    """Let `import cupy` find the stand-in from now on, in this process."""
    from tests.cuda.emulation.build import missing

    if reason := missing():
        raise Unavailable(reason)
    folder = str(Path(__file__).parent / "cuda" / "stand_in")
    if folder not in sys.path:
        sys.path.insert(0, folder)
