"""conv1d on NumPy: windows are gathered for as much of the batch at a time as stays in the cache, then multiplied.

All sequences of a block lie behind each other, so that one product serves them; blocks are shared between threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np

from portable_nn.kernels.numpy.blocks import is_floating, ones
from portable_nn.kernels.numpy.buffers import empty, scratch
from portable_nn.kernels.numpy.threads import share
from portable_nn.kernels.registry import register

#: Elements of the windows of a block.
BLOCK = 1 << 17
#: Most parts of the batch that sum up weight gradients on their own.
PARTS = 8


def _places(grid: Any, steps: int) -> list[tuple[slice, slice]]:
    """For each step of a window: the windows in which it is no padding, and the steps of x that it is there."""
    places, count = [], grid.count(steps)
    for k in range(grid.kernel):
        offset = k * grid.dilation - grid.padding[0]
        first = min(max(0, -(offset // grid.stride)), count)
        last = max(first, min(count, (steps - 1 - offset) // grid.stride + 1))
        start = first * grid.stride + offset
        places.append((slice(first, last), slice(start, start + (last - first) * grid.stride, grid.stride)))
    return places


def _rooms(like: np.ndarray, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Work arrays, in one piece of memory whose size fits many calls."""
    sizes = [-(-math.prod(shape) // 16) * 16 for shape in shapes]
    flat, ends = scratch(1 << sum(sizes).bit_length(), like.dtype), list(accumulate(sizes))
    return [flat[end - size:end][:math.prod(shape)].reshape(shape) for shape, size, end in zip(shapes, sizes, ends)]


def _gather(x: np.ndarray, places: list[tuple[slice, slice]], windows: np.ndarray) -> None:
    """The windows of x (n, C, T) as (C, K, n, count), zero where there is padding."""
    x = x.transpose(1, 0, 2)
    for k, (to, source) in enumerate(places):
        part = windows[:, k]
        part[..., :to.start] = 0
        part[..., to] = x[..., source]
        part[..., to.stop:] = 0


def _slices(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _grouped(x: np.ndarray, groups: int) -> np.ndarray:
    """(C, …, n, T) as (G, C/G …, n T)."""
    return x.reshape(groups, -1, x.shape[-2] * x.shape[-1])


def forward(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, grid: Any, groups: int) -> tuple:
    (batch, channels, steps), out = x.shape, weight.shape[0]
    count, places = grid.count(steps), _places(grid, steps)
    matrices, y = weight.reshape(groups, out // groups, -1), empty((batch, out, count), x.dtype)
    if x.strides[2] != x.itemsize:  # its elements would be looked for K times
        x = np.ascontiguousarray(x)

    def part(block: slice) -> None:
        size = block.stop - block.start
        windows, product = _rooms(x, (channels, grid.kernel, size, count), (out, size, count))
        _gather(x[block], places, windows)
        np.matmul(matrices, _grouped(windows, groups), out=_grouped(product, groups))
        if bias is None:
            y[block] = product.transpose(1, 0, 2)
        else:
            np.add(product, bias[:, None, None], y[block].transpose(1, 0, 2))

    share(part, _slices(batch, max(1, BLOCK // (channels * grid.kernel * count))), products=True)
    return y, (x, weight, grid, groups)


def _by_windows(x: np.ndarray, weight: np.ndarray, g_x: np.ndarray | None, grid: Any, groups: int) -> Callable:
    """What gives, for a block of the batch, the gradient of the weight (G, C/G K, O/G), and puts that of x in place.

    The windows are gathered again: kept, they would take K times the memory of x.
    """
    (_, channels, steps), out = x.shape, weight.shape[0]
    count, places = grid.count(steps), _places(grid, steps)
    turned = weight.reshape(groups, out // groups, -1).swapaxes(1, 2)

    def part(block: slice, g: np.ndarray, wanted: bool) -> Any:
        size = g.shape[0]
        windows, rows, total = _rooms(g, (channels, grid.kernel, size, count), (out, size, count),
                                      (channels, size, steps))
        np.copyto(rows, g.transpose(1, 0, 2))
        if g_x is not None:
            np.matmul(turned, _grouped(rows, groups), out=_grouped(windows, groups))
            total[...] = 0
            for k, (source, to) in enumerate(places):
                total[..., to] += windows[:, k, :, source]
            g_x[block] = total.transpose(1, 0, 2)
        if not wanted:
            return None
        _gather(x[block], places, windows)
        return np.matmul(_grouped(windows, groups), _grouped(rows, groups).swapaxes(1, 2))

    return part


def _by_gradients(x: np.ndarray, weight: np.ndarray, g_x: np.ndarray, grid: Any, groups: int) -> Callable:
    """As `_by_windows`, for strides of 1, giving (G, O/G K, C/G): windows of g are gathered, and serve for both."""
    (_, channels, steps), (out, inputs, kernel) = x.shape, weight.shape
    places = [(source, to) for to, source in _places(grid, steps)]
    turned = weight.reshape(groups, out // groups, inputs, kernel).swapaxes(1, 2).reshape(groups, inputs, -1)

    def part(block: slice, g: np.ndarray, wanted: bool) -> Any:
        size = g.shape[0]
        windows, rows = _rooms(g, (out, kernel, size, steps), (channels, size, steps))
        _gather(g, places, windows)
        np.matmul(turned, _grouped(windows, groups), out=_grouped(rows, groups))
        g_x[block] = rows.transpose(1, 0, 2)
        if not wanted:
            return None
        np.copyto(rows, x[block].transpose(1, 0, 2))
        return np.matmul(_grouped(windows, groups), _grouped(rows, groups).swapaxes(1, 2))

    return part


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    x, weight, grid, groups = saved
    (batch, channels, steps), (out, inputs, kernel) = x.shape, weight.shape
    g, g_x = np.ascontiguousarray(g), empty(x.shape, x.dtype) if needs[0] else None
    turns = g_x is not None and grid.stride == 1 and out <= channels
    part = (_by_gradients if turns else _by_windows)(x, weight, g_x, grid, groups)
    size = max(1, BLOCK // (channels * kernel * max(g.shape[2], steps if turns else 0)))

    def several(blocks: list[slice]) -> list:
        sums = [None, None]
        for block in blocks:
            found = part(block, g[block], needs[1]), _bias_gradient(g[block]) if needs[2] else None
            sums = [new if old is None else np.add(old, new, old) for old, new in zip(sums, found)]
        return sums

    blocks = _slices(batch, size)
    parts = share(several, [blocks[some] for some in _slices(len(blocks), -(-len(blocks) // PARTS))], products=True)
    g_weight, g_bias = (None if known[0] is None else sum(known[1:], known[0]) for known in zip(*parts))
    if g_weight is not None:
        shape, axes = ((out // groups, kernel, inputs), (0, 1, 3, 2)) if turns else ((inputs, kernel, out // groups),
                                                                                    (0, 3, 1, 2))
        g_weight = g_weight.reshape(groups, *shape).transpose(axes).reshape(weight.shape)
    return g_x, g_weight, g_bias


def _bias_gradient(g: np.ndarray) -> np.ndarray:
    """Sums of g (n, O, T') over the batch and time."""
    batch, out, count = g.shape
    return np.dot(ones(batch, g.dtype), np.dot(g.reshape(-1, count), ones(count, g.dtype)).reshape(batch, out))


def supports(x: Any, weight: Any, bias: Any, *, grid: Any, groups: int) -> bool:
    return is_floating(x) and x.size > 0 and weight.size > 0


register("conv1d", "numpy", forward, backward, supports)
