"""attention in half precision through cuDNN (nvidia-cudnn-frontend), forward and its deterministic backward.

It takes bfloat16 and float16 arrays, and float32 ones in a context of lower precision, which are rounded on the way in
and whose results are float32 again. What it does not take, masks and dropout among it, our own kernels do: see
`attention`. A mask of booleans could be padding or anything else, and only the device knows; dropout in cuDNN has a
stream of its own. Graphs of cuDNN take 0.1 to 1 s to build, and are kept by each thread for each device.
"""

from __future__ import annotations

import functools
import importlib
import threading
from typing import Any, NamedTuple

import cupy

from portable_nn.backend.notices import notice
from portable_nn.kernels.cupy.heads import four_axes, like
from portable_nn.kernels.cupy.launch import empty
from portable_nn.kernels.cupy.products import HALVES, cast, chosen_precision, widen
from portable_nn.kernels.registry import register

_INSTALL = "pip install --no-deps nvidia-cudnn-frontend, and pip install nvidia-cudnn-cu13 (or -cu12)"
_WIDEST = 128  # of what cuDNN has a gradient for on every GPU since Ampere
_NAMES = {"E": "BFLOAT16", "e": "HALF"}
_UINT8, _FLOAT32 = cupy.dtype("uint8"), cupy.dtype("float32")
_local = threading.local()


@functools.cache
def obstacle() -> str | None:
    """What keeps attention from going through cuDNN, and what to do; None where nothing does."""
    try:
        cudnn = importlib.import_module("cudnn")
        cudnn.destroy_handle(cudnn.create_handle())
    except ImportError:
        return f"nvidia-cudnn-frontend is not installed; {_INSTALL}"
    except Exception as error:  # whatever keeps cuDNN from being loaded
        return f"cuDNN cannot be used ({error}); {_INSTALL}"
    return None


@functools.cache
def _is_recent(device: int) -> bool:
    return int(cupy.cuda.Device(device).compute_capability) >= 80


class Sizes(NamedTuple):
    """What a graph is built for: shapes and strides (outer, inner, rows, width) of query, key and value."""

    device: int
    kind: str
    shapes: tuple
    strides: tuple
    causal: bool
    scale: float


class Graphs:
    """cuDNN's graphs of one call: forward, and its gradient, made when it is first asked for."""

    def __init__(self, sizes: Sizes) -> None:
        self.cudnn, self.sizes, self.handle = importlib.import_module("cudnn"), sizes, _handle(sizes.device)
        outer, inner, rows, _ = sizes.shapes[0]
        self.logs_shape = (outer, inner, rows, 1)
        self.forward = self._build(self._make_forward)
        self.backward = self._build(self._make_backward)

    def _build(self, make: Any) -> tuple[Any, tuple, int]:
        """A graph, its tensors in the order in which they are passed, and the bytes that it works in."""
        types = self.cudnn.data_type
        graph = self.cudnn.pygraph(io_data_type=getattr(types, _NAMES[self.sizes.kind]),
                                   intermediate_data_type=types.FLOAT, compute_data_type=types.FLOAT,
                                   handle=self.handle)
        tensors = make(graph)
        graph.build([self.cudnn.heur_mode.A, self.cudnn.heur_mode.FALLBACK])
        return graph, tensors, graph.get_workspace_size()

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"attn_scale": self.sizes.scale}
        if self.sizes.causal:
            options.update(diagonal_alignment=self.cudnn.diagonal_alignment.TOP_LEFT, diagonal_band_right_bound=0)
        return options

    def _inputs(self, graph: Any) -> dict[str, Any]:
        return {name: graph.tensor(dim=list(shape), stride=list(step), name=name) for name, shape, step in zip(
            ("q", "k", "v"), self.sizes.shapes, self.sizes.strides[:3], strict=True)}

    def _of_out(self) -> tuple[list[int], list[int]]:
        return [*self.sizes.shapes[0][:3], self.sizes.shapes[2][3]], list(self.sizes.strides[3])

    def _of_logs(self) -> tuple[list[int], list[int]]:
        outer, inner, rows, _ = self.logs_shape
        return [outer, inner, rows, 1], [inner * rows, rows, 1, 1]

    def _make_forward(self, graph: Any) -> tuple:
        inputs = self._inputs(graph)
        out, logs = graph.sdpa(**inputs, generate_stats=True, name="attention", **self._options())
        dim, stride = self._of_out()
        out.set_output(True).set_dim(dim).set_stride(stride)
        logs.set_output(True).set_data_type(self.cudnn.data_type.FLOAT)
        return *inputs.values(), out, logs

    def _make_backward(self, graph: Any) -> tuple:
        inputs = self._inputs(graph)
        dim, stride = self._of_out()
        out, g = (graph.tensor(dim=dim, stride=stride, name=name) for name in ("o", "dO"))
        dim, stride = self._of_logs()
        logs = graph.tensor(dim=dim, stride=stride, data_type=self.cudnn.data_type.FLOAT, name="stats")
        gradients = graph.sdpa_backward(**inputs, o=out, dO=g, stats=logs, use_deterministic_algorithm=True,
                                        name="attention_backward", **self._options())
        for x, shape, step in zip(gradients, self.sizes.shapes, self.sizes.strides[:3], strict=True):
            x.set_output(True).set_dim(list(shape)).set_stride(list(step))
        return *inputs.values(), out, g, logs, *gradients

    def run(self, which: tuple[Any, tuple, int], arrays: tuple) -> None:
        """Run a graph on the current stream."""
        graph, tensors, size = which
        self.cudnn.set_stream(handle=self.handle, stream=cupy.cuda.get_current_stream().ptr)
        workspace = empty((max(size, 1),), _UINT8)
        graph.execute({t: x.data.ptr for t, x in zip(tensors, arrays, strict=True)}, workspace.data.ptr,
                      handle=self.handle)


