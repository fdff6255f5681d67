"""Fast paths on NumPy arrays: few temporaries, work in place, in blocks that stay in the cache."""

from __future__ import annotations

import importlib.util

from portable_nn.kernels.numpy import (  # noqa: F401  (each registers its kernels)
    activations,
    add_norm,
    attention,
    batch_norm,
    convolution,
    dropout,
    embedding,
    gelu,
    gru,
    layer_norm,
    linear,
    losses,
    lstm,
    mean_losses,
    optimizers,
    packed_attention,
    pooling,
    rectifiers,
    rms_norm,
    rows,
    skipgram,
    small,
    softmax,
)

if importlib.util.find_spec("numba") is not None:  # the extra [fast]; Numba itself is imported when a large call comes
    from portable_nn.kernels import compiled  # noqa: F401  (registered last, so asked first)
