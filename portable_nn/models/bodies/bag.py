"""h = f(Σ_j v_j E_j + b): a weighted sum of embeddings, one for each n-gram of a text."""

from __future__ import annotations

from typing import Any

from portable_nn import layers
from portable_nn.backend.errors import DTypeError
from portable_nn.data import SparseRows
from portable_nn.layers import initializers
from portable_nn.models.options import make_activation, positive

#: Rare n-grams hardly move from where they start; as large as PyTorch's N(0, 1) their noise would drown the others.
_STD = 0.01


class BagBody(layers.Module):
    """A bag of weighted n-grams.

    Shape
    -----
    SparseRows of B rows -> (B, width)

    Parameters
    ----------
    vocabulary_size : int
        Columns of the sparse rows.
    width : int
        Features of an n-gram's embedding.
    activation : "relu", "gelu", "tanh" or "sigmoid"
        tanh by default: a feature then speaks for one class or the other. With few features that speak for one alone,
        as ReLU's do, how well a model does depends on the signs that its head happens to start from.
    entry_dropout : float
        Share of a text's entries left out in training mode, each text's own: no n-gram is relied on alone.
    dropout : float
        Share of the features set to zero in training mode.

    Attributes
    ----------
    bag : EmbeddingBag, bag.weight (vocabulary_size, width)
    bias : Parameter (width,)

    References
    ----------
    M. Iyyer et al., "Deep unordered composition rivals syntactic methods for text classification", 2015: a bag of
    embeddings, and dropping whole words of it (section 3.1).
    """

    def __init__(self, vocabulary_size: int, width: int = 8, activation: str = "tanh", entry_dropout: float = 0.5,
                 dropout: float = 0.0) -> None:
        shape = positive("vocabulary_size", vocabulary_size), positive("width", width)
        self.bag = layers.EmbeddingBag(*shape, mode="sum")
        self.bag.weight = layers.Parameter(shape, initializers.Normal(_STD))
        self.bias = layers.Parameter((width,), initializers.zeros)
        self.activation_name, self.activation = activation, make_activation(activation)
        self.entry_dropout = layers.Dropout(entry_dropout)
        self.dropout = layers.Dropout(dropout)
        self.out_features = width

    def forward(self, rows: SparseRows) -> Any:
        if not isinstance(rows, SparseRows):
            raise DTypeError("SparseRows", type(rows).__name__,
                             "pass a CSR matrix to fit, predict, evaluate or data.batches, which make them")
        values = self.entry_dropout(rows.values)                      # (n,)
        h = self.bag(rows.indices, rows.offsets, values) + self.bias  # (B, width)
        return self.dropout(self.activation(h))

    def config(self) -> dict[str, Any]:
        """The options, as JSON holds them."""
        return {"width": self.out_features, "activation": self.activation_name, "entry_dropout": self.entry_dropout.p,
                "dropout": self.dropout.p}
