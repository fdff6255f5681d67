"""Cross-entropies on NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.kernels.numpy.activations import sigmoid_block
from portable_nn.kernels.numpy.blocks import BLOCK, CONSTANTS, as_rows, is_floating, ones, row_blocks, sweep
from portable_nn.kernels.numpy.indices import check_range
from portable_nn.kernels.numpy.softmax import exponentials
from portable_nn.kernels.registry import register


def cross_entropy(logits: np.ndarray, target: np.ndarray, weight: np.ndarray | None) -> tuple[np.ndarray, Any]:
    rows, labels = as_rows(logits), target.reshape(-1)
    count, width = rows.shape
    check_range("labels", labels, width)
    labels = labels.astype(np.intp, copy=False)                      # unsigned ones are no positions to older NumPys
    powers = np.empty(rows.shape, dtype=rows.dtype)                  # softmax times sums
    if rows.size <= BLOCK:
        m, sums = exponentials(rows, powers)
        losses = np.log(sums)
        losses += m if m.ndim == 0 else m[:, 0]
    else:
        sums, losses = np.empty((2, count), dtype=rows.dtype)
        for block in row_blocks(count, width):
            m, sums[block] = exponentials(rows[block], powers[block])
            np.add(np.log(sums[block]), m if m.ndim == 0 else m[:, 0], out=losses[block])
    chosen = np.arange(0, count * width, width)                      # flat positions of the labels
    chosen += labels
    losses -= rows.reshape(-1).take(chosen)
    scale = None if weight is None else weight.take(labels)
    out = losses if scale is None else losses * scale
    return out.reshape(target.shape), (powers, sums, chosen, scale, losses, labels, logits.shape)


def cross_entropy_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    powers, sums, chosen, scale, losses, labels, shape = saved
    g_logits = g_weight = None
    g = g.reshape(-1)
    if needs[2]:
        g_weight = np.bincount(labels, weights=g * losses, minlength=shape[-1]).astype(losses.dtype, copy=False)
    if needs[0]:
        if scale is not None:
            g = g * scale
        np.divide(g, sums, out=sums)
        g_logits = np.multiply(powers, sums[:, None], out=powers)  # they are nobody else's
        g_logits.reshape(-1)[chosen] -= g
        g_logits = g_logits.reshape(shape)
    return g_logits, None, g_weight


def cross_entropy_supports(logits: Any, target: Any, weight: Any) -> bool:
    return is_floating(logits) and logits.ndim > 1 and logits.size > 0


def _bce_block(out: np.ndarray, logits: np.ndarray, target: np.ndarray) -> None:
    np.abs(logits, out=out)
    np.negative(out, out=out)
    np.exp(out, out=out)
    np.log1p(out, out=out)
    np.add(out, np.maximum(logits, CONSTANTS[logits.dtype.char].zero), out=out)
    np.subtract(out, np.multiply(logits, target), out=out)


def _bce_backward_block(g_x: np.ndarray, logits: np.ndarray, target: np.ndarray, g: np.ndarray) -> None:
    sigmoid_block(g_x, logits)
    np.subtract(g_x, target, out=g_x)
    np.multiply(g_x, g, out=g_x)


def bce(logits: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, Any]:
    return sweep(_bce_block, logits, target), (logits, target)


def bce_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    logits, target = saved
    return (sweep(_bce_backward_block, logits, target, g) if needs[0] else None,
            np.multiply(-g, logits) if needs[1] else None)


def mean(x: np.ndarray) -> tuple[Any, Any]:
    """A product with ones sums few elements in half the time, and as exactly: they are added in several lanes."""
    total = ones(x.size, x.dtype).dot(x.reshape(-1)) if x.size <= 512 else np.add.reduce(x, axis=None)
    return total / x.dtype.type(x.size), x.shape


def mean_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    g_x = np.empty(saved, dtype=g.dtype)
    g_x.fill(g / g.dtype.type(g_x.size))
    return (g_x,)


register("mean", "numpy", mean, mean_backward, lambda x: is_floating(x) and x.size > 0)
register("cross_entropy", "numpy", cross_entropy, cross_entropy_backward, cross_entropy_supports)
register("binary_cross_entropy_with_logits", "numpy", bce, bce_backward, is_floating)
