"""x_t = dropout(E[id_t]), zeros behind a text's end: the front of every body that reads words in order."""

from __future__ import annotations

from typing import Any

from portable_nn import layers
from portable_nn.backend.errors import DTypeError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.data import TokenRows
from portable_nn.layers import initializers
from portable_nn.layers.pooling import hidden_steps
from portable_nn.models.options import positive


class TokenEmbedding(layers.Module):
    """A vector for each token, and which of them are there.

    Shape
    -----
    TokenRows of ids (B, T) -> x (B, T, width), hidden (B, T): True behind a text's end, where x is 0

    Parameters
    ----------
    vocabulary_size, width : int
        Rows and columns of the table.
    word_dropout : float
        Share of the words left out, as zeros, in training mode: no word is relied on alone.
    dropout : float
        Share of the remaining elements set to zero in training mode.
    deviation : float
        Of the normal distribution that the table is drawn from.

    Attributes
    ----------
    table : Embedding, table.weight (vocabulary_size, width)
        The row of padding never changes: it gets no gradient.
    """

    def __init__(self, vocabulary_size: int, width: int, word_dropout: float, dropout: float,
                 deviation: float) -> None:
        shape = positive("vocabulary_size", vocabulary_size), positive("width", width)
        self.table = layers.Embedding(*shape)
        self.table.weight = layers.Parameter(shape, initializers.Normal(deviation))
        self.word_dropout, self.dropout = layers.Dropout(word_dropout), layers.Dropout(dropout)

    def forward(self, texts: TokenRows) -> tuple[Any, Any]:
        if not isinstance(texts, TokenRows):
            raise DTypeError("TokenRows", type(texts).__name__, "pass what data.TokenVectorizer makes of texts")
        if len(texts.ids.shape) != 2:
            raise ShapeError("ids of shape (B, T)", f"{tuple(texts.ids.shape)}", "pass one row for each text")
        xp = array_namespace(texts.ids)
        hidden = hidden_steps(texts.lengths, *texts.ids.shape)                            # (B, T)
        x = self.table(texts.ids)                                                         # (B, T, width)
        there = xp.astype(xp.expand_dims(xp.logical_not(hidden), axis=2), x.dtype)        # (B, T, 1)
        return self.dropout(x * self.word_dropout(there)), hidden
