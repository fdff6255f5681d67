"""Compiles and launches the kernels of `src/`, on the current device and stream.

A kernel is an `extern "C"` function (`KERNEL name(...)`) of a file `src/<file>.cu`, which begins with
`#include "common.cuh"` and is compiled by NVRTC when first needed, once for each scalar type; CuPy caches the binary on
disk and, per device, in memory. To launch one::

    out = empty(x.shape, x.dtype)                              # quicker than cupy.empty, and as uninitialised
    elements(kernel("elementwise", "relu", x.dtype.char), x, (x, out, x.size, 0.0, 0.0))

- Arguments: arrays (contiguous ones: `contiguous(x)`) as pointers, Python's int as `int64`, float as `double`, 0 as a
  null pointer; never None, bool or a NumPy array.
- Arrays must be on the current device, as for CuPy's own functions. Nothing is kept per device or per stream here.
- Nothing is read back and nothing is allocated but by `empty`, from CuPy's current allocator, so a launch can be
  recorded in a CUDA graph once the kernel has run before.
- Grids are computed from shapes by `elements` (elementwise, a grid-stride loop `FOR_ALL`) and `rows` (one row to 32 or
  more threads, `ROW_KERNEL`, `row_of_thread()` and `FOR_ROW`); an empty array launches nothing. A kernel of another
  shape is called as CuPy's RawKernel is: `kernel(...)(grid, block, arguments, shared_mem=bytes)`.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import cupy

SOURCES = Path(__file__).parent / "src"
#: The character of a dtype -> the SCALAR that a source is compiled with: float32, float64, float16, bfloat16.
SCALARS = {"f": 0, "d": 1, "e": 2, "E": 3}
#: How many scalars a thread moves at once, 16 bytes: WIDE of common.cuh.
WIDE = {"f": 4, "d": 2, "e": 8, "E": 8}
THREADS = 256
_INT64 = cupy.dtype("int64")
OPTIONS = ("-std=c++17",)
_INCLUDE = re.compile(r'^#include "([\w.]+)"\n', re.MULTILINE)

#: `empty(shape, dtype)`: the constructor itself takes half as long as cupy.empty.
empty = cupy.ndarray


def source(file: str) -> str:
    """The text of `src/<file>`, with what it includes put in its place: CuPy's cache knows a kernel by its text."""
    seen: set[str] = set()

    def read(name: str) -> str:
        if name in seen:
            return ""
        seen.add(name)
        text = (SOURCES / name).read_text(encoding="utf-8").replace("#pragma once\n", "")
        return _INCLUDE.sub(lambda match: read(match[1]), text)

    return read(file)


@functools.cache
def module(file: str, char: str = "f", *defines: str) -> Any:
    """The RawModule of `src/<file>.cu` for a dtype's character, with defines such as "WIDTH=64"."""
    options = (*OPTIONS, f"-DSCALAR={SCALARS[char]}", *(f"-D{define}" for define in defines))
    return cupy.RawModule(code=source(f"{file}.cu"), options=options)


@functools.cache
def kernel(file: str, name: str, char: str = "f", *defines: str) -> Any:
    """The RawKernel `name` of `src/<file>.cu`, for a dtype's character."""
    return module(file, char, *defines).get_function(name)


def is_floating(x: Any) -> bool:
    """Whether x is a CuPy array of a dtype that the kernels are compiled for."""
    return type(x) is cupy.ndarray and x.dtype.char in SCALARS


def contiguous(x: Any) -> Any:
    """x itself if its elements lie in a row, else a copy."""
    return x if x.flags.c_contiguous else cupy.ascontiguousarray(x)


def as_int64(x: Any) -> Any:
    """Integers as the kernels take them: contiguous int64."""
    return contiguous(x if x.dtype == _INT64 else x.astype(_INT64))


def elements(function: Any, like: Any, arguments: tuple) -> None:
    """Launch over all elements of arrays of the size and dtype of `like`, 16 bytes a thread."""
    count = like.size
    if count:
        function((-(-count // (THREADS * WIDE[like.dtype.char])),), (THREADS,), arguments)


def rows(function: Any, count: int, width: int, arguments: tuple) -> None:
    """Launch over `count` rows of `width` elements: a warp for a narrow one, up to 512 threads for a wide one."""
    if not count:
        return
    if width <= 1024:
        function((-(-count // 4),), (32, 4), arguments)
    else:
        function((count,), (128 if width <= 2048 else 256 if width <= 8192 else 512, 1), arguments)
