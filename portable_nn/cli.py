"""`python -m portable_nn`: versions, devices, and which fast paths are active here."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from portable_nn.backend.errors import PortableNNError

_PACKAGES = ("numpy", "array-api-compat", "scikit-learn", "scipy", "safetensors", "tqdm")
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
                    + [("cupy", _cupy_version())])
    lines += ["", "Devices", *_table(_devices())]
    paths, missing = _fast_paths()
    return lines + ["", "Fast paths", *_table(paths), *([""] if missing else []), *missing]


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
    for package in _CUPY_PACKAGES:
        version = version_of(package)
        if version is not None:
            return f"{version} ({package})"
    extra = cuda_extra()
    return f"missing: {_pip_line(extra)}" if extra else "not installed (no NVIDIA GPU is seen here)"


def _pip_line(extra: str) -> str:
    return f'pip install "portable_nn[{extra}]"'


def _devices() -> list[tuple[str, str]]:
    rows = [("cpu", f"{os.cpu_count() or 1} cores")]
    try:
        devices = importlib.import_module("portable_nn.backend.devices")
        devices.resolve_device("cuda")
    except (PortableNNError, ImportError) as error:
        return [*rows, ("cuda", f"unavailable: {error}")]
    names = _nvidia_smi("--query-gpu=name,memory.total", "--format=csv,noheader").splitlines()
    return rows + [(f"cuda:{number}", name.strip()) for number, name in enumerate(names or ["available"])]


def _fast_paths() -> tuple[list[tuple[str, str]], list[str]]:
    """Rows (operation, where and whether active), and one line for each thing to install."""
    kernels: Any = importlib.import_module("portable_nn.kernels")
    available = getattr(kernels, "available", None)
    rows: list[tuple[str, str]] = []
    missing: dict[str, None] = {}  # a set that keeps the order
    for operation, library, module, active, reason in available() if available else ():
        rows.append((operation, f"{library}: active, {module}" if active else f"{library}: not active: {reason}"))
        if not active and reason:
            line = re.search(r"pip install .*", str(reason))
            missing[line[0] if line else _install_line(library)] = None
    return rows or [("none", "every operation runs through its definition")], \
        [f"To activate more: {line}" for line in missing if line]


def _install_line(library: str) -> str:
    extra = cuda_extra() if library == "cupy" else None
    return _pip_line(extra) if extra else ""


def _table(rows: Iterable[tuple[str, str]]) -> list[str]:
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    return [f"  {name:{width}}  {value}" for name, value in rows]


if __name__ == "__main__":
    sys.exit(main())
