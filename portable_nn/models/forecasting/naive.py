"""Forecasts that every model is to be compared with. On the host, in the units of the values given."""

from __future__ import annotations

import numpy as np

from portable_nn.backend.errors import ArgumentError

#: Rows of windows multiplied at once.
_PIECE = 4096


def naive_forecasts(values: np.ndarray, origins: np.ndarray, horizon: int, lag: int) -> np.ndarray:
    """Repeat the last `lag` values before each origin: 1 is the last value, a day of rows the same time yesterday.

    Shape: values (N,), origins (n,) -> (n, horizon).
    """
    if lag < 1 or lag > origins.min():
        raise ArgumentError("a lag of 1 or more that lies within the values", f"lag={lag}", "choose a shorter one")
    return values[origins[:, None] - lag + np.arange(horizon) % lag]


def ridge_forecasts(values: np.ndarray, train: np.ndarray, origins: np.ndarray, context: int, horizon: int,
                    penalty: float = 1.0) -> np.ndarray:
    """Ridge regression of the next `horizon` values on the `context` before, fitted at the origins `train`.

    Shape: values (N,), train (m,), origins (n,) -> (n, horizon).
    """
    view = np.lib.stride_tricks.sliding_window_view(values.astype(np.float64), context + horizon)
    gram = np.zeros((context + 1, context + 1), dtype=np.float64)
    moment = np.zeros((context + 1, horizon), dtype=np.float64)
    for start in range(0, len(train), _PIECE):
        rows = view[train[start:start + _PIECE] - context]
        x = np.concatenate([rows[:, :context], np.ones((len(rows), 1))], axis=1)
        gram += x.T @ x
        moment += x.T @ rows[:, context:]
    gram[np.arange(context), np.arange(context)] += penalty  # the constant is not penalised
    weights = np.linalg.solve(gram, moment)
    return view[origins - context][:, :context] @ weights[:-1] + weights[-1]
