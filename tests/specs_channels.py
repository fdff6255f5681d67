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
]
