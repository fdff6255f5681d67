"""Dense layers and their loss on small matrices: NumPy's calls take longer than their work, so there are few."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from portable_nn.kernels.numpy.blocks import CONSTANTS, is_floating, ones
from portable_nn.kernels.numpy.indices import check_range, in_range
from portable_nn.kernels.numpy.softmax import exponentials
from portable_nn.kernels.registry import register

#: Elements that each array has at most.
MOST = 16_384


def stack(x: np.ndarray, *parameters: np.ndarray | None, activations: tuple[str | None, ...]) -> tuple:
    zero = CONSTANTS[x.dtype.char].zero
    layers, pairs = [], iter(parameters)
    for activation, weight, bias in zip(activations, pairs, pairs):
        out = x.dot(weight.T)  # type: ignore[union-attr]
        if bias is not None:
            out += bias
        if activation is not None:
            np.maximum(out, zero, out=out)
        layers.append((x, weight, out, activation))
        x = out
    return x, layers


def stack_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    zero, one = CONSTANTS[g.dtype.char].zero, ones(g.shape[0], g.dtype)
    found: list[Any] = []
    for i in range(len(saved) - 1, -1, -1):
        x, weight, out, activation = saved[i]
        if activation is not None:
            g = g * (out > zero)
        found.append(one.dot(g) if needs[2 * i + 2] else None)
        found.append(g.T.dot(x) if needs[2 * i + 1] else None)
        if i or needs[0]:
            g = g.dot(weight)
    found.append(g if needs[0] else None)
    found.reverse()
    return tuple(found)


def stack_supports(x: Any, *parameters: Any, activations: tuple[str | None, ...]) -> bool:
    """Small matrices of one dtype that fit each other; whatever does not is for `linear` to refuse."""
    if not is_floating(x) or x.ndim != 2:
        return False
    dtype, (rows, width), pairs = x.dtype, x.shape, iter(parameters)
    if rows * width > MOST:
        return False
    for activation, weight, bias in zip(activations, pairs, pairs):
        if (weight.ndim != 2 or weight.shape[1] != width or weight.dtype != dtype or not 0 < weight.size <= MOST
                or not (activation is None or activation == "relu")):
            return False
        width = weight.shape[0]
        if rows * width > MOST or (bias is not None and (bias.shape != (width,) or bias.dtype != dtype)):
            return False
    return True


@functools.lru_cache(maxsize=32)
def _first_of_rows(count: int, width: int) -> np.ndarray:
    """The flat positions that rows begin at."""
    return np.arange(0, count * width, width)


def mean_cross_entropy(logits: np.ndarray, target: np.ndarray, *_: None, ignore_index: int | None,
                       **_options: Any) -> tuple:
    rows, ignored = np.ascontiguousarray(logits), None
    count, width = rows.shape
    if not in_range(target, width):
        ignored = np.asarray(target == ignore_index)  # which is out of range too, if there is one: see below
        target = np.where(ignored, target.dtype.type(0), target)
        check_range("labels", target, width)
    powers = np.empty(rows.shape, dtype=rows.dtype)
    m, sums = exponentials(rows, powers)
    losses = np.log(sums)
    losses += m if m.ndim == 0 else m[:, 0]
    chosen = _first_of_rows(count, width) + target.astype(np.intp, copy=False)
    losses -= rows.reshape(-1).take(chosen)
    size = rows.dtype.type(count)
    if ignored is not None:
        losses[ignored] = 0
        size = rows.dtype.type(max(count - np.count_nonzero(ignored), 1))
    return ones(count, rows.dtype).dot(losses) / size, (powers, sums, chosen, size, ignored)


def mean_cross_entropy_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    powers, sums, chosen, size, ignored = saved
    g = g / size
    np.divide(g, sums, out=sums)
    powers *= sums[:, None]  # they are nobody else's
    powers.reshape(-1)[chosen] -= g
    if ignored is not None:
        powers[ignored] = 0
    return powers, None, None, None


def mean_cross_entropy_supports(logits: Any, target: Any, weight: Any, sample_weight: Any, *, ignore_index: int | None,
                                label_smoothing: float) -> bool:
    return (is_floating(logits) and logits.ndim == 2 and 0 < logits.size <= MOST and type(target) is np.ndarray
            and target.dtype.kind in "iu" and target.shape == logits.shape[:1] and weight is None is sample_weight
            and (ignore_index is None or not 0 <= ignore_index < logits.shape[1]) and not label_smoothing)


def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, activation: str | None) -> tuple:
    return stack(x, weight, bias, activations=(activation,))


def linear_supports(x: Any, weight: Any, bias: Any, *, activation: str | None) -> bool:
    return stack_supports(x, weight, bias, activations=(activation,))


register("mean_cross_entropy", "numpy", mean_cross_entropy, mean_cross_entropy_backward, mean_cross_entropy_supports)
register("stack", "numpy", stack, stack_backward, stack_supports)
register("linear", "numpy", linear, stack_backward, linear_supports)
