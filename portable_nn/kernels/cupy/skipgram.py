"""skipgram_loss on CuPy, of arrays or of rows of two tables: one kernel forward, one for both gradients."""

from __future__ import annotations

from typing import Any

from portable_nn.autodiff.row_sparse import RowSparse
from portable_nn.functional.skipgram import _skipgram_backward
from portable_nn.kernels.cupy.embedding import embedding, embedding_supports
from portable_nn.kernels.cupy.launch import as_int64, contiguous, empty, is_floating, kernel, rows
from portable_nn.kernels.registry import register

#: Words of a group from which on products of matrices are quicker.
_MOST_WORDS = 32


def _forward(words: Any, outputs: Any, arrays: tuple, sizes: tuple[int, ...]) -> tuple[Any, tuple]:
    """The losses, and what `_backward` takes. `words` and `outputs` are indices of tables, or 0."""
    positive, negative = arrays[2:]
    arrays, tables = tuple([contiguous(x) for x in arrays]), (arrays[0].shape[0], arrays[1].shape[0])
    char, width, candidates = positive.dtype.char, arrays[0].shape[-1], sizes[1]
    sizes = (*tables, negative.size, sizes[0], positive.shape[-1], candidates, width)
    losses, scores = empty(negative.shape, positive.dtype), empty((negative.size, candidates),
                                                                  "d" if char == "d" else "f")
    rows(kernel("skipgram", "skipgram", char), negative.size, width, (words, outputs, *arrays, losses, scores, *sizes))
    return losses, ((words, outputs), arrays, scores, sizes)


def _backward(g: Any, saved: tuple, needs: Any) -> tuple[Any, Any]:
    """The gradients of the rows of words (n, D) and of outputs; None where one is not wanted."""
    indices, arrays, scores, sizes = saved
    *_, count, per_group, _, candidates, width = sizes
    step = int(any(g.strides))  # 0 where one number has been broadcast, as the mean's gradient is
    g, dtype = contiguous(g) if step else g, arrays[0].dtype
    others = count // per_group * candidates
    g_words = empty((count, width), dtype) if needs[0] else 0
    g_outputs = empty((others, width), dtype) if needs[1] else 0
    rows(kernel("skipgram", "skipgram_backward", dtype.char), count * bool(needs[0]) + others * bool(needs[1]), width,
         (*indices, *arrays, g, scores, g_words, g_outputs, step, *sizes))
    return g_words if needs[0] else None, g_outputs if needs[1] else None


def skipgram_loss(words: Any, outputs: Any, positive: Any, negative: Any) -> tuple[Any, Any]:
    return _forward(0, 0, (words, outputs, positive, negative), (words.shape[-2], outputs.shape[-2]))


def skipgram_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    words, outputs, positive, negative = saved[1]
    g_words, g_outputs = _backward(g, saved, needs)
    g_words = None if g_words is None else g_words.reshape(words.shape)
    g_outputs = None if g_outputs is None else g_outputs.reshape(outputs.shape)
    if not (needs[2] or needs[3]):
        return g_words, g_outputs, None, None
    others = (False, False, *needs[2:])  # rare: how much each context counts is no parameter
    return g_words, g_outputs, *_skipgram_backward(xp, g, words, outputs, positive, negative, others)[2:]


def rows_forward(words: Any, outputs: Any, word_table: Any, output_table: Any, positive: Any,
                 negative: Any) -> tuple[Any, Any]:
    return _forward(as_int64(words), as_int64(outputs), (word_table, output_table, positive, negative),
                    (words.shape[-1], outputs.shape[-1]))


def rows_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    (words, outputs), (word_table, output_table, positive, negative), _, _ = saved
    g_words, g_outputs = _backward(g, saved, needs[2:])
    g_weights: Any = (None, None)
    if needs[4] or needs[5]:
        w, o = embedding(words, word_table)[0], embedding(outputs, output_table)[0]
        g_weights = _skipgram_backward(xp, g, w, o, positive, negative, (False, False, *needs[4:]))[2:]
    return (None, None, None if g_words is None else RowSparse(words.reshape(-1), g_words, word_table.shape),
            None if g_outputs is None else RowSparse(outputs.reshape(-1), g_outputs, output_table.shape), *g_weights)


def supports(words: Any, outputs: Any, positive: Any, negative: Any) -> bool:
    return is_floating(words) and words.size > 0 and outputs.size > 0 and words.shape[-2] <= _MOST_WORDS


def rows_supports(words: Any, outputs: Any, word_table: Any, output_table: Any, positive: Any, negative: Any) -> bool:
    return (embedding_supports(words, word_table) and embedding_supports(outputs, output_table)
            and word_table.dtype == output_table.dtype == positive.dtype and word_table.size > 0
            and output_table.size > 0 and words.size > 0 and outputs.size > 0 and words.shape[-1] <= _MOST_WORDS)


register("skipgram_loss", "cupy", skipgram_loss, skipgram_backward, supports)
register("sparse_skipgram_loss", "cupy", rows_forward, rows_backward, rows_supports)
