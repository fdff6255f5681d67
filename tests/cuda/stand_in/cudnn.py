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

data_type = SimpleNamespace(FLOAT=np.dtype("float32"), HALF=np.dtype("float16"), BFLOAT16=np.dtype(ml_dtypes.bfloat16),
                            INT32=np.dtype("int32"), INT64=np.dtype("int64"))
heur_mode = SimpleNamespace(A="A", FALLBACK="fallback")
diagonal_alignment = SimpleNamespace(TOP_LEFT="top left")
#: Every graph that was run, or built, since tests last emptied it.
executed: list[str] = []
built: list[str] = []


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

    def check_alignment(self) -> None:
        """As the frontend requires it of what is moved 16 bytes at once: query, key, value, results."""
        assert self.stride[3] == 1 or self.dim[3] == 1
        if any(n > 1 and step * self.data_type.itemsize % 16 for n, step in zip(self.dim[:3], self.stride[:3])):
            raise cudnnGraphNotSupportedError("not a multiple of the tensor's 16-byte alignment")

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
        self.io, self.handle, self.node = io_data_type, handle, None

    def tensor(self, *, dim: list[int], stride: list[int], data_type: Any = None, name: str = "") -> Tensor:
        return Tensor(data_type or self.io, dim, stride)

    def sdpa(self, *, q: Tensor, k: Tensor, v: Tensor, generate_stats: bool, name: str,
             **options: Any) -> list[Tensor | None]:
        out = Tensor(self.io)
        stats = Tensor(None, [*q.dim[:3], 1], [q.dim[1] * q.dim[2], q.dim[2], 1, 1]) if generate_stats else None
        self.node = name, (q, k, v), (out, stats) if generate_stats else (out,), Options(**options)
        return [out, stats]

    def sdpa_backward(self, *, q: Tensor, k: Tensor, v: Tensor, o: Tensor, dO: Tensor, stats: Tensor,
                      use_deterministic_algorithm: bool, name: str, **options: Any) -> list[Tensor]:
        assert use_deterministic_algorithm
        gradients = [Tensor(self.io) for _ in range(3)]
        self.node = name, (q, k, v, o, dO, stats), tuple(gradients), Options(**options)
        return gradients

    def build(self, heuristics: list) -> None:
        name, inputs, outputs, options = self.node
        if inputs[0].dim[3] == 104:  # so that a test sees what happens
            raise cudnnGraphNotSupportedError("a width that this stand-in does not take")
        assert all(x.is_output and x.data_type is not None for x in outputs)
        for x in (*inputs, *outputs):
            if x.data_type == self.io:
                x.check_alignment()
        options.check(inputs[0].dim[0])
        built.append(name if len(outputs) != 1 else f"{name} without stats")

    def get_workspace_size(self) -> int:
        return 640

    def execute(self, tensors: dict[Tensor, int], workspace: int, handle: Handle) -> None:
        name, inputs, outputs, options = self.node
        check(workspace, 640)
        assert handle is self.handle and handle.device == current_device()
        assert handle.stream == cupy.cuda.get_current_stream().ptr
        assert set(tensors) == {*inputs, *outputs, *options.tensors}
        assert all(pointer % 16 == 0 for x, pointer in tensors.items() if x.data_type == self.io)
        executed.append(name)
        kept = [check(pointer, 1) for pointer in tensors.values()]

        def run() -> None:
            read = [x.at(tensors[x]).astype(np.float32) for x in inputs]
            scores = options.read(tensors, inputs)
            made = (_forward if len(inputs) == 3 else _backward)(*read, scores)
            for x, value in zip(outputs, made):
                x.at(tensors[x])[...] = value.astype(x.data_type)

        run()
        record(lambda: kept and run(), f"cudnn.{self.node[0]}")


class Options:
    """What both directions take beside arrays."""

    def __init__(self, *, attn_scale: float, diagonal_alignment: Any = None,
                 diagonal_band_right_bound: int | None = None, dropout: tuple | None = None,
                 use_padding_mask: bool = False, seq_len_q: Tensor | None = None,
                 seq_len_kv: Tensor | None = None) -> None:
        assert use_padding_mask == (seq_len_q is not None) == (seq_len_kv is not None)
        self.scale, self.bound, self.dropout = attn_scale, diagonal_band_right_bound, dropout
        self.lengths = (seq_len_q, seq_len_kv) if use_padding_mask else ()
        self.tensors = (*(() if dropout is None else dropout[1:]), *self.lengths)

    def check(self, batch: int) -> None:
        if self.dropout is not None:
            assert 0 < self.dropout[0] < 1  # "cannot be 1 as corresponding scale wont be well formed"
            assert all(x.data_type == data_type.INT64 and x.dim == [1] * 4 for x in self.dropout[1:])
        assert all(x.data_type == data_type.INT32 and x.dim == [batch, 1, 1, 1] for x in self.lengths)

    def read(self, tensors: dict[Tensor, int], inputs: tuple) -> Scores:
        numbers = [x.at(tensors[x]) for x in self.tensors]
        (batch, heads, queries, _), keys = inputs[0].dim, inputs[1].dim[2]
        hidden, factors = np.zeros((batch, 1, queries, keys), bool), np.float32(1)
        if self.bound is not None:
            hidden |= np.arange(keys) > np.arange(queries)[:, None]
        padding = None
        if self.lengths:
            of_queries, of_keys = numbers[-2:]
            assert (of_queries == queries).all() and (of_keys >= 1).all() and (of_keys <= keys).all()
            padding = np.arange(keys) >= of_keys
            hidden |= padding
        if self.dropout is not None:
            p, (seed, offset) = self.dropout[0], (int(x[0, 0, 0, 0]) for x in numbers[:2])
            factors = keep(seed, offset, (batch, heads, queries, keys), p) / np.float32(1 - p)
        return Scores(self.scale, hidden, factors, padding)


def keep(seed: int, offset: int, shape: tuple[int, ...], p: float) -> np.ndarray:
    """The stand-in's own mask, of a seed and an offset; nobody knows cuDNN's."""
    assert seed >= 0 and 0 <= offset < 2**31 and offset % 4 == 0
    return np.random.Generator(np.random.Philox(key=[seed, offset])).random(shape, np.float32) >= p


class Scores(SimpleNamespace):
    def __init__(self, scale: float, hidden: np.ndarray, factors: Any, padding: Any) -> None:
        super().__init__(scale=scale, hidden=hidden, factors=factors, padding=padding)

    def of(self, q: np.ndarray, k: np.ndarray) -> np.ndarray:
        return np.where(self.hidden, -np.inf, self.scale * q @ k.swapaxes(-1, -2))


def _forward(q: Any, k: Any, v: Any, scores: Scores) -> tuple[np.ndarray, np.ndarray]:
    values = scores.of(q, k)
    top = values.max(-1, keepdims=True)
    stats = top + np.log(np.exp(values - top).sum(-1, keepdims=True))
    return np.exp(values - stats) * scores.factors @ v, stats


def _backward(q: Any, k: Any, v: Any, o: Any, g: Any, stats: Any, scores: Scores) -> tuple:
    w = np.exp(scores.of(q, k) - stats)
    g_s = w * (g @ v.swapaxes(-1, -2) * scores.factors - (g * o).sum(-1, keepdims=True))
    made = [scores.scale * g_s @ k, scores.scale * g_s.swapaxes(-1, -2) @ q, (w * scores.factors).swapaxes(-1, -2) @ g]
    if scores.padding is not None:  # what is left there is not documented
        made[1:] = [np.where(scores.padding.swapaxes(-1, -2), np.nan, x) for x in made[1:]]
    return tuple(made)
