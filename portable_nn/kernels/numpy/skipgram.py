"""skipgram_loss on NumPy: two batched products each way; what lies between them is done in blocks that fit a cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.kernels.numpy.blocks import BLOCK, CONSTANTS, is_floating
from portable_nn.kernels.registry import register


def skipgram_loss(words: np.ndarray, outputs: np.ndarray, positive: np.ndarray,
                  negative: np.ndarray) -> tuple[np.ndarray, Any]:
    lead = words.shape[:-2]
    w, o = words.reshape(-1, *words.shape[-2:]), outputs.reshape(-1, *outputs.shape[-2:])
    p, q = positive.reshape(-1, *positive.shape[-2:]), negative.reshape(-1, negative.shape[-1])
    contexts = p.shape[-1]
    z = np.matmul(w, o.swapaxes(-1, -2))                                   # (G, C, M + N)
    losses = np.empty(q.shape, dtype=z.dtype)
    near, far = np.empty(p.shape, dtype=z.dtype), np.empty(q.shape, dtype=z.dtype)
    size = max(1, BLOCK // max(1, z[0].size))
    for start in range(0, z.shape[0], size):
        block = slice(start, start + size)
        _block(z[block], p[block], q[block], losses[block], near[block], far[block])
    return losses.reshape(*lead, words.shape[-2]), (w, o, p, q, z, near, far, contexts, words.shape, outputs.shape)


def _block(z: np.ndarray, p: np.ndarray, q: np.ndarray, losses: np.ndarray, near: np.ndarray, far: np.ndarray) -> None:
    """From scores z the losses, the softplus of each context and the sum of those of the negatives; z becomes σ(z)."""
    contexts, one = p.shape[-1], CONSTANTS[z.dtype.char].one
    np.negative(z[..., :contexts], out=z[..., :contexts])
    e = np.abs(z)
    np.negative(e, out=e)
    np.exp(e, out=e)                                                       # exp(-|z|)
    softplus = np.add(e, one)
    np.copyto(e, one, where=z >= CONSTANTS[z.dtype.char].zero)
    np.divide(e, softplus, out=e)                                          # σ(z)
    np.log(softplus, out=softplus)
    np.maximum(z, CONSTANTS[z.dtype.char].zero, out=z)
    np.add(softplus, z, out=softplus)
    np.copyto(z, e)
    near[...] = softplus[..., :contexts]
    np.add.reduce(softplus[..., contexts:], axis=-1, out=far)
    np.multiply(q, far, out=losses)
    np.add(losses, np.vecdot(p, near), out=losses)


def skipgram_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    w, o, p, q, z, near, far, contexts, words_shape, outputs_shape = saved
    g = g.reshape(q.shape)
    column = g[..., None]
    g_positive = near * column if needs[2] else None
    g_negative = far * g if needs[3] else None
    g_words = g_outputs = None
    if needs[0] or needs[1]:
        np.multiply(z[..., :contexts], p * -column, out=z[..., :contexts])  # the scores are nobody else's
        np.multiply(z[..., contexts:], (q * g)[..., None], out=z[..., contexts:])
        g_words = np.matmul(z, o).reshape(words_shape) if needs[0] else None
        g_outputs = np.matmul(z.swapaxes(-1, -2), w).reshape(outputs_shape) if needs[1] else None
    lead = words_shape[:-2]
    return (g_words, g_outputs, None if g_positive is None else g_positive.reshape(*lead, *p.shape[1:]),
            None if g_negative is None else g_negative.reshape(*lead, *q.shape[1:]))


def skipgram_supports(words: Any, outputs: Any, positive: Any, negative: Any) -> bool:
    return is_floating(words) and words.size > 0 and positive.size > 0


register("skipgram_loss", "numpy", skipgram_loss, skipgram_backward, skipgram_supports)
