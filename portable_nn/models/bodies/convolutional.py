"""h = dropout(pool over time of f(each convolution)): which short phrases stand anywhere in a text, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from portable_nn import layers
from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.namespace import array_namespace
from portable_nn.data import TokenRows
from portable_nn.models.bodies.tokens import TokenEmbedding
from portable_nn.models.options import Pooling, make_activation, positive


class ConvolutionalBody(layers.Module):
    """Convolutions of several widths over the words, each pooled over time to its largest value, its mean, or both.

    Shape
    -----
    TokenRows of B texts -> (B, filters · number of kernel sizes), twice as many with both poolings

    Parameters
    ----------
    vocabulary_size : int
        As the vectorizer's `size`.
    width : int
        Features of a word.
    filters : int
        Features that each kernel size looks for.
    kernel_sizes : sequence of int
        Words that a feature sees at once.
    activation : "relu", "gelu", "tanh" or "sigmoid"
    pooling : "max", "mean" or "both"
        The paper's is "max"; the mean, as a bag of words has it, makes more of few texts.
    word_dropout, embedding_dropout, dropout : float
        Shares of the words, of their features, and of the pooled features left out in training mode.
    deviation : float
        Of the words' first features: small, so that those of rare words, which hardly move, do not drown the others.

    References
    ----------
    Y. Kim, "Convolutional neural networks for sentence classification", 2014, section 2.
    """

    def __init__(self, vocabulary_size: int, width: int = 64, filters: int = 64,
                 kernel_sizes: Sequence[int] = (1, 2, 3), activation: str = "relu", pooling: str = "both",
                 word_dropout: float = 0.3, embedding_dropout: float = 0.3, dropout: float = 0.5,
                 deviation: float = 0.03) -> None:
        if not kernel_sizes or isinstance(kernel_sizes, str) or not isinstance(kernel_sizes, Sequence):
            raise ArgumentError("kernel sizes as a sequence of integers", repr(kernel_sizes),
                                "pass for example (1, 2, 3)")
        self.embedding = TokenEmbedding(vocabulary_size, width, word_dropout, embedding_dropout, deviation)
        self.convolutions = layers.ModuleList(
            layers.Conv1d(width, positive("filters", filters), positive("kernel_sizes", size), padding="same")
            for size in kernel_sizes)
        self.pool = Pooling(pooling, axis=2)
        self.activation_name, self.activation = activation, make_activation(activation)
        self.dropout = layers.Dropout(dropout)
        self.out_features = filters * len(kernel_sizes) * self.pool.count
        self.options = {"width": width, "filters": filters, "kernel_sizes": list(kernel_sizes),
                        "activation": activation, "pooling": pooling, "word_dropout": word_dropout,
                        "embedding_dropout": embedding_dropout, "dropout": dropout, "deviation": deviation}

    def forward(self, texts: TokenRows) -> Any:
        x, hidden = self.embedding(texts)
        xp = array_namespace(x)
        x = xp.permute_dims(x, (0, 2, 1))                                                 # (B, width, T)
        pooled = [self.pool(self.activation(convolution(x)), hidden) for convolution in self.convolutions]
        return self.dropout(xp.concat(pooled, axis=1))                                    # (B, out_features)

    def config(self) -> dict[str, Any]:
        """The options, as JSON holds them."""
        return dict(self.options)
