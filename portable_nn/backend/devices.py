"""Devices are strings: "cpu", "cuda", "cuda:1", "auto"; and the ways in and out of each array library."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import array_api_compat
import numpy as np

from portable_nn.backend.capturing import refuse_host_data, refuse_read_back
from portable_nn.backend.errors import DeviceError, DTypeError, GradientError, MissingDependencyError
from portable_nn.backend.libraries import count_gpus, device_label, dtype_name, guest_device, import_cupy
from portable_nn.backend.namespace import array_namespace, improved, is_tensor, namespace_name

#: Libraries that `to_device` reaches by a name such as "array_api_strict:device1" or "torch:cpu".
_GUESTS = {"array_api_strict": "array_api_strict", "torch": "array_api_compat.torch", "jax": "jax.numpy"}
_DEVICE = re.compile(r"cpu|auto|cuda(:\d+)?")


def available_devices() -> list[str]:
    """The devices of this machine, "cpu" first. Imports CuPy if it is installed."""
    try:
        return ["cpu", *(f"cuda:{i}" for i in range(count_gpus()[0]))]
    except MissingDependencyError:
        return ["cpu"]


def resolve_device(device: str) -> str:
    """Turn "auto" or "cuda" into the device they stand for: "cpu", "cuda:0", "cuda:1", …

    "auto" is "cuda:0" where CuPy and a GPU are there, else "cpu". CuPy is imported for "auto" and "cuda" alone. A name
    that `device_name` gave to another library's device, such as "array_api_strict:device1", stays as it is.

    Raises
    ------
    MissingDependencyError
        "cuda" was asked for and CuPy is not installed.
    DeviceError
        "cuda" was asked for and there is no such GPU, or the name is unknown.
    """
    if not isinstance(device, str) or not (_DEVICE.fullmatch(device) or device.partition(":")[0] in _GUESTS):
        raise DeviceError('a device "cpu", "cuda", "cuda:1" or "auto"', repr(device), 'pass one of these names')
    if device == "auto":
        return available_devices()[:2][-1]
    if not device.startswith("cuda"):
        return device
    number = int(device.partition(":")[2] or 0)
    count, reason = count_gpus()
    if count == 0:
        raise DeviceError(f'a GPU for device "{device}"', f"CuPy, but no GPU that it can use ({reason})",
                          'check the driver with nvidia-smi, or pass device="cpu"')
    if number >= count:
        raise DeviceError(f'one of the {count} devices "cuda:0" to "cuda:{count - 1}"', f'"{device}"',
                          "pass the number of a GPU that this machine has")
    return f"cuda:{number}"


def namespace_of_device(device: str) -> tuple[Any, Any]:
    """The Array API namespace whose arrays live on `device`, and the device object that its functions take."""
    device = resolve_device(device)
    if device == "cpu":
        return importlib.import_module("array_api_compat.numpy"), "cpu"
    library, _, number = device.partition(":")
    if library == "cuda":
        return improved(importlib.import_module("array_api_compat.cupy")), import_cupy().cuda.Device(int(number))
    try:
        xp = importlib.import_module(_GUESTS[library])
    except ImportError as error:
        raise MissingDependencyError(f'{library}, for device "{device}"', f"an environment without it ({error})",
                                     f"install it with pip install {library.replace('_', '-')}") from error
    return xp, guest_device(xp, number)


def native_device(x: Any) -> Any:
    """The library's own device object of an array or Tensor: what `device=` of its creation functions takes."""
    return "cpu" if type(x) is np.ndarray else array_api_compat.device(x)


def device_name(x: Any) -> str:
    """The name of the device an array or Tensor is on: "cpu", "cuda:1"; of other libraries "torch:cpu", …"""
    if type(x) is np.ndarray:
        return "cpu"
    x = x.data if is_tensor(x) else x
    library = namespace_name(array_namespace(x))
    if library == "numpy":
        return "cpu"
    label = device_label(array_api_compat.device(x))
    return f"cuda:{label}" if library == "cupy" else f"{library}:{label}"


@contextmanager
def on_device(device: str) -> Iterator[None]:
    """Within this context CuPy works on the GPU of this name; for other devices nothing changes.

    CuPy's functions, unlike PyTorch's, work on the current device of their thread whatever their arguments are on.
    """
    with working_on(namespace_of_device(device)[1] if device.startswith("cuda") else None):
        yield


def working_on(native: Any) -> Any:
    """As `on_device`, for a library's own device object or None."""
    # A new object: each remembers the device that was current before, and threads may share one.
    return type(native)(native.id) if hasattr(type(native), "mem_info") else nullcontext()


