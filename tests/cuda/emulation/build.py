"""Compiles CUDA source with g++ and launches its kernels on host memory: see runtime.cpp for what that proves.

A library is made once for each source and its defines, and kept in the temporary folder under a name made of both.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import math
import os
import platform
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
_KERNEL = re.compile(r'extern\s+"C"\s+void\s+(?:BOUNDED\((\d+)[^)]*\)\s*)?(\w+)\s*\(')
#: Threads that a block may have whatever the compiler does: 255 registers each still fit. More needs __launch_bounds__.
SAFE_THREADS = 256
#: Without optimisation the lambdas and packs of the kernels are ten times slower; more than this takes long to compile.
_FLAGS = ["-std=c++17", "-O1", "-fPIC", "-shared", "-w", "-ffp-contract=off", "-fno-strict-aliasing"]
_LETTERS = {"float32": "f", "float64": "d", "float16": "h", "bfloat16": "h", "bool": "B"}
#: The order in which the threads of a block run, and the blocks: 0 as numbered, 1 backwards, n > 1 some other.
ORDERS = (0, 1, 5)

#: The emulator has one set of threads; launches of two Python threads take turns.
_one_at_a_time = threading.Lock()


class EmulationError(Exception):
    """A launch that would fail, hang, or corrupt memory on a GPU."""


@functools.cache
def missing() -> str | None:
    """Why kernels cannot be emulated here, or None."""
    if platform.system() != "Linux":
        return f"the emulator needs Linux, this is {platform.system()}"
    return None if shutil.which("g++") else "the emulator needs g++"


def library(text: str, name: str, mode: int = ctypes.RTLD_LOCAL) -> ctypes.CDLL:
    """The shared library of C++ source, compiled unless it was before."""
    parts = [text, *(path.read_text(encoding="utf-8") for path in sorted(HERE.glob("*.[hc]*"))), *_FLAGS]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    folder = Path(tempfile.gettempdir()) / f"portable_nn_emulated_{os.getuid()}"
    folder.mkdir(exist_ok=True)
    target = folder / f"{name}_{digest}.so"
    if not target.exists():
        own = folder / f"{name}_{digest}_{os.getpid()}_{threading.get_ident()}"
        source, built = own.with_suffix(".cpp"), own.with_suffix(".so")
        source.write_text(text, encoding="utf-8")
        command = ["g++", *_FLAGS, f"-I{HERE}", str(source), "-o", str(built)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise EmulationError(f"g++ refuses {name}:\n{result.stderr[:4000]}")
        built.replace(target)
        source.unlink()
    return ctypes.CDLL(str(target), mode=mode)


@functools.cache
def _runtime() -> ctypes.CDLL:
    runtime = library((HERE / "runtime.cpp").read_text(encoding="utf-8"), "runtime", ctypes.RTLD_GLOBAL)
    runtime.emulator_message.restype = ctypes.c_char_p
    return runtime


def _preprocessed(code: str) -> str:
    """The source with its macros expanded, some of which make kernels; `__global__` is nothing then."""
    command = ["g++", "-E", "-P", "-x", "c++", "-D__global__=", "-D__launch_bounds__(...)=BOUNDED(__VA_ARGS__)", "-"]
    return subprocess.run(command, input=code, capture_output=True, text=True, check=True).stdout


@functools.cache
def compile_kernels(code: str, options: tuple[str, ...], expressions: tuple[str, ...] | None) -> dict[str, Kernel]:
    """Every kernel of the source (`extern "C"` ones, or the named expressions), by name."""
    _runtime()
    defines = [f"#define {option[2:].replace('=', ' ', 1)}" for option in options if option.startswith("-D")]
    found = _KERNEL.findall(_preprocessed("\n".join([*defines, code])))
    bounds = {name: int(bound or SAFE_THREADS) for bound, name in found}
    names = expressions or tuple(bounds)
    # In an unnamed namespace everything is this file's own, static shared memory inside templates too.
    text = "\n".join(["#include \"shim.h\"", *defines, "namespace {", "#line 1", code, "}",
                      *(f"EMULATED_KERNEL({i}, {name})" for i, name in enumerate(names)), ""])
    built = library(text, "kernels")
    return {name: Kernel(name, built, i, bounds.get(name, 1024)) for i, name in enumerate(names)}


class Kernel:
    """One compiled kernel."""

    def __init__(self, name: str, built: ctypes.CDLL, number: int, most_threads: int) -> None:
        self.name, self.most_threads = name, most_threads
        self._launch = built[f"launch_{number}"]
        text = ctypes.create_string_buffer(1024)
        built[f"describe_{number}"](text)
        self.parameters = re.findall(r"\*?(?:<\d+>|.)", text.value.decode())

    def __call__(self, grid: Sequence[int], block: Sequence[int], arguments: Sequence[tuple[str, bytes]],
                 shared: int = 0, order: int = 0) -> None:
        """Run the whole grid. An argument is its kind ("*f" for a pointer to float, "q", "d", …) and its bytes."""
        self._check([kind for kind, _ in arguments])
        if math.prod(block) > self.most_threads:
            raise EmulationError(f"{self.name}: {math.prod(block)} threads in a block, and it is compiled for "
                                 f"{self.most_threads}; say __launch_bounds__ or ROW_KERNEL")
        cells = [ctypes.create_string_buffer(value, len(value)) for _, value in arguments]
        pointers = (ctypes.c_void_p * len(cells))(*map(ctypes.addressof, cells))
        sizes = [(ctypes.c_uint * 3)(*[*extent, 1, 1][:3]) for extent in (grid, block)]
        with _one_at_a_time:
            if self._launch(*sizes, ctypes.c_uint64(shared), pointers, order):
                raise EmulationError(f"{self.name}: {_runtime().emulator_message().decode()}")

    def _check(self, kinds: list[str]) -> None:
        fits = len(kinds) == len(self.parameters) and all(
            given == wanted or (wanted[0] == "*" and (given in ("q", "*v") or (wanted == "*v" and given[0] == "*")))
            for given, wanted in zip(kinds, self.parameters))
        if not fits:
            raise EmulationError(f"{self.name} takes {' '.join(self.parameters)}, but was given {' '.join(kinds)} "
                                 "(* is a pointer; f d h i q B are float, double, 16, 32 and 64 bits, and a byte)")


def kind_of(dtype: Any) -> str:
    """The letter of a dtype in a kernel's signature."""
    if np.dtype(dtype).fields:  # a structure, passed by value
        return f"<{np.dtype(dtype).itemsize}>"
    name = np.dtype(dtype).name
    return _LETTERS.get(name) or {1: "B", 2: "h", 4: "i", 8: "q"}[np.dtype(dtype).itemsize]
