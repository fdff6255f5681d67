"""dropout on NumPy: the mask is drawn once, kept as one byte an element, and multiplied in."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.backend.random import Stream, keep_mask
from portable_nn.kernels.numpy.blocks import is_floating, sweep
from portable_nn.kernels.registry import register


def _masked(x: np.ndarray, mask: np.ndarray, scale: float) -> np.ndarray:
    if scale == 0:
        return np.zeros(x.shape, dtype=x.dtype)
    factor = np.array(scale, dtype=x.dtype)

    def block(out: np.ndarray, x: np.ndarray, mask: np.ndarray) -> None:
        np.multiply(x, mask, out=out)
        np.multiply(out, factor, out=out)

    return sweep(block, x, mask)


def forward(x: np.ndarray, *, p: float, stream: Stream) -> tuple[np.ndarray, Any]:
    if p == 0:
        return x, None
    mask, share = keep_mask(stream, x.shape, p, xp=np, device="cpu")
    scale = 1 / share if share else 0.0
    return _masked(x, mask, scale), (mask, scale)


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    return (g if saved is None else _masked(g, *saved),)


def supports(x: Any, *, p: float, stream: Stream) -> bool:
    return is_floating(x)


register("dropout", "numpy", forward, backward, supports)