def free_bytes(device: str) -> int:
    """Memory that is free on a GPU, in bytes, what CuPy's pool holds and does not use counted in; 0 elsewhere."""
    if not device.startswith("cuda"):
        return 0
    native = namespace_of_device(device)[1]
    with native:
        return native.mem_info[0] + import_cupy().get_default_memory_pool().free_bytes()


def to_device(x: Any, device: str) -> Any:
    """Move an array to a device, which also decides the library: NumPy's for "cpu", CuPy's for "cuda".

    Returns `x` itself when it is there already.
    """
    return convert(x, device=device)


def to_numpy(x: Any) -> np.ndarray:
    """Read an array or Tensor back to the host. NumPy arrays come back as they are, uncopied.

    This is the library's one place that waits for a device. The result may share memory with `x` and be read-only.
    """
    if type(x) is np.ndarray:
        return x
    x = x.data if is_tensor(x) else x
    if isinstance(x, (np.ndarray, np.generic)):
        return np.asarray(x)
    refuse_read_back()
    library = namespace_name(array_namespace(x))
    try:
        if library == "cupy":
            return x.get()
        if library == "torch":
            return x.detach().cpu().resolve_conj().resolve_neg().numpy()
        if library == "array_api_strict":
            x = x.to_device(array_namespace(x).Device("CPU_DEVICE"))
        return np.asarray(x)
    except TypeError as error:  # for example torch.bfloat16, which NumPy does not have
        raise DTypeError("data that NumPy can hold", f"{x.dtype} ({error})", "cast it first, to float32") from error


def convert(x: Any, *, device: Any = None, dtype: Any = None, xp: Any = None) -> Any:
    """Move an array to a device or library and cast it; whatever is None stays as it is.

    Parameters
    ----------
    x : array
        Of any library. A Tensor may be cast; moving it would drop its tape, and raises GradientError.
    device : str or device object, optional
        A name as `to_device` takes, or, beside `xp` (or for the library of `x`), that library's own device or its name.
    dtype : str or dtype, optional
        "float32", or a dtype of any library.
    xp : namespace, optional
        The library to move to; without a device, to the one it prefers.
    """
    source = array_namespace(x)
    if is_tensor(x):
        if convert(x.data, device=device, xp=None if xp is source else xp) is not x.data:
            raise GradientError("a raw array to move to another device or library", "a Tensor",
                                "move its data instead: Tensor(to_device(x.data, device))")
        return _cast(x, dtype, source)
    target, native = _destination(source, device, xp)
    if target is source and (native is None or native == native_device(x)):
        return _cast(x, dtype, source)
    if dtype is None:
        dtype = dtype_name(x.dtype)
    if target is source:
        return array_api_compat.to_device(_cast(x, dtype, source), native)
    host = to_numpy(x)
    refuse_host_data("a host array moved to the device",
                     "pass it to the step as an argument, or move it before the first step")
    host = host.astype(np.dtype(dtype_name(dtype)).newbyteorder("="), copy=False)
    if namespace_name(target) == "torch" and not host.flags.writeable:
        host = host.copy()  # PyTorch has no read-only arrays, and warns
    try:
        return target.asarray(host, device=native)
    except (TypeError, ValueError) as error:
        raise DTypeError(f"a dtype that {namespace_name(target)} has on device {device_label(native)}",
                         f"{host.dtype} ({error})",
                         'pass a dtype it has, such as dtype="float32"') from error


def _destination(source: Any, device: Any, xp: Any) -> tuple[Any, Any]:
    """The namespace and native device that `convert` was asked for; None for a device that is left open."""
    if xp is None and isinstance(device, str):
        return namespace_of_device(device)
    target = source if xp is None else xp
    if device is None and target is not source and namespace_name(target) == "numpy":
        return target, "cpu"
    if not isinstance(device, str) or namespace_name(target) == "numpy":
        return target, device
    if namespace_name(target) == "cupy":
        return target, namespace_of_device(device)[1]
    return target, guest_device(target, device.removeprefix(f"{namespace_name(target)}:"))


def _cast(x: Any, dtype: Any, xp: Any) -> Any:
    if dtype is None:
        return x
    wanted = getattr(xp, dtype_name(dtype), None)
    if wanted is None:
        raise DTypeError(f"a dtype that {namespace_name(xp)} has", repr(dtype), 'pass one it has, such as "float32"')
    if x.dtype == wanted:
        return x
    with working_on(None if is_tensor(x) else native_device(x)):
        return xp.astype(x, wanted)
