"""packed_attention on NumPy: attention's own kernel, whose gradients go into one array, side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.kernels.numpy import attention
from portable_nn.kernels.numpy.attention import Between
from portable_nn.kernels.numpy.buffers import empty
from portable_nn.kernels.registry import register


def parts(packed: np.ndarray) -> list[np.ndarray]:
    """Query, key and value (B, H, T, D) of an array (B, T, 3, H, D), as views."""
    return [packed[:, :, i].swapaxes(1, 2) for i in range(3)]


def forward(packed: np.ndarray, mask: np.ndarray | None, *, between: Between = attention.NUMPY,
            **options: Any) -> tuple[np.ndarray, Any]:
    q, k, v = parts(packed)
    out, saved = attention.forward(q, k, v, mask, **options, between=between)
    return out.swapaxes(1, 2), saved


def infer(packed: np.ndarray, mask: np.ndarray | None, *, between: Between = attention.NUMPY,
          **options: Any) -> np.ndarray:
    return forward(packed, mask, between=between, **options, keeps=False)[0]


def gradients_of(g: np.ndarray, saved: Any, between: Between) -> tuple:
    batch, heads, steps, width = saved[0].shape
    gradient = empty((batch, steps, 3, heads, width), saved[0].dtype)
    attention.write_gradients(g.swapaxes(1, 2), saved, parts(gradient), between)
    return gradient, None


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    return gradients_of(g, saved, attention.NUMPY)


def supports(packed: Any, mask: Any, **options: Any) -> bool:
    return attention.is_floating(packed) and 0 < packed.shape[1] ** 2 <= attention.HEAD and packed.size > 0


register("packed_attention", "numpy", forward, backward, supports, infer=infer)
