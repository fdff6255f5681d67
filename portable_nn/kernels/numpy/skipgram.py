"""skipgram_loss on NumPy: two batched products each way; what lies between them is done in blocks that fit a cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.autodiff.row_sparse import RowSparse
from portable_nn.kernels.numpy.blocks import BLOCK, CONSTANTS, is_floating
from portable_nn.kernels.numpy.buffers import empty
from portable_nn.kernels.numpy.indices import check_range
from portable_nn.kernels.numpy.rows import take_rows
from portable_nn.kernels.registry import register


def skipgram_loss(words: np.ndarray, outputs: np.ndarray, positive: np.ndarray,
                  negative: np.ndarray) -> tuple[np.ndarray, Any]:
    lead = words.shape[:-2]
    w, o = words.reshape(-1, *words.shape[-2:]), outputs.reshape(-1, *outputs.shape[-2:])
    p, q = positive.reshape(-1, *positive.shape[-2:]), negative.reshape(-1, negative.shape[-1])
    contexts = p.shape[-1]
    z = (np.vecdot(o, w)[:, None] if w.shape[1] == 1 else np.matmul(w, o.swapaxes(-1, -2)))  # (G, C, M + N)
    losses = np.empty(q.shape, dtype=z.dtype)
    near, far = np.empty(p.shape, dtype=z.dtype), np.empty(q.shape, dtype=z.dtype)
    size = max(1, BLOCK // max(1, z[0].size))
    for start in range(0, z.shape[0], size):
        block = slice(start, start + size)
        _block(z[block], p[block], q[block], losses[block], near[block], far[block])
    return losses.reshape(*lead, words.shape[-2]), (w, o, p, q, z, near, far, contexts, words.shape, outputs.shape)


def _block(z: np.ndarray, p: np.ndarray, q: np.ndarray, losses: np.ndarray, near: np.ndarray, far: np.ndarray) -> None:
    """From scores z the losses, the softplus of each context and the sum of those of the negatives; z becomes σ(z)."""
    contexts, zero, one = p.shape[-1], CONSTANTS[z.dtype.char].zero, CONSTANTS[z.dtype.char].one
    np.subtract(zero, z[..., :contexts], out=z[..., :contexts])  # NumPy's `negative` is wrong in place at some strides
    e = np.abs(z)
    np.negative(e, out=e)
    np.exp(e, out=e)                                                       # exp(-|z|)
    softplus = np.add(e, one)
    np.copyto(e, one, where=z >= zero)
    np.divide(e, softplus, out=e)                                          # σ(z)
    np.log(softplus, out=softplus)
    np.maximum(z, zero, out=z)
    np.add(softplus, z, out=softplus)
    np.copyto(z, e)
    near[...] = softplus[..., :contexts]
    np.add.reduce(softplus[..., contexts:], axis=-1, out=far)
    np.multiply(q, far, out=losses)
    np.add(losses, np.vecdot(p, near), out=losses)


def skipgram_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    w, o, p, q, z, near, far, contexts, words_shape, outputs_shape = saved
    g, (g_positive, g_negative) = g.reshape(q.shape), weight_gradients(g, saved, needs[2:])
    g_words = g_outputs = None
    if needs[0] or needs[1]:
        scale(z, p, q, g, contexts)
        g_words = np.matmul(z, o).reshape(words_shape) if needs[0] else None
        if needs[1]:
            g_outputs = empty(o.shape, o.dtype)
            (np.multiply if z.shape[1] == 1 else np.matmul)(z.swapaxes(-1, -2), w, out=g_outputs)
            g_outputs = g_outputs.reshape(outputs_shape)
    return g_words, g_outputs, g_positive, g_negative


def scale(z: np.ndarray, p: np.ndarray, q: np.ndarray, g: np.ndarray, contexts: int) -> None:
    """From σ(z), which is nobody else's, to the gradient of the scores, in place."""
    np.multiply(z[..., :contexts], p * -g[..., None], out=z[..., :contexts])
    np.multiply(z[..., contexts:], (q * g)[..., None], out=z[..., contexts:])


def weight_gradients(g: np.ndarray, saved: Any, needs: Any) -> tuple:
    """The gradients of `positive` and `negative`, None where they are not wanted."""
    w, o, p, q, z, near, far, contexts, words_shape, outputs_shape = saved
    lead, g = words_shape[:-2], g.reshape(q.shape)
    return ((near * g[..., None]).reshape(*lead, *p.shape[1:]) if needs[0] else None,
            (far * g).reshape(*lead, *q.shape[1:]) if needs[1] else None)


def rows_forward(words: np.ndarray, outputs: np.ndarray, word_table: np.ndarray, output_table: np.ndarray,
                 positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, Any]:
    check_range("indices", words.reshape(-1), word_table.shape[0])
    check_range("indices", outputs.reshape(-1), output_table.shape[0])
    losses, saved = skipgram_loss(take_rows(word_table, words), take_rows(output_table, outputs), positive, negative)
    return losses, (words, outputs, word_table.shape, output_table.shape, saved)


def rows_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    words, outputs, words_shape, outputs_shape, saved = saved
    w, o, p, q, z, *_, contexts, _, _ = saved
    words, outputs = words.reshape(-1), outputs.reshape(-1)
    g_weights: Any
    if z.shape[1] > 1:  # several words share their outputs
        g_words, g_outputs, *g_weights = skipgram_backward(xp, g, saved, needs[2:])
        of_outputs = None if g_outputs is None else RowSparse(outputs, g_outputs.reshape(o.shape[0] * o.shape[1], -1),
                                                              outputs_shape)
    else:
        g_weights = weight_gradients(g, saved, needs[4:])
        scale(z, p, q, g.reshape(q.shape), contexts)
        g_words = np.matmul(z, o) if needs[2] else None
        of_outputs = RowSparse.outer(outputs, z[:, 0], w[:, 0], outputs_shape) if needs[3] else None
    of_words = None if g_words is None else RowSparse(words, g_words.reshape(words.size, -1), words_shape)
    return None, None, of_words, of_outputs, *g_weights


def skipgram_supports(words: Any, outputs: Any, positive: Any, negative: Any) -> bool:
    return is_floating(words) and words.size > 0 and positive.size > 0


def rows_supports(words: Any, outputs: Any, word_table: Any, output_table: Any, positive: Any, negative: Any) -> bool:
    return (type(words) is type(outputs) is np.ndarray and is_floating(word_table) and word_table.size > 0
            and output_table.shape[0] > 0 and words.size > 0 and positive.size > 0)


register("skipgram_loss", "numpy", skipgram_loss, skipgram_backward, skipgram_supports)
register("sparse_skipgram_loss", "numpy", rows_forward, rows_backward, rows_supports)
