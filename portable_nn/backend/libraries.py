"""What the array libraries call things: dtypes, devices, and whether CuPy and a GPU are there at all."""

from __future__ import annotations

import importlib
import re
from typing import Any

import numpy as np

from portable_nn.backend.errors import DeviceError, MissingDependencyError
from portable_nn.backend.namespace import namespace_name

_INSTALL = 'pip install "cupy-cuda13x[ctk]" (or cupy-cuda12x, whichever CUDA version nvidia-smi shows)'


def dtype_name(dtype: Any) -> str:
    """The standard's name of any library's dtype: "float32", "int64", "bool"."""
    if isinstance(dtype, (type, np.dtype)):
        return np.dtype(dtype).name
    return str(dtype).rpartition(".")[2]


def device_label(device: Any) -> str:
    """The readable part of a library's device object."""
    if hasattr(device, "platform"):  # JAX
        return f"{device.platform}:{device.id}"
    if hasattr(type(device), "mem_info"):  # CuPy
        return str(device.id)
    quoted = re.search(r"'(.+)'", str(device))  # array_api_strict.Device('device1')
    return (quoted[1] if quoted else str(device)).replace("CPU_DEVICE", "cpu")


def guest_device(xp: Any, label: str) -> Any:
    """The device of a guest library that goes by this label; an empty one is its default."""
    if namespace_name(xp) == "torch":
        return xp.device(label or "cpu")
    info = xp.__array_namespace_info__()
    found = {device_label(device): device for device in info.devices()}
    if label and label not in found:
        raise DeviceError(f"a device of {namespace_name(xp)}: {', '.join(found)}", repr(label),
                          "pass one of these names")
    return found[label] if label else info.default_device()


def import_cupy() -> Any:
    try:
        return importlib.import_module("cupy")
    except ImportError as error:
        import shutil  # with its compression libraries, too slow for every start

        gpu = "nvidia-smi is there" if shutil.which("nvidia-smi") else "nor is nvidia-smi there, so probably no GPU"
        raise MissingDependencyError('CuPy, for device "cuda"', f"an environment without it ({error}; {gpu})",
                                     f"install it with {_INSTALL}") from error


def count_gpus() -> tuple[int, str]:
    """How many GPUs CuPy sees, and why none."""
    runtime = import_cupy().cuda.runtime
    try:
        return runtime.getDeviceCount(), "it counts 0"
    except runtime.CUDARuntimeError as error:
        return 0, str(error)
