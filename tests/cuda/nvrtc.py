"""Compiles CUDA source without a GPU: NVRTC through ctypes, from one of its pip packages or a toolkit."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
import os
from pathlib import Path

#: Where pip's packages keep it: nvidia-cuda-nvrtc (CUDA 13 and newer), nvidia-cuda-nvrtc-cu12.
_PACKAGES = {13: "nvidia.cu13", 12: "nvidia.cuda_nvrtc"}


class CompilerError(Exception):
    """NVRTC refused a source; the message is its log."""


class Nvrtc:
    """One version of the compiler."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        count = ctypes.c_int()
        self._call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
        numbers = (ctypes.c_int * count.value)()
        self._call("nvrtcGetSupportedArchs", numbers)
        self.architectures = list(numbers)

    def _call(self, function: str, *arguments: object) -> None:
        status = getattr(self._library, function)(*arguments)
        if status:
            raise CompilerError(f"{function} returned {status}")

    def compile(self, code: str, name: str, options: list[str]) -> bytes:
        """The machine code (cubin) of a source."""
        program = ctypes.c_void_p()
        self._call("nvrtcCreateProgram", ctypes.byref(program), code.encode(), name.encode(), 0, None, None)
        try:
            flags = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
            if self._library.nvrtcCompileProgram(program, len(options), flags):
                raise CompilerError(f"{name} {' '.join(options)}:\n{self._text(program, 'ProgramLog')[:6000]}")
            return self._bytes(program, "CUBIN")
        finally:
            self._call("nvrtcDestroyProgram", ctypes.byref(program))

    def _bytes(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{what}", program, buffer)
        return buffer.raw

    def _text(self, program: ctypes.c_void_p, what: str) -> str:
        return self._bytes(program, what).rstrip(b"\0").decode(errors="replace")


@functools.cache
def find(version: int) -> Nvrtc | None:
    """NVRTC of CUDA 12 or 13, or None where it is not installed."""
    try:
        package = importlib.util.find_spec(_PACKAGES[version])
    except ModuleNotFoundError:
        package = None
    folders = [Path(folder) / "lib" for folder in (package.submodule_search_locations or [] if package else [])]
    if toolkit := os.environ.get("CUDA_PATH"):
        folders.append(Path(toolkit) / "lib64")
    for folder in folders:
        for path in sorted(folder.glob(f"libnvrtc.so.{version}")):
            return Nvrtc(path)
    return None
