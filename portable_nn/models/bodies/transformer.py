"""h = dropout(pool over time of a Transformer encoder's outputs): every word sees every other."""

from __future__ import annotations

import math
from typing import Any

from portable_nn import layers
from portable_nn.data import TokenRows
from portable_nn.models.bodies.tokens import TokenEmbedding
from portable_nn.models.options import Pooling, positive


class TransformerBody(layers.Module):
    """A pre-norm Transformer encoder over the words and their positions, its outputs pooled over time.

    Shape
    -----
    TokenRows of B texts -> (B, width), twice as many with both poolings

    Parameters
    ----------
    vocabulary_size : int
        As the vectorizer's `size`.
    width : int
        Features of a word, in every layer.
    num_heads : int
        Heads of attention; divides the width.
    feed_forward : int
        Features between the two maps of each layer.
    num_layers : int
    pooling : "max", "mean" or "both"
        Of each feature, over the words of a text; both give twice as many.
    word_dropout, embedding_dropout, attention_dropout, dropout : float
        Shares of the words, of their features, within the layers, and of the pooled features left out in training mode.
    deviation : float
        Of the words' first features: small, so that those of rare words, which hardly move, do not drown the others.

    References
    ----------
    A. Vaswani et al., "Attention is all you need", 2017, section 3; R. Xiong et al., "On layer normalization in the
    Transformer architecture", 2020 (pre-norm).
    """

    def __init__(self, vocabulary_size: int, width: int = 64, num_heads: int = 4, feed_forward: int = 128,
                 num_layers: int = 1, pooling: str = "mean", word_dropout: float = 0.4,
                 embedding_dropout: float = 0.3, attention_dropout: float = 0.1, dropout: float = 0.5,
                 deviation: float = 0.01) -> None:
        self.embedding = TokenEmbedding(vocabulary_size, width, word_dropout, embedding_dropout, deviation)
        self.position = layers.PositionalEncoding(width)
        layer = layers.TransformerEncoderLayer(width, num_heads, positive("feed_forward", feed_forward),
                                               attention_dropout, norm_first=True)
        self.encoder = layers.TransformerEncoder(layer, positive("num_layers", num_layers), layers.LayerNorm(width))
        self.scale = math.sqrt(width)
        self.pool = Pooling(pooling)
        self.dropout = layers.Dropout(dropout)
        self.out_features = width * self.pool.count
        self.options = {"width": width, "num_heads": num_heads, "feed_forward": feed_forward, "num_layers": num_layers,
                        "pooling": pooling, "word_dropout": word_dropout,
                        "embedding_dropout": embedding_dropout, "attention_dropout": attention_dropout,
                        "dropout": dropout, "deviation": deviation}

    def forward(self, texts: TokenRows) -> Any:
        x, hidden = self.embedding(texts)                                                 # (B, T, width), (B, T)
        x = self.position(x * self.scale)      # section 3.4: positions would drown words as small as they begin
        y = self.encoder(x, padding_mask=texts.lengths)                                   # (B, T, width)
        return self.dropout(self.pool(y, hidden))                                    # (B, width)

    def config(self) -> dict[str, Any]:
        """The options, as JSON holds them."""
        return dict(self.options)
