"""Fast paths on CuPy arrays: raw CUDA kernels, one for a whole fused operation; see `launch` for how they are made."""

from __future__ import annotations

from portable_nn.kernels.cupy import (  # noqa: F401  (each registers its kernels)
    activations,
    attention,
    batch_norm,
    cudnn_attention,
    dropout,
    embed_sequence,
    embedding,
    feeding,
    gathering,
    graphs,
    gru,
    linear,
    linear_dropout,
    losses,
    lstm,
    mean_losses,
    norms,
    notes,
    optimizers,
    skipgram,
    softmax,
    sums,
)
