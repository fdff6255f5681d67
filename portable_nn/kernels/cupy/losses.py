"""Cross-entropy and the losses of pairs on CuPy: one kernel forward, one backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from portable_nn.functional.losses import _cross_entropy_backward
from portable_nn.kernels.cupy.launch import as_int64, contiguous, elements, empty, is_floating, kernel, rows
from portable_nn.kernels.registry import register


def cross_entropy(logits: Any, target: Any, weight: Any) -> tuple[Any, Any]:
    logits, labels, width, char = contiguous(logits), as_int64(target), logits.shape[-1], logits.dtype.char
    weights = 0 if weight is None else contiguous(weight)
    out, kept = empty(target.shape, logits.dtype), empty((2, target.size), "d" if char == "d" else "f")
    rows(kernel("losses", "cross_entropy", char), target.size, width,
         (logits, labels, weights, out, kept, target.size, width))
    return out, (logits, labels, weight, kept)


def cross_entropy_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    logits, labels, weight, kept = saved
    g_logits = g_weight = None
    if needs[0]:
        g_logits, width = empty(logits.shape, logits.dtype), logits.shape[-1]
        rows(kernel("losses", "cross_entropy_backward", logits.dtype.char), labels.size, width,
             (logits, labels, 0 if weight is None else contiguous(weight), contiguous(g), kept, g_logits, labels.size,
              width))
    if needs[2]:  # rare: weights of classes are as a rule no parameters
        g_weight = _cross_entropy_backward(xp, g, logits, labels, weight, (False, False, True))[2]
    return g_logits, None, g_weight


def _pair(operation: str, name: str, option: Callable[..., float]) -> None:
    """Register a loss of two arrays; `option(**options)` is the one number that its kernels take."""

    def forward(x: Any, target: Any, **options: Any) -> tuple[Any, Any]:
        x, target, a = contiguous(x), contiguous(target), option(**options)
        out = empty(x.shape, x.dtype)
        elements(kernel("losses", name, x.dtype.char), x, (x, target, out, x.size, a))
        return out, (x, target, a)

    def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
        x, target, a = saved
        g = contiguous(g)
        g_x, g_target = (empty(x.shape, x.dtype) if need else None for need in needs)
        outputs = (0 if g_x is None else g_x, 0 if g_target is None else g_target)
        elements(kernel("losses", f"{name}_backward", x.dtype.char), x, (x, target, g, *outputs, x.size, a))
        return g_x, g_target

    forward.__qualname__ = operation
    register(operation, "cupy", forward, backward, lambda x, target, **options: is_floating(x))


register("cross_entropy", "cupy", cross_entropy, cross_entropy_backward,
         lambda logits, target, weight: is_floating(logits))
_pair("binary_cross_entropy_with_logits", "bce_with_logits", lambda: 0.0)
_pair("binary_cross_entropy", "binary_cross_entropy", lambda: 0.0)
_pair("squared_error", "squared_error", lambda: 0.0)
_pair("absolute_error", "absolute_error", lambda: 0.0)
_pair("huber_error", "huber_error", lambda delta: float(delta))
_pair("quantile_error", "quantile_error", lambda quantile: float(quantile))
