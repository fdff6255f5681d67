"""conv1d on NumPy: with the channels last a window is one run of memory, so gathering windows is copying runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.kernels.numpy.blocks import is_floating
from portable_nn.kernels.registry import register


def _channels_last(x: np.ndarray, grid: Any) -> np.ndarray:
    """x (B, C, T) as padded (B, T, C)."""
    left, right = grid.padding
    batch, channels, steps = x.shape
    if not left and not right:
        return np.ascontiguousarray(x.transpose(0, 2, 1))
    out = np.zeros((batch, left + steps + right, channels), dtype=x.dtype)
    out[:, left:left + steps] = x.transpose(0, 2, 1)
    return out


def _columns(rows: np.ndarray, grid: Any, groups: int) -> np.ndarray:
    """All windows of (B, T, C) as (G, B T', K C/G)."""
    span = grid.dilation * (grid.kernel - 1) + 1
    windows = np.lib.stride_tricks.sliding_window_view(rows, span, axis=1)[:, ::grid.stride, :, ::grid.dilation]
    batch, count, channels, kernel = windows.shape
    if groups == 1:
        return windows.transpose(0, 1, 3, 2).reshape(1, batch * count, kernel * channels)
    windows = windows.reshape(batch, count, groups, channels // groups, kernel)
    return windows.transpose(2, 0, 1, 4, 3).reshape(groups, batch * count, kernel * channels // groups)


def _matrices(weight: np.ndarray, groups: int) -> np.ndarray:
    """(O, C/G, K) as (G, O/G, K C/G)."""
    out, inputs, kernel = weight.shape
    return weight.transpose(0, 2, 1).reshape(groups, out // groups, kernel * inputs)


def forward(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, grid: Any, groups: int) -> tuple:
    rows = _channels_last(x, grid)
    batch, out, count = x.shape[0], weight.shape[0], grid.count(x.shape[2])
    y = np.matmul(_columns(rows, grid, groups), _matrices(weight, groups).swapaxes(1, 2))    # (G, B T', O/G)
    y = y.reshape(groups, batch, count, out // groups).transpose(1, 0, 3, 2)
    y = np.ascontiguousarray(y.reshape(batch, out, count))
    if bias is not None:
        y += bias[:, None]
    return y, (rows, weight, x.shape, grid, groups)


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    rows, weight, shape, grid, groups = saved
    batch, out, count = g.shape
    g_rows = g.reshape(batch, groups, out // groups, count).transpose(1, 0, 3, 2).reshape(groups, batch * count, -1)
    g_x = g_weight = None
    if needs[0]:
        parts = np.matmul(g_rows, _matrices(weight, groups)).reshape(groups, batch, count, grid.kernel, -1)
        g_last = np.zeros(rows.shape, dtype=rows.dtype)
        target = g_last.reshape(batch, rows.shape[1], groups, -1)
        span = grid.stride * (count - 1) + 1
        for k in range(grid.kernel):
            start = k * grid.dilation
            target[:, start:start + span:grid.stride] += parts[:, :, :, k].transpose(1, 2, 0, 3)
        left = grid.padding[0]
        g_x = np.ascontiguousarray(g_last[:, left:left + shape[2]].transpose(0, 2, 1))
    if needs[1]:  # windows are gathered again: kept, they would take K times the memory of x
        g_weight = np.matmul(g_rows.swapaxes(1, 2), _columns(rows, grid, groups))
        g_weight = np.ascontiguousarray(g_weight.reshape(out, grid.kernel, -1).transpose(0, 2, 1))
    return g_x, g_weight, g.sum(axis=(0, 2)) if needs[2] else None


def supports(x: Any, weight: Any, bias: Any, *, grid: Any, groups: int) -> bool:
    return is_floating(x) and x.size > 0 and weight.size > 0


register("conv1d", "numpy", forward, backward, supports)
