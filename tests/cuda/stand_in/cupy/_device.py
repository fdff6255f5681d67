"""Devices, streams and graphs of the stand-in: two "GPUs", where everything runs at once and in order."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

COUNT = 2
_local = threading.local()


class CUDARuntimeError(RuntimeError):
    pass


def current_device() -> int:
    return getattr(_local, "device", 0)


class Device:
    def __init__(self, device: Any = None) -> None:
        self.id = current_device() if device is None else int(getattr(device, "id", device))
        if not 0 <= self.id < COUNT:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self._before: list[int] = []

    mem_info = (80 * 2**30, 80 * 2**30)
    compute_capability = "90"
    attributes = {"MultiProcessorCount": 4, "MaxSharedMemoryPerBlockOptin": 227 * 1024, "WarpSize": 32}

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Device) and self.id == other.id

    __hash__ = None  # type: ignore[assignment]  # as CuPy's

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def __enter__(self) -> Device:
        self._before.append(current_device())
        _local.device = self.id
        return self

    def __exit__(self, *exception: Any) -> None:
        _local.device = self._before.pop()

    def use(self) -> None:
        _local.device = self.id

    def synchronize(self) -> None:
        refuse_capture("cudaDeviceSynchronize")


class Graph:
    """What a stream recorded: functions that do it again, in the memory it was recorded with."""

    def __init__(self, steps: list[Callable[[], None]], memory: list[Any]) -> None:
        self.steps, self._memory = steps, memory

    def launch(self, stream: Any = None) -> None:
        for step in self.steps:
            step()

    def upload(self, stream: Any = None) -> None:
        pass


class Stream:
    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False) -> None:
        self.ptr = 0 if null else 2 if ptds else id(self)
        self._steps: list[Callable[[], None]] | None = None

    def __enter__(self) -> Stream:
        _local.streams = [*getattr(_local, "streams", []), self]
        return self

    def __exit__(self, *exception: Any) -> None:
        _local.streams.pop()

    def use(self) -> Stream:
        _local.streams = [*getattr(_local, "streams", [])[:-1], self]
        return self

    def is_capturing(self) -> bool:
        return self._steps is not None

    def begin_capture(self, mode: Any = None) -> None:
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        from cupy import _memory

        self._steps, self._memory, self._before = [], [], _memory.contents()
        self._names: list[str] = []

    def end_capture(self) -> Graph:
        """What was recorded has run here too, for shapes and views to be known: whatever it wrote to is put back."""
        from cupy import _memory

        steps, self._steps = self._steps, None
        if steps is None:
            raise CUDARuntimeError("cudaErrorIllegalState: the stream is not capturing")
        _memory.restore(self._before)
        recorded[:] = self._names
        return Graph(steps, self._memory)

    def synchronize(self) -> None:
        if self.is_capturing():
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: not permitted when stream is capturing")
        finish_copies(self.ptr)

    def record(self, event: Any = None) -> Any:
        event = event or Event()
        event.stream = self.ptr
        return event

    def wait_event(self, event: Any) -> None:
        finish_copies(event.stream)

    @property
    def done(self) -> bool:
        return True


class ExternalStream(Stream):
    pass


class Event:
    def __init__(self, *arguments: Any, **options: Any) -> None:
        pass

    stream = 0

    def record(self, stream: Any = None) -> None:
        self.stream = (stream or current_stream()).ptr

    def synchronize(self) -> None:
        finish_copies(self.stream)

    done = True


Stream.null = Stream(null=True)  # type: ignore[attr-defined]
Stream.ptds = Stream(ptds=True)  # type: ignore[attr-defined]


def current_stream() -> Stream:
    streams = getattr(_local, "streams", None)
    return streams[-1] if streams else Stream.null  # type: ignore[attr-defined]


#: What the last graph launches: kernels of ours by name, CuPy's functions by theirs, products, attention, copies.
recorded: list[str] = []


def record(step: Callable[[], None], name: str) -> None:
    """Have the step done again by the graph that the current stream records, if it records one."""
    stream = current_stream()
    if stream._steps is not None:
        stream._steps.append(step)
        stream._names.append(name)


#: Copies that were given to a stream beside the current one, until something waits for it.
_under_way: dict[int, list[tuple[int, int, int]]] = {}


def finish_copies(stream: int) -> None:
    """Make the copies that a stream was given; memory that they write to must still be somebody's."""
    from cupy import _memory

    for target, source, size in _under_way.pop(stream, ()):
        if not _memory.is_taken(target):
            raise CUDARuntimeError("an array was given back while a stream was still to write to it")
        ctypes.memmove(target, source, size)


def copy_memory(target: int, source: int, size: int, kind: int, stream: int) -> None:
    """cudaMemcpyAsync."""
    if stream != current_stream().ptr:
        _under_way.setdefault(stream, []).append((target, source, size))
        return
    ctypes.memmove(target, source, size)
    record(lambda: ctypes.memmove(target, source, size) and None, "copy")


def refuse_capture(what: str) -> None:
    if current_stream().is_capturing():
        raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing "
                               f"({what})")


_ATTRIBUTES = {120: 1}  # cudaDevAttrClusterLaunch: the emulator has clusters, of up to 2048 threads

runtime = SimpleNamespace(getDeviceCount=lambda: COUNT, getDevice=current_device, CUDARuntimeError=CUDARuntimeError,
                          setDevice=lambda device: Device(device).use(), runtimeGetVersion=lambda: 13000,
                          driverGetVersion=lambda: 13000, deviceSynchronize=lambda: refuse_capture("synchronize"),
                          streamIsCapturing=lambda pointer: current_stream().is_capturing(),
                          memcpyAsync=copy_memory, memcpyHostToDevice=1, memcpyDeviceToHost=2, memcpyDeviceToDevice=3,
                          deviceGetAttribute=lambda attribute, device: _ATTRIBUTES.get(attribute, 4), is_hip=False,
                          getDeviceProperties=lambda device: {"name": b"none, a stand-in", "major": 9, "minor": 0,
                                                              "totalGlobalMem": 80 * 2**30})