def _handle(device: int) -> Any:
    handles = _local.__dict__.setdefault("handles", {})
    if device not in handles:
        handles[device] = importlib.import_module("cudnn").create_handle()
    return handles[device]


def _graphs(sizes: Sizes) -> Graphs | None:
    """The graphs for a call, None where cuDNN has none."""
    made = _local.__dict__.setdefault("graphs", {})
    if sizes not in made:
        try:
            made[sizes] = Graphs(sizes)
        except Exception as error:  # cuDNN's own exceptions are of many types
            made[sizes] = None
            notice(f"cuDNN does not take attention of {sizes.shapes}, so our slower kernel does: {str(error):.200}")
    return made[sizes]


def _dense(x: Any, width: int) -> tuple[int, ...]:
    """The strides of an array like x with rows of `width`, as `like` makes it."""
    outer, inner, rows, _ = x.shape
    if inner > 1 and x.strides[1] < x.strides[2]:
        return inner * rows * width, width, inner * width, 1
    return inner * rows * width, rows * width, width, 1


def _kind(query: Any) -> str | None:
    """The character of the dtype that cuDNN is to compute in, None where it is not to."""
    if query.dtype.char == "f":
        return HALVES.get(chosen_precision() or "", (None,))[0]
    return query.dtype.char if query.dtype.char in _NAMES else None


def _sizes(query: Any, key: Any, value: Any, causal: bool, scale: float, kind: str) -> Sizes:
    arrays = four_axes(query), four_axes(key), four_axes(value)
    steps = [_dense(x, x.shape[3]) for x in arrays]
    return Sizes(cupy.cuda.runtime.getDevice(), kind, tuple([x.shape for x in arrays]),
                 (*steps, _dense(arrays[0], value.shape[-1])), causal, float(scale))


def _half(x: Any, kind: str) -> Any:
    """x in half precision, of the strides that `_dense` says."""
    x = four_axes(x)
    inside = x.shape[1] > 1 and x.strides[1] < x.strides[2]
    x = cupy.swapaxes(x, 1, 2) if inside else x
    x = cupy.ascontiguousarray(x)
    x = cast(x, kind) if x.dtype == _FLOAT32 else x
    return cupy.swapaxes(x, 1, 2) if inside else x


def _given_back(x: Any, dtype: Any, shape: tuple, kind: str) -> Any:
    return (widen(x, kind) if dtype == _FLOAT32 else x).reshape(shape)


def forward(query: Any, key: Any, value: Any, mask: Any, *, causal: bool, scale: float, dropout_p: float,
            stream: Any) -> tuple[Any, Any]:
    kind = _kind(query) or ""
    graphs = _graphs(_sizes(query, key, value, causal, scale, kind))
    assert graphs is not None  # `supports` has asked
    halves = tuple([_half(x, kind) for x in (query, key, value)])
    out, logs = like(halves[0], value.shape[-1]), empty(graphs.logs_shape, _FLOAT32)
    graphs.run(graphs.forward, (*halves, out, logs))
    saved = graphs, halves, out, logs, query.dtype, kind, (query.shape, key.shape, value.shape)
    return _given_back(out, query.dtype, (*query.shape[:-1], value.shape[-1]), kind), saved


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    graphs, halves, out, logs, dtype, kind, shapes = saved
    g = g.reshape(out.shape)
    if g.strides != tuple([step * g.itemsize for step in _dense(out, out.shape[3])]):
        inside = out.shape[1] > 1 and out.strides[1] < out.strides[2]  # as cuDNN expects the axes of the cotangent
        g = cupy.swapaxes(cupy.ascontiguousarray(cupy.swapaxes(g, 1, 2)), 1, 2) if inside else cupy.ascontiguousarray(g)
    g = _half(g, kind)
    gradients = tuple([like(x, x.shape[3]) for x in halves])
    graphs.run(graphs.backward, (*halves, out, g, logs, *gradients))
    return *(_given_back(x, dtype, shape, kind) if need else None
             for x, need, shape in zip(gradients, needs, shapes, strict=False)), None


def supports(query: Any, key: Any, value: Any, mask: Any, *, causal: bool, scale: float, dropout_p: float,
             stream: Any) -> bool:
    kind = _kind(query)
    if kind is None or mask is not None or stream is not None or not query.dtype == key.dtype == value.dtype:
        return False
    widths = query.shape[-1], value.shape[-1]
    if (query.size * key.size * value.size == 0 or any(n % 8 or n > _WIDEST for n in widths) or query.shape[-2] < 2
            or not _is_recent(cupy.cuda.runtime.getDevice())):
        return False
    reason = obstacle()
    if reason is not None:
        notice(f"attention in half precision is our own kernel's, several times slower than cuDNN's: {reason}")
        return False
    return _graphs(_sizes(query, key, value, causal, scale, kind)) is not None


register("attention", "cupy", forward, backward, supports)
