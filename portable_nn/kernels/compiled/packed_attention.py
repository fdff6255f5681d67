"""packed_attention: as attention, with gradients in one array."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from portable_nn.kernels.compiled.attention import BETWEEN
from portable_nn.kernels.compiled.common import takes
from portable_nn.kernels.numpy import packed_attention
from portable_nn.kernels.registry import register


def forward(*arrays: Any, **options: Any) -> tuple[np.ndarray, Any]:
    return packed_attention.forward(*arrays, **options, between=BETWEEN)


def infer(*arrays: Any, **options: Any) -> np.ndarray:
    return packed_attention.infer(*arrays, **options, between=BETWEEN)


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    return packed_attention.gradients_of(g, saved, BETWEEN)


def supports(packed: Any, mask: Any, **options: Any) -> bool:
    batch, steps, _, heads, _ = packed.shape
    return takes(packed, size=math.prod((batch, heads, steps, steps))) and packed_attention.supports(
        packed, mask, **options)


register("packed_attention", "numpy", forward, backward, supports, infer=infer)
