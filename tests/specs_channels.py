"""The rows of the layers over channels and time; see `tests/specs.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from portable_nn import layers as L
from portable_nn.backend.errors import ArgumentError, DTypeError, ShapeError
from tests.references import normal
from tests.specs import Bad, Case, Spec


def batch_norm(given: bool = False, eps: float = 1e-5) -> Callable[..., Any]:
    """By the statistics of the batch, or by the running ones."""
    def formula(state: dict, x: Any) -> Any:
        over, shape = (0, *range(2, x.ndim)), (1, x.shape[1], *(1,) * (x.ndim - 2))
        mean, var = (state["running_mean"], state["running_var"]) if given else (x.mean(axis=over), x.var(axis=over))
        x_hat = (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + eps)
        return x_hat * np.reshape(state.get("weight", np.ones(x.shape[1])), shape) + np.reshape(
            state.get("bias", np.zeros(x.shape[1])), shape)
    return formula


def conv(stride: int = 1, padding: tuple[int, int] = (0, 0), dilation: int = 1, groups: int = 1) -> Callable[..., Any]:
    """One sum for each element of the result."""
    def formula(state: dict, x: Any) -> Any:
        weight = state["weight"]
        out, inputs, kernel = weight.shape
        x = np.pad(x, ((0, 0), (0, 0), padding))
        count = (x.shape[2] - dilation * (kernel - 1) - 1) // stride + 1
        y = np.empty((x.shape[0], out, count))
        for o in range(out):
            group = o // (out // groups)
            for t in range(count):
                window = x[:, group * inputs:(group + 1) * inputs, t * stride:t * stride + dilation * kernel:dilation]
                y[:, o, t] = (window[:, :, :kernel] * weight[o]).sum(axis=(1, 2))
        return y + state["bias"][:, None] if "bias" in state else y
    return formula


def pool(reduce: Any, kernel: int, stride: int, padding: int = 0, dilation: int = 1, fill: float = 0.0) -> Any:
    def formula(state: dict, x: Any) -> Any:
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding)), constant_values=fill)
        count = (x.shape[2] - dilation * (kernel - 1) - 1) // stride + 1
        return np.stack([reduce(x[:, :, t * stride:t * stride + dilation * (kernel - 1) + 1:dilation], axis=2)
                         for t in range(count)], axis=2)
    return formula


def over_time(reduce: Any, axis: int = -1) -> Callable[..., Any]:
    """By lengths or by a mask, row by row."""
    def formula(state: dict, x: Any, lengths: Any = None, mask: Any = None) -> Any:
        x = np.moveaxis(x, axis, 1)
        seen = np.ones(x.shape[:2], bool) if lengths is None else np.arange(x.shape[1]) < lengths[:, None]
        return np.stack([reduce(row[keep], axis=0) if keep.any() else np.zeros(row.shape[1:])
                         for row, keep in zip(x, seen)])
    return formula


def with_lengths(rng: np.random.Generator) -> tuple:
    return rng.standard_normal((4, 2, 5)), np.asarray([5, 0, 1, 3])


def whole(kind: type, reduce: Any) -> Spec:
    return Spec(kind, [
        Case("plain", kind, normal((2, 3, 5)), over_time(reduce)),
        Case("lengths", kind, with_lengths, over_time(reduce)),
        Case("channels last", lambda: kind(axis=1), lambda rng: (rng.standard_normal((4, 5, 2)), with_lengths(rng)[1]),
             over_time(reduce, 1)),
        Case("one step", kind, normal((2, 3, 1)), over_time(reduce)),
    ], [
        Bad("both", lambda a: kind()(a(np.ones((2, 3, 4))), a([1, 2]), a(np.ones((2, 4), bool))), ArgumentError,
            "mask"),
        Bad("lengths", lambda a: kind()(a(np.ones((2, 3, 4))), a([1])), ShapeError, "(2,)"),
        Bad("fractions", lambda a: kind()(a(np.ones((2, 3, 4))), a([1.0, 2.0])), DTypeError, "integer"),
        Bad("mask", lambda a: kind()(a(np.ones((2, 3, 4))), mask=a(np.ones((2, 3), bool))), ShapeError, "(2, 4)"),
        Bad("numbers", lambda a: kind()(a(np.ones((2, 3, 4))), mask=a(np.ones((2, 4)))), DTypeError, "boolean"),
        Bad("axis", lambda a: kind(axis=0), ArgumentError, "axis"),
        Bad("axes", lambda a: kind()(a(np.ones(3))), ShapeError, "axis"),
        Bad("no time", lambda a: kind(axis=2)(a(np.ones((2, 3))), a([1, 1])), ShapeError, "time"),
        Bad("integers", lambda a: kind()(a(np.ones((2, 3, 4), int))), DTypeError, "floating"),
        Bad("list", lambda a: kind()([[1.0]]), DTypeError, "array"),
    ])


def windows(kind: type, reduce: Any, fill: float, more: list[Case], bad: list[Bad] | None = None) -> Spec:
    return Spec(kind, [
        Case("plain", lambda: kind(2), normal((2, 3, 7)), pool(reduce, 2, 2)),
        Case("stride", lambda: kind(3, stride=1), normal((2, 3, 7)), pool(reduce, 3, 1)),
        Case("padding", lambda: kind(3, 2, 1), normal((2, 3, 7)), pool(reduce, 3, 2, 1, fill=fill)),
        *more,
    ], [
        Bad("short", lambda a: kind(3)(a(np.ones((2, 3, 2)))), ShapeError, "at least 3 steps"),
        Bad("axes", lambda a: kind(3)(a(np.ones((2, 3)))), ShapeError, "(B, C, T)"),
        Bad("padding", lambda a: kind(3, padding=2), ArgumentError, "half"),
        Bad("kernel", lambda a: kind(0), ArgumentError, "kernel"),
        Bad("stride", lambda a: kind(2, 1.5), ArgumentError, "stride"),
        Bad("integers", lambda a: kind(2)(a(np.ones((2, 3, 4), int))), DTypeError, "floating"),
        Bad("list", lambda a: kind(2)([[1.0]]), DTypeError, "array"), *(bad or []),
    ])


CHANNELS = [
    Spec(L.BatchNorm1d, [
        Case("plain", lambda: L.BatchNorm1d(4), normal((5, 4)), batch_norm()),
        Case("steps", lambda: L.BatchNorm1d(3, eps=1e-3), normal((2, 3, 5)), batch_norm(eps=1e-3)),
        Case("cumulative", lambda: L.BatchNorm1d(3, momentum=None), normal((2, 3, 5)), batch_norm()),
        Case("eval", lambda: L.BatchNorm1d(3).eval(), normal((2, 3, 5)), batch_norm(given=True)),
        Case("eval of one", lambda: L.BatchNorm1d(3).eval(), normal((1, 3)), batch_norm(given=True)),
        Case("bare", lambda: L.BatchNorm1d(4, affine=False, track_running_stats=False), normal((5, 4)), batch_norm()),
    ], [
        Bad("channels", lambda a: L.BatchNorm1d(4)(a(np.ones((5, 3)))), ShapeError, "num_features"),
        Bad("one value", lambda a: L.BatchNorm1d(4)(a(np.ones((1, 4)))), ShapeError, "more than one value"),
        Bad("one step", lambda a: L.BatchNorm1d(4)(a(np.ones((1, 4, 1)))), ShapeError, "more than one value"),
        Bad("untracked", lambda a: L.BatchNorm1d(4, track_running_stats=False).eval()(a(np.ones((1, 4)))), ShapeError,
            "more than one value"),
        Bad("no rows", lambda a: L.BatchNorm1d(4)(a(np.ones((0, 4)))), ShapeError, "more than one value"),
        Bad("axes", lambda a: L.BatchNorm1d(4)(a(np.ones((2, 4, 3, 3)))), ShapeError, "(B, 4, T)"),
        Bad("integers", lambda a: L.BatchNorm1d(4)(a(np.ones((2, 4), int))), DTypeError, "floating"),
        Bad("list", lambda a: L.BatchNorm1d(2)([[1.0, 2.0]]), DTypeError, "array"),
        Bad("momentum", lambda a: L.BatchNorm1d(4, momentum=2.0), ArgumentError, "momentum"),
        Bad("eps", lambda a: L.BatchNorm1d(4, eps=-1.0), ArgumentError, "eps"),
        Bad("size", lambda a: L.BatchNorm1d(0), ArgumentError, "num_features"),
    ]),
    Spec(L.Conv1d, [
        Case("plain", lambda: L.Conv1d(3, 4, 3), normal((2, 3, 7)), conv()),
        Case("strided", lambda: L.Conv1d(3, 4, 2, stride=2, padding=1), normal((2, 3, 7)), conv(2, (1, 1))),
        Case("same", lambda: L.Conv1d(3, 2, 4, padding="same", dilation=3), normal((2, 3, 7)), conv(1, (4, 5), 3)),
        Case("valid", lambda: L.Conv1d(3, 2, 7, padding="valid", bias=False), normal((2, 3, 7)), conv()),
        Case("causal", lambda: L.Conv1d(3, 2, 3, padding=(2, 0)), normal((2, 3, 5)), conv(1, (2, 0))),
        Case("groups", lambda: L.Conv1d(4, 6, 3, groups=2), normal((2, 4, 5)), conv(groups=2)),
        Case("no rows", lambda: L.Conv1d(3, 4, 3), normal((0, 3, 7)), conv(), False),
    ], [
        Bad("channels", lambda a: L.Conv1d(3, 4, 3)(a(np.ones((2, 7, 3)))), ShapeError, "in_channels=7"),
        Bad("short", lambda a: L.Conv1d(3, 4, 3, dilation=2)(a(np.ones((2, 3, 4)))), ShapeError, "at least 5 steps"),
        Bad("axes", lambda a: L.Conv1d(3, 4, 3)(a(np.ones((3, 7)))), ShapeError, "(B, C, T)"),
        Bad("groups", lambda a: L.Conv1d(3, 4, 3, groups=2), ArgumentError, "divide"),
        Bad("no groups", lambda a: L.Conv1d(3, 4, 3, groups=0), ArgumentError, "groups"),
        Bad("same", lambda a: L.Conv1d(3, 4, 3, stride=2, padding="same"), ArgumentError, "stride 1"),
        Bad("padding", lambda a: L.Conv1d(3, 4, 3, padding=-1), ArgumentError, "padding"),
        Bad("word", lambda a: L.Conv1d(3, 4, 3, padding="full"), ArgumentError, '"same"'),
        Bad("kernel", lambda a: L.Conv1d(3, 4, 0), ArgumentError, "kernel_size"),
        Bad("stride", lambda a: L.Conv1d(3, 4, 3, stride=0), ArgumentError, "stride"),
        Bad("integers", lambda a: L.Conv1d(3, 4, 3)(a(np.ones((2, 3, 7), int))), DTypeError, "floating"),
        Bad("list", lambda a: L.Conv1d(3, 4, 3)([[1.0]]), DTypeError, "array"),
    ]),
    windows(L.MaxPool1d, np.max, -np.inf, [
        Case("dilation", lambda: L.MaxPool1d(2, 2, 1, 3), normal((2, 3, 7)), pool(np.max, 2, 2, 1, 3, -np.inf))], [
        Bad("skipped", lambda a: L.MaxPool1d(2, padding=1, dilation=3)(a(np.ones((2, 3, 2)))), ShapeError, "alone")]),
    windows(L.AvgPool1d, np.mean, 0.0, [
        Case("padding left out", lambda: L.AvgPool1d(3, 2, 1, False), normal((2, 3, 7)),
             pool(np.nanmean, 3, 2, 1, fill=np.nan))]),
    whole(L.GlobalMaxPool1d, np.max),
    whole(L.GlobalAvgPool1d, np.mean),
]
