"""h = dropout(pool over time of an LSTM's outputs): a text read word by word, in both directions."""

from __future__ import annotations

from typing import Any

from portable_nn import layers
from portable_nn.data import TokenRows
from portable_nn.models.bodies.tokens import TokenEmbedding
from portable_nn.models.options import Pooling, positive


class LSTMBody(layers.Module):
    """An LSTM over the words, its outputs pooled over time.

    Shape
    -----
    TokenRows of B texts -> (B, hidden · directions), twice as many with both poolings

    Parameters
    ----------
    vocabulary_size : int
        As the vectorizer's `size`.
    width : int
        Features of a word.
    hidden : int
        Features of the LSTM's state, in each direction.
    num_layers : int
    bidirectional : bool
    pooling : "max", "mean" or "both"
        Of each feature, over the words of a text; both give twice as many.
    word_dropout, embedding_dropout, dropout : float
        Shares of the words, of their features, and of the pooled features (and of what passes from layer to layer) left
        out in training mode.
    deviation : float
        Of the words' first features: small, so that those of rare words, which hardly move, do not drown the others.

    References
    ----------
    A. Conneau et al., "Supervised learning of universal sentence representations", 2017, section 3.2.2: BiLSTM with max
    pooling.
    """

    def __init__(self, vocabulary_size: int, width: int = 64, hidden: int = 64, num_layers: int = 1,
                 bidirectional: bool = True, pooling: str = "max", word_dropout: float = 0.3,
                 embedding_dropout: float = 0.3, dropout: float = 0.5, deviation: float = 0.03) -> None:
        self.embedding = TokenEmbedding(vocabulary_size, width, word_dropout, embedding_dropout, deviation)
        between = dropout if positive("num_layers", num_layers) > 1 else 0.0
        self.lstm = layers.LSTM(width, positive("hidden", hidden), num_layers, dropout=between,
                                bidirectional=bool(bidirectional))
        self.pool = Pooling(pooling)
        self.dropout = layers.Dropout(dropout)
        self.out_features = hidden * (1 + bool(bidirectional)) * self.pool.count
        self.options = {"width": width, "hidden": hidden, "num_layers": num_layers,
                        "bidirectional": bool(bidirectional), "pooling": pooling, "word_dropout": word_dropout,
                        "embedding_dropout": embedding_dropout, "dropout": dropout, "deviation": deviation}

    def forward(self, texts: TokenRows) -> Any:
        x, hidden = self.embedding(texts)                                                 # (B, T, width), (B, T)
        y, _ = self.lstm(x, lengths=texts.lengths)                                        # (B, T, out_features)
        return self.dropout(self.pool(y, hidden))                                    # (B, out_features)

    def config(self) -> dict[str, Any]:
        """The options, as JSON holds them."""
        return dict(self.options)
