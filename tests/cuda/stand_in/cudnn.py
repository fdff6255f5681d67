"""What the library asks of nvidia-cudnn-frontend: attention over the memory of the stand-in `cupy`. It is NOT cuDNN."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import cupy
import ml_dtypes
import numpy as np
from cupy._device import current_device, record
from nvmath.bindings._memory import check

data_type = SimpleNamespace(FLOAT=np.dtype("float32"), HALF=np.dtype("float16"), BFLOAT16=np.dtype(ml_dtypes.bfloat16))
heur_mode = SimpleNamespace(A="A", FALLBACK="fallback")
diagonal_alignment = SimpleNamespace(TOP_LEFT="top left")
#: Every graph that was run since tests last emptied it.
executed: list[str] = []


class cudnnGraphNotSupportedError(Exception):
    pass


class Handle:
    def __init__(self) -> None:
        self.device, self.stream = current_device(), 0


def create_handle() -> Handle:
    return Handle()


def destroy_handle(handle: Handle) -> None:
    pass


def set_stream(handle: Handle, stream: int) -> None:
    handle.stream = stream


class Tensor:
    def __init__(self, data_type: Any, dim: Any = None, stride: Any = None) -> None:
        self.data_type, self.dim, self.stride, self.is_output = data_type, dim, stride, False

    def set_output(self, value: bool) -> Tensor:
        self.is_output = value
        return self

    def set_dim(self, dim: list[int]) -> Tensor:
        self.dim = dim
        return self

    def set_stride(self, stride: list[int]) -> Tensor:
        self.stride = stride
        return self

    def set_data_type(self, data_type: Any) -> Tensor:
        self.data_type = data_type
        return self

    def at(self, pointer: int) -> np.ndarray:
        """The elements at an address, which must lie in one array."""
        size = self.data_type.itemsize
        reach = (sum((n - 1) * step for n, step in zip(self.dim, self.stride, strict=True)) + 1) * size
        check(pointer, reach)
        raw = np.frombuffer((ctypes.c_ubyte * reach).from_address(pointer), np.uint8)
        return np.lib.stride_tricks.as_strided(raw[:size].view(self.data_type), self.dim,
                                               [step * size for step in self.stride])


class pygraph:
    def __init__(self, *, io_data_type: Any, intermediate_data_type: Any, compute_data_type: Any,
                 handle: Handle) -> None:
        self.io, self.handle, self.node, self.inputs = io_data_type, handle, None, []

    def tensor(self, *, dim: list[int], stride: list[int], data_type: Any = None, name: str = "") -> Tensor:
        self.inputs.append(Tensor(data_type or self.io, dim, stride))
        return self.inputs[-1]

    def sdpa(self, *, q: Tensor, k: Tensor, v: Tensor, attn_scale: float, generate_stats: bool, name: str,
             diagonal_alignment: Any = None, diagonal_band_right_bound: int | None = None) -> tuple[Tensor, Tensor]:
        out, stats = Tensor(self.io), Tensor(None, [*q.dim[:3], 1], [q.dim[1] * q.dim[2], q.dim[2], 1, 1])
        self.node = (name, (q, k, v), (out, stats), attn_scale, diagonal_band_right_bound)
        return out, stats

    def sdpa_backward(self, *, q: Tensor, k: Tensor, v: Tensor, o: Tensor, dO: Tensor, stats: Tensor, attn_scale: float,
                      use_deterministic_algorithm: bool, name: str, diagonal_alignment: Any = None,
                      diagonal_band_right_bound: int | None = None) -> tuple[Tensor, ...]:
        assert use_deterministic_algorithm
        gradients = tuple([Tensor(self.io) for _ in range(3)])
        self.node = (name, (q, k, v, o, dO, stats), gradients, attn_scale, diagonal_band_right_bound)
        return gradients

    def build(self, heuristics: list) -> None:
        if self.node[1][0].dim[3] == 104:  # so that a test sees what happens
            raise cudnnGraphNotSupportedError("a width that this stand-in does not take")
        assert all(x.is_output and x.data_type is not None for x in self.node[2])

    def get_workspace_size(self) -> int:
        return 640

    def execute(self, tensors: dict[Tensor, int], workspace: int, handle: Handle) -> None:
        name, inputs, outputs, scale, bound = self.node
        check(workspace, 640)
        assert handle is self.handle and handle.device == current_device()
        assert handle.stream == cupy.cuda.get_current_stream().ptr
        executed.append(name)
        kept = [check(pointer, 1) for pointer in tensors.values()]

        def run() -> None:
            read = [x.at(tensors[x]).astype(np.float32) for x in inputs]
            made = (_forward if len(inputs) == 3 else _backward)(*read, scale, bound)
            for x, value in zip(outputs, made, strict=True):
                x.at(tensors[x])[...] = value.astype(x.data_type)

        run()
        record(lambda: kept and run())


def _scores(q: np.ndarray, k: np.ndarray, scale: float, bound: int | None) -> np.ndarray:
    scores = scale * q @ k.swapaxes(-1, -2)
    late = np.arange(k.shape[2]) > np.arange(q.shape[2])[:, None]
    return scores if bound is None else np.where(late, -np.inf, scores)


def _forward(q: Any, k: Any, v: Any, scale: float, bound: int | None) -> tuple[np.ndarray, np.ndarray]:
    scores = _scores(q, k, scale, bound)
    top = scores.max(-1, keepdims=True)
    stats = top + np.log(np.exp(scores - top).sum(-1, keepdims=True))
    return np.exp(scores - stats) @ v, stats


def _backward(q: Any, k: Any, v: Any, o: Any, g: Any, stats: Any, scale: float, bound: int | None) -> tuple:
    w = np.exp(_scores(q, k, scale, bound) - stats)
    g_s = w * (g @ v.swapaxes(-1, -2) - (g * o).sum(-1, keepdims=True))
    return scale * g_s @ k, scale * g_s.swapaxes(-1, -2) @ q, w.swapaxes(-1, -2) @ g
