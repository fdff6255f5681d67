"""RawModule and RawKernel, whose launches the emulator runs; arguments become what CuPy makes of them."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from cupy._array import ndarray
from cupy._device import CUDARuntimeError, current_device, record
from cupy._memory import all_intact
from tests.cuda.emulation.build import EmulationError, compile_kernels, kind_of

#: In which order the threads of a block run: `tests.cuda.emulation.build.ORDERS`. Tests set it.
order = 0
#: Every launch since tests last emptied it: (kernel, grid, block).
launches: list[tuple[str, tuple, tuple]] = []


class RawKernel:
    def __init__(self, code: str, name: str, options: tuple = (), backend: str = "nvrtc",
                 **others: Any) -> None:
        self.code, self.name, self.options = code, name, tuple(options)
        self.expressions = others.get("name_expressions")
        self.max_dynamic_shared_size_bytes = 48 * 1024

    @property
    def kernel(self) -> Any:
        return compile_kernels(self.code, self.options, self.expressions)[self.name]

    def compile(self, log_stream: Any = None) -> None:
        _ = self.kernel

    def _clusters(self, grid: tuple, block: tuple) -> tuple[tuple, tuple]:
        """A cluster of blocks, of which there are `CLUSTER` along x, as one block: see cluster.cuh."""
        size = next((int(option.partition("=")[2]) for option in self.options if option.startswith("-DCLUSTER=")), 1)
        if size == 1:
            return grid, block
        if grid[0] % size or len(block) > 1:
            raise CUDARuntimeError(f"cudaErrorInvalidConfiguration: grid {grid} in clusters of {size}")
        return (grid[0] // size, *grid[1:]), (*block, size)

    def __call__(self, grid: tuple, block: tuple, args: tuple, *, shared_mem: int = 0, stream: Any = None) -> None:
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise CUDARuntimeError(f"cudaErrorInvalidValue: {shared_mem} bytes of dynamic shared memory, "
                                   f"{self.max_dynamic_shared_size_bytes} were allowed")
        if not (isinstance(grid, tuple) and isinstance(block, tuple)):
            raise TypeError("grid and block must be tuples")
        if 0 in grid or 0 in block:
            raise EmulationError(f"{self.name}: a grid {grid} of blocks {block}, where CuPy would launch one block")
        if max(grid[1:], default=1) > 65535 or grid[0] > 2**31 - 1 or (len(block) > 2 and block[2] > 64):
            raise CUDARuntimeError(f"cudaErrorInvalidConfiguration: a grid {grid} of blocks {block} for {self.name}")
        kernel, packed = self.kernel, [_pack(x) for x in args]
        if sum(-(-len(value) // 8) * 8 for _, value in packed) > 4096:
            raise CUDARuntimeError(f"cudaErrorInvalidValue: more than 4 KB of arguments for {self.name}")
        launches.append((self.name, grid, block))
        grid, block = self._clusters(grid, block)

        def launch() -> None:
            kernel(grid, block, packed, shared_mem, order)
            for i, x in enumerate(args):
                if isinstance(x, ndarray) and not x._piece.intact():
                    raise EmulationError(f"{self.name} wrote outside of its argument {i}, an array {x.shape} {x.dtype}")
            if any(isinstance(x, np.ndarray) for x in args) and not all_intact():  # addresses may be in it
                raise EmulationError(f"{self.name} wrote outside of an array")

        launch()
        record(launch, self.name)


def _pack(x: Any) -> tuple[str, bytes]:
    if isinstance(x, ndarray):
        if x._piece.device != current_device():
            raise EmulationError(f"an array of device {x._piece.device} for a kernel on device {current_device()}")
        return f"*{kind_of(x.dtype)}", struct.pack("P", x.data.ptr)
    if type(x) is int:
        return "q", struct.pack("q", x) if x < 2**63 else struct.pack("Q", x)
    if type(x) is float:
        return "d", struct.pack("d", x)
    if isinstance(x, np.generic):
        return kind_of(x.dtype), x.tobytes()
    if isinstance(x, np.ndarray) and x.size == 1:  # a struct, by value
        return f"<{x.nbytes}>" if x.dtype.names else kind_of(x.dtype), x.tobytes()
    raise TypeError(f"Unsupported type {type(x)}: pass arrays, Python int and float, or NumPy scalars; 0 for no array")


class RawModule:
    def __init__(self, *, code: str, options: tuple = (), backend: str = "nvrtc", name_expressions: Any = None,
                 **others: Any) -> None:
        if not isinstance(options, tuple):
            raise TypeError("options must be a tuple")
        self.code, self.options = code, options
        self.expressions = None if name_expressions is None else tuple(name_expressions)

    def get_function(self, name: str) -> RawKernel:
        return RawKernel(self.code, name, self.options, name_expressions=self.expressions)

    def compile(self, log_stream: Any = None) -> None:
        compile_kernels(self.code, self.options, self.expressions)
