"""`python -m portable_nn`: versions, devices, and which fast paths are active here."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import pkgutil
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

from portable_nn import kernels
from portable_nn.backend import devices
from portable_nn.backend.errors import PortableNNError

_PACKAGES = ("numpy", "array-api-compat", "scikit-learn", "scipy", "safetensors", "tqdm")
_LIBRARIES = ("numpy", "cupy")
_CUPY_PACKAGES = ("cupy-cuda13x", "cupy-cuda12x", "cupy")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m portable_nn", description="Print what this installation can do: "
                                     "versions, devices, fast paths, and how to get those that are missing.")
    parser.parse_args(arguments)
    print("\n".join(report()))
    return 0


def report() -> list[str]:
    """The lines that `python -m portable_nn` prints."""
    lines = [f"portable_nn {version_of('portable_nn') or '(a checkout, not installed)'}", "", "Versions"]
    lines += _table([("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
                    + [(name, version_of(name) or f"missing: pip install {name}") for name in _PACKAGES]
                    + [("numba", version_of("numba") or "missing, for faster large arrays: pip install numba")]
                    + [("cupy", _cupy_version())])
    lines += ["", "Devices", *_table(_devices())]
    return lines + ["", "Fast paths", *_table(_fast_paths())]


def version_of(package: str) -> str | None:
    """The installed version, read from the package's metadata without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def cuda_extra(smi: str | None = None) -> str | None:
    """The extra of this package that fits the driver: `cuda12`, `cuda13`, or None without a usable GPU.

    Parameters
    ----------
    smi : str, optional
        What `nvidia-smi` prints; it is run when this is left out.
    """
    # The driver runs programs for its own CUDA version and for older ones: a newer one takes the newest extra.
    found = re.search(r"CUDA[ \w]*Version\s*:?\s*(\d+)", _nvidia_smi() if smi is None else smi)
    if found is None or int(found[1]) < 12:
        return None
    return "cuda12" if int(found[1]) == 12 else "cuda13"


def _nvidia_smi(*options: str) -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        result = subprocess.run([program, *options], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout if result.returncode == 0 else ""


def _cupy_version() -> str:
    found = (f"{version_of(package)} ({package})" for package in _CUPY_PACKAGES if version_of(package))
    return next(found, "missing: " + _cupy_line())


def _cupy_line() -> str:
    """What installs CuPy here."""
    extra = cuda_extra()
    line = f'pip install "cupy-{extra or "cuda13"}x[ctk]"'
    return line if extra else f"{line} (for a driver of CUDA 12 cupy-cuda12x; no NVIDIA GPU is seen here)"


def _devices() -> list[tuple[str, str]]:
    rows = [("cpu", f"{os.cpu_count() or 1} cores")]
    try:
        devices.resolve_device("cuda")
    except PortableNNError as error:
        return [*rows, ("cuda", f"unavailable: {error}")]
    names = _nvidia_smi("--query-gpu=name,memory.total", "--format=csv,noheader").splitlines()
    return rows + [(name, described.strip()) for name, described in
                   zip_longest(devices.available_devices()[1:], names, fillvalue="")]


def _fast_paths() -> list[tuple[str, str]]:
    """Rows (operation, where and whether active); a library that is missing is named with what installs it."""
    rows = []
    for library in _LIBRARIES:
        try:
            rows += [(kernel.operation, f"{library}: active, {kernel.name}") for kernel in kernels.available(library)]
        except ImportError:
            folder = Path(kernels.__file__).parent / library
            names = sorted(module.name for module in pkgutil.iter_modules([str(folder)]))
            rows += [(name, f"{library}: not active; {_cupy_line()}") for name in names if not name.startswith("_")]
    return rows or [("none", "every operation runs through its definition")]


def _table(rows: Iterable[tuple[str, str]]) -> list[str]:
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    return [f"  {name:{width}}  {value}" for name, value in rows]


if __name__ == "__main__":
    sys.exit(main())
