"""skipgram_loss over rows of tables, where each word has outputs of its own: read from the tables, none is copied.

What the gradients need is made on the way, while the rows are near: the sum of its outputs for each word, and the
coefficients of the words in the outputs' gradient. Both are multiplied by the loss's gradient later.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.autodiff.row_sparse import RowSparse
from portable_nn.kernels.compiled.common import takes
from portable_nn.kernels.compiled.elementary import exp, log1p_of_share
from portable_nn.kernels.compiled.jit import Matrix, OutMatrix, OutVector, Positions, Vector, compiled
from portable_nn.kernels.compiled.prefetch import AHEAD, hint_row
from portable_nn.kernels.compiled.rows import positions
from portable_nn.kernels.numpy import skipgram as on_numpy
from portable_nn.kernels.numpy.buffers import empty, scratch
from portable_nn.kernels.numpy.indices import check_range
from portable_nn.kernels.numpy.threads import share
from portable_nn.kernels.registry import register

#: Numbers in the rows of the outputs that a block of words reads: they stay in the cache for the second look.
BLOCK = 131_072
WORDS_AHEAD = 4


@compiled
def scores(z: OutMatrix, w: OutMatrix, words: Positions, word_table: Matrix, outputs: Positions,
           table: Matrix) -> None:
    """w[b] = word_table[words[b]], and z[b, k] = w[b] · table[outputs[b, k]]."""
    count = outputs.size
    for b in range(z.shape[0]):
        if b + WORDS_AHEAD < words.size:
            hint_row(word_table, words[b + WORDS_AHEAD])
        for d in range(w.shape[1]):
            w[b, d] = word_table[words[b], d]
        for k in range(z.shape[1]):
            i = b * z.shape[1] + k
            if i + AHEAD < count:
                hint_row(table, outputs[i + AHEAD])
            row, s = outputs[i], w[b, 0] * 0.0
            for d in range(w.shape[1]):
                s += table[row, d] * w[b, d]
            z[b, k] = s


@compiled
def losses_of(loss: OutVector, slope: OutVector, z: Vector, sign: Vector, weight: Vector) -> None:
    """weight · softplus(sign · z), and its slope."""
    for i in range(z.size):
        s = sign[i] * z[i]
        e = exp(-abs(s))
        loss[i] = weight[i] * (log1p_of_share(e) + (s if s > 0.0 else 0.0))
        slope[i] = weight[i] * sign[i] * (1.0 if s >= 0.0 else e) / (1.0 + e)


@compiled
def sum_outputs(out: OutMatrix, losses: OutVector, loss: Matrix, slope: Matrix, outputs: Positions,
                table: Matrix) -> None:
    """out[b] = Σ_k slope[b, k] · table[outputs[b, k]], and the sums of the losses."""
    for b in range(out.shape[0]):
        losses[b] = 0.0
        for d in range(out.shape[1]):
            out[b, d] = 0.0
        for k in range(slope.shape[1]):
            losses[b] += loss[b, k]
            row, c = outputs[b * slope.shape[1] + k], slope[b, k]
            for d in range(out.shape[1]):
                out[b, d] += c * table[row, d]


def forward(words: np.ndarray, outputs: np.ndarray, word_table: np.ndarray, output_table: np.ndarray,
            positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, Any]:
    words, places = positions(words), positions(outputs)
    check_range("indices", words, word_table.shape[0])
    check_range("indices", places, output_table.shape[0])
    groups, count, contexts = words.size, outputs.shape[-1], positive.shape[-1]
    word_table, table = np.ascontiguousarray(word_table), np.ascontiguousarray(output_table)
    w, sums = (empty((groups, table.shape[1]), table.dtype) for _ in range(2))
    z, slope, weight, sign = (np.empty((groups, count), dtype=w.dtype) for _ in range(4))
    weight[:, :contexts], weight[:, contexts:] = positive.reshape(groups, contexts), negative.reshape(groups, 1)
    sign[:, :contexts], sign[:, contexts:] = -1, 1
    losses = np.empty(groups, dtype=w.dtype)

    def part(b: slice) -> None:
        its = places[b.start * count:b.stop * count]
        scores(z[b], w[b], words[b], word_table, its, table)
        loss = scratch(z[b].shape, w.dtype)
        losses_of(loss.reshape(-1), *[x[b].reshape(-1) for x in (slope, z, sign, weight)])
        sum_outputs(sums[b], losses[b], loss, slope[b], its, table)

    size = max(1, BLOCK // (count * w.shape[1]))
    share(part, [slice(start, min(start + size, groups)) for start in range(0, groups, size)])
    return losses.reshape(negative.shape), (words, places, word_table.shape, output_table.shape, w, z, slope, sums,
                                            positive.shape, negative.shape)


def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    words, places, words_shape, outputs_shape, w, z, slope, sums, positive_shape, negative_shape = saved
    contexts, column = positive_shape[-1], np.ascontiguousarray(g).reshape(-1, 1)
    of_words = of_outputs = g_positive = g_negative = None
    if needs[2]:
        of_words = RowSparse(words, np.multiply(sums, column, out=sums), words_shape)
    if needs[3]:
        of_outputs = RowSparse.outer(places, np.multiply(slope, column, out=slope), w, outputs_shape)
    if needs[4]:
        near = np.logaddexp(z.dtype.type(0), -z[:, :contexts])
        g_positive = (near * column).reshape(positive_shape)
    if needs[5]:
        far = np.logaddexp(z.dtype.type(0), z[:, contexts:])
        g_negative = (np.add.reduce(far, axis=-1) * column[:, 0]).reshape(negative_shape)
    return None, None, of_words, of_outputs, g_positive, g_negative


def supports(words: Any, outputs: Any, word_table: Any, output_table: Any, positive: Any, negative: Any) -> bool:
    return (words.shape[-1] == 1 and takes(output_table) and words.size * output_table.shape[1] > 0
            and outputs.size > 0 and on_numpy.rows_supports(words, outputs, word_table, output_table, positive,
                                                            negative))


register("sparse_skipgram_loss", "numpy", forward, backward, supports)
