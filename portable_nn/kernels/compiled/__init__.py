"""Fast paths on large NumPy arrays with the extra `[fast]`: one pass over memory, compiled by Numba.

Loaded beside `kernels/numpy` where Numba is installed; small calls, and those that NumPy does as well, stay there.
"""

from __future__ import annotations

from portable_nn.kernels.compiled import (  # noqa: F401  (each registers its kernels)
    activations,
    attention,
    batch_norm,
    dropout,
    gru,
    linear,
    lstm,
    norms,
    optimizers,
    packed_attention,
    rows,
    skipgram,
    softmax,
)
