"""The loss of skip-gram with negative sampling, over blocks of words that share their contexts and negatives."""

from __future__ import annotations

import math
from typing import Any

from portable_nn.autodiff.row_sparse import RowSparse
from portable_nn.backend.errors import ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.functional.activations import _define_sigmoid
from portable_nn.functional.checks import as_index, check_floating
from portable_nn.functional.embedding import _check_embedding, _define_embedding, embedding
from portable_nn.functional.fused import fused
from portable_nn.functional.sparse_embedding import is_leaf


def _softplus(xp, z):
    return xp.logaddexp(xp.zeros_like(z), z)


def _scores(xp, words, outputs, contexts):
    """What the loss wants small: minus the scores of the contexts, and the scores of the negatives."""
    s = xp.matmul(words, xp.matrix_transpose(outputs))                     # (..., C, M + N)
    return -s[..., :contexts], s[..., contexts:]


def _define_skipgram_loss(words, outputs, positive, negative, /):
    xp = array_namespace(words, outputs, positive, negative)
    near, far = _scores(xp, words, outputs, positive.shape[-1])            # (..., C, M), (..., C, N)
    return xp.sum(positive * _softplus(xp, near), axis=-1) + negative * xp.sum(_softplus(xp, far), axis=-1)


def _skipgram_backward(xp, g, words, outputs, positive, negative, needs):
    near, far = _scores(xp, words, outputs, positive.shape[-1])
    column = xp.expand_dims(g, axis=-1)                                    # (..., C, 1)
    g_words = g_outputs = None
    if needs[0] or needs[1]:
        g_s = xp.concat([-positive * _define_sigmoid(near) * column,
                         xp.expand_dims(negative * g, axis=-1) * _define_sigmoid(far)], axis=-1)
        g_words = xp.matmul(g_s, outputs) if needs[0] else None
        g_outputs = xp.matmul(xp.matrix_transpose(g_s), words) if needs[1] else None
    return (g_words, g_outputs, _softplus(xp, near) * column if needs[2] else None,
            xp.sum(_softplus(xp, far), axis=-1) * g if needs[3] else None)


def _check(words, outputs, positive, negative):
    check_floating("skipgram_loss", words, outputs, positive, negative)
    _check_shapes(words.shape, outputs.shape, positive.shape, negative.shape)


def _check_shapes(*shapes):
    if not (min(map(len, shapes[:3])) >= 2 and shapes[0][:-2] == shapes[1][:-2]
            and shapes[0][-1] == shapes[1][-1] and shapes[2][:-1] == shapes[3] == shapes[0][:-1]
            and shapes[2][-1] <= shapes[1][-2]):
        raise ShapeError("words (..., C, D), outputs (..., M + N, D), positive (..., C, M) and negative (..., C)",
                         ", ".join(map(str, shapes)), "put the negatives behind the contexts among the outputs")


def _define_rows(words, outputs, word_table, output_table, positive, negative, /):
    return _define_skipgram_loss(_define_embedding(words, word_table), _define_embedding(outputs, output_table),
                                 positive, negative)


def _forward_rows(words, outputs, word_table, output_table, positive, negative):
    w, o = embedding(words, word_table), embedding(outputs, output_table)
    return _skipgram_loss(w, o, positive, negative), (w, o)


def _rows_backward(xp, g, saved, words, outputs, word_table, output_table, positive, negative, needs):
    g_words, g_outputs, *g_weights = _skipgram_backward(xp, g, *saved, positive, negative, needs[2:])
    return (None, None, _row_sparse(xp, words, g_words, word_table), _row_sparse(xp, outputs, g_outputs, output_table),
            *g_weights)


def _row_sparse(xp, indices, rows, table):
    if rows is None:
        return None
    count = math.prod(indices.shape)
    return RowSparse(xp.reshape(as_index(xp, indices), (count,)), xp.reshape(rows, (count, table.shape[1])),
                     table.shape)


def _check_rows(words, outputs, word_table, output_table, positive, negative):
    _check_embedding(words, word_table)
    _check_embedding(outputs, output_table)
    check_floating("sparse_skipgram_loss", word_table, output_table, positive, negative)
    _check_shapes((*words.shape, word_table.shape[1]), (*outputs.shape, output_table.shape[1]), positive.shape,
                  negative.shape)


_skipgram_loss = fused("skipgram_loss", definition=_define_skipgram_loss, backward=_skipgram_backward, check=_check)
# It asks for `saved`, so that second order runs the definition, whose gradients are dense, and can be recorded.
_sparse_loss = fused("sparse_skipgram_loss", definition=_define_rows, forward=_forward_rows, backward=_rows_backward,
                     check=_check_rows)


def skipgram_loss(words: Any, outputs: Any, positive: Any, negative: Any) -> Any:
    """Σ_m p_m softplus(-w · o_m) + q Σ_n softplus(w · o_n): the first M outputs are contexts, the others negatives.

    softplus(-s) is -log σ(s). A pair alone with its K negatives is C = M = 1 with p = q = 1. In blocks, C words of a
    text share the M words around them as candidates, of which p picks each one's own, and N negatives: with n contexts
    and q = n K / N the expected loss is that of K negatives drawn for each pair, at the cost of two small products.

    Parameters
    ----------
    words : floating array of shape (..., C, D)
        Vectors w of words.
    outputs : array of shape (..., M + N, D)
        Vectors o of contexts and, behind them, of negatives.
    positive : array of shape (..., C, M)
        p: how much each context counts for each word, as a rule 0 or 1.
    negative : array of shape (..., C)
        q: how much each negative counts for each word.

    Returns
    -------
    array of shape (..., C)
        The loss of each word.

    Raises
    ------
    ShapeError, DTypeError, DeviceError
        Shapes do not fit; dtypes are not floating or differ; devices differ.

    References
    ----------
    Mikolov et al., "Distributed representations of words and phrases and their compositionality", 2013, equation 4,
    negated; shared negatives: Ji et al., "Parallelizing word2vec in shared and distributed memory", 2016.
    """
    return _skipgram_loss(words, outputs, positive, negative)


def sparse_skipgram_loss(words: Any, outputs: Any, word_table: Any, output_table: Any, positive: Any,
                         negative: Any) -> Any:
    """`skipgram_loss` of rows of two tables, whose gradients are `RowSparse` where they are Parameters.

    The rows of the outputs' gradient are multiples of the words' vectors: where each word has outputs of its own, they
    need never be written down.

    Parameters
    ----------
    words, outputs : integer arrays of shapes (..., C) and (..., M + N)
        Rows of the tables, checked as `embedding` does.
    word_table, output_table : floating arrays of shape (V, D)
    positive, negative
        As in `skipgram_loss`.

    Returns
    -------
    array of shape (..., C)

    Raises
    ------
    ShapeError, DTypeError, DeviceError, DataError
        As `skipgram_loss` and `embedding` do.
    """
    if is_leaf(word_table) and is_leaf(output_table):
        return _sparse_loss(words, outputs, word_table, output_table, positive, negative)
    return skipgram_loss(embedding(words, word_table), embedding(outputs, output_table), positive, negative)
