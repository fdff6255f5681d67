"""cuDNN's graphs of attention: built once for each combination of shapes, strides and options, and kept for reuse.

They take 0.1 to 1 s to build. Each thread keeps the last ones it used for each device; steps that are recorded keep
those that they launch.
"""

from __future__ import annotations

import functools
import importlib
import threading
from collections import OrderedDict
from typing import Any, NamedTuple

import cupy

from portable_nn.backend.notices import notice
from portable_nn.kernels.cupy.launch import empty

_INSTALL = "pip install --no-deps nvidia-cudnn-frontend, and pip install nvidia-cudnn-cu13 (or -cu12)"
#: Plans that a thread keeps.
MOST = 128
_TYPES = {"E": "BFLOAT16", "e": "HALF"}
_UINT8 = cupy.dtype("uint8")
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


class Sizes(NamedTuple):
    """What a plan is built for.

    Attributes
    ----------
    kind : str
        The character of the dtype.
    shapes : tuple
        (outer, inner, rows, width) of query, key and value.
    strides : tuple
        Of query, key, value, result, and of the gradients of the first three, in elements.
    dropout_p : float
        0.0 where nothing is dropped.
    padded : bool
        Whether lengths say how many keys count.
    """

    device: int
    kind: str
    shapes: tuple
    strides: tuple
    causal: bool
    scale: float
    dropout_p: float
    padded: bool


class Plan:
    """A graph of cuDNN's: "infer", "forward", which keeps the logs of the sums as `stats`, or "backward".

    It takes arrays by name: q, k, v, out, stats, g and g_q, g_k, g_v; seed and offset where it drops, lengths_q and
    lengths_kv where it is padded.
    """

    def __init__(self, which: str, sizes: Sizes) -> None:
        self.cudnn, self.sizes, self.handle = importlib.import_module("cudnn"), sizes, _handle(sizes.device)
        types = self.cudnn.data_type
        self.graph = self.cudnn.pygraph(io_data_type=getattr(types, _TYPES[sizes.kind]),
                                        intermediate_data_type=types.FLOAT, compute_data_type=types.FLOAT,
                                        handle=self.handle)
        self.tensors = self._backward() if which == "backward" else self._forward(which == "forward")
        self.graph.build([self.cudnn.heur_mode.A, self.cudnn.heur_mode.FALLBACK])
        self.room = max(self.graph.get_workspace_size(), 1)

    def _inputs(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Tensors of query, key and value; other tensors by name; and options."""
        sizes, types = self.sizes, self.cudnn.data_type
        arrays = {name: self.graph.tensor(dim=list(shape), stride=list(step), name=name)
                  for name, shape, step in zip("qkv", sizes.shapes, sizes.strides[:3], strict=True)}
        options: dict[str, Any] = {"attn_scale": sizes.scale}
        others: dict[str, Any] = {}
        if sizes.causal:
            options.update(diagonal_alignment=self.cudnn.diagonal_alignment.TOP_LEFT, diagonal_band_right_bound=0)
        if sizes.dropout_p:
            others = {name: self.graph.tensor(dim=[1] * 4, stride=[1] * 4, data_type=types.INT64, name=name)
                      for name in ("seed", "offset")}
            options["dropout"] = (sizes.dropout_p, *others.values())
        if sizes.padded:
            lengths = {f"lengths_{name}": self.graph.tensor(dim=[sizes.shapes[0][0], 1, 1, 1], stride=[1] * 4,
                                                            data_type=types.INT32, name=f"lengths_{name}")
                       for name in ("q", "kv")}
            options.update(use_padding_mask=True, seq_len_q=lengths["lengths_q"], seq_len_kv=lengths["lengths_kv"])
            others.update(lengths)
        return arrays, others, options

    def _result(self) -> dict[str, list[int]]:
        return {"dim": [*self.sizes.shapes[0][:3], self.sizes.shapes[2][3]], "stride": list(self.sizes.strides[3])}

    def _forward(self, keeps: bool) -> dict[str, Any]:
        arrays, others, options = self._inputs()
        out, stats = self.graph.sdpa(**arrays, generate_stats=keeps, name="attention", **options)
        out.set_output(True).set_dim(self._result()["dim"]).set_stride(self._result()["stride"])
        if keeps:
            stats.set_output(True).set_data_type(self.cudnn.data_type.FLOAT)
            others["stats"] = stats
        return {**arrays, **others, "out": out}

    def _backward(self) -> dict[str, Any]:
        arrays, others, options = self._inputs()
        outer, inner, rows, _ = self.sizes.shapes[0]
        out, g = (self.graph.tensor(**self._result(), name=name) for name in ("o", "dO"))
        stats = self.graph.tensor(dim=[outer, inner, rows, 1], stride=[inner * rows, rows, 1, 1],
                                  data_type=self.cudnn.data_type.FLOAT, name="stats")
        made = self.graph.sdpa_backward(**arrays, o=out, dO=g, stats=stats, use_deterministic_algorithm=True,
                                        name="attention_backward", **options)
        for x, shape, step in zip(made, self.sizes.shapes, self.sizes.strides[4:], strict=True):
            x.set_output(True).set_dim(list(shape)).set_stride(list(step))
        return {**arrays, **others, "out": out, "g": g, "stats": stats,
                **dict(zip(("g_q", "g_k", "g_v"), made, strict=True))}

    def run(self, pointers: dict[str, int]) -> None:
        """Run on the current stream; if steps are recorded on it, it keeps this plan."""
        stream = cupy.cuda.get_current_stream()
        if hasattr(stream, "kept"):
            stream.kept.add(self)
        self.cudnn.set_stream(handle=self.handle, stream=stream.ptr)
        workspace = empty((self.room,), _UINT8)
        self.graph.execute({tensor: pointers[name] for name, tensor in self.tensors.items()}, workspace.data.ptr,
                           handle=self.handle)


def _handle(device: int) -> Any:
    handles = _local.__dict__.setdefault("handles", {})
    if device not in handles:
        handles[device] = importlib.import_module("cudnn").create_handle()
    return handles[device]


def _kept() -> OrderedDict[tuple[str, Sizes], Plan | None]:
    return _local.__dict__.setdefault("plans", OrderedDict())


def find(which: str, sizes: Sizes) -> Plan | None:
    """The plan for a call, None where cuDNN has none: then a line says so, once."""
    plans = _kept()
    if (which, sizes) not in plans:
        try:
            plans[which, sizes] = Plan(which, sizes)
        except Exception as error:  # cuDNN's own exceptions are of many types
            plans[which, sizes] = None
            notice(f"cuDNN does not take attention of {sizes.shapes}, so our slower kernel does: {str(error):.200}")
        _make_room(plans)
    plans.move_to_end((which, sizes))
    return plans[which, sizes]


def _make_room(plans: OrderedDict) -> None:
    """Let go of plans that were used longest ago, but not while a step is recorded.

    They are not waited for: since they were given something to do, so many others were built that they are long done.
    """
    while len(plans) > MOST and not cupy.cuda.get_current_stream().is_capturing():
        plans.popitem(last=False)
