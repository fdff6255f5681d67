"""Skip-gram: a word's vector tells which words stand around it, p(c | w) = softmax over c of w · o_c."""

from __future__ import annotations

from typing import Any

from portable_nn import functional, layers
from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.namespace import array_namespace
from portable_nn.data.skipgrams import SkipGramBatch
from portable_nn.layers.initializers import Uniform, zeros
from portable_nn.models.options import positive


class SkipGram(layers.Module):
    """Two tables: vectors of words, which are what one keeps, and vectors of the same words as contexts.

    Called with words it gives the scores of all contexts, which `CrossEntropyLoss` and `fit` train as a full softmax;
    called with a `SkipGramBatch` the losses of negative sampling, which `train_skipgram` minimises: a step then reads
    and writes only the rows of the words in the batch.

    Shape
    -----
    integers (...) -> (..., V), scores w · o_c of every word c as a context;
    SkipGramBatch of G blocks of C words -> (G, C), the loss of each word, see `functional.skipgram_loss`

    Parameters
    ----------
    vocabulary_size, embedding_dim : int
        V words, D numbers in each vector.
    sparse : bool
        Gradients hold the rows used alone, as SGD and SparseAdam take them; False for the other optimisers.

    Attributes
    ----------
    words : Embedding (V, D)
        Drawn uniformly from ±1/(2 D).
    contexts : Embedding (V, D)
        Zeros at first, as in word2vec.

    Raises
    ------
    ArgumentError
        A size is no positive integer.
    DataError
        A word's number is not below V; on the host.

    Examples
    --------
    >>> import numpy as np
    >>> model = SkipGram(10, 4)
    >>> model(np.asarray([3, 1])).shape
    (2, 10)
    >>> float(model.context_probabilities(3)[7])  # all the same before training
    0.10000000149011612

    Source: Mikolov et al., "Efficient estimation of word representations in vector space", 2013, and "Distributed
    representations of words and phrases and their compositionality", 2013.
    """

    def __init__(self, vocabulary_size: int, embedding_dim: int, sparse: bool = True) -> None:
        self.vocabulary_size = positive("vocabulary_size", vocabulary_size)
        self.embedding_dim = positive("embedding_dim", embedding_dim)
        self.sparse = bool(sparse)
        self.words = layers.Embedding(vocabulary_size, embedding_dim, sparse=self.sparse)
        self.contexts = layers.Embedding(vocabulary_size, embedding_dim, sparse=self.sparse)
        self.words.weight.initializer = Uniform(-0.5 / embedding_dim, 0.5 / embedding_dim)
        self.contexts.weight.initializer = zeros

    def forward(self, words: Any) -> Any:
        if isinstance(words, SkipGramBatch):
            if self.sparse:
                return functional.sparse_skipgram_loss(words.words, words.outputs, self.words.weight,
                                                       self.contexts.weight, words.positive, words.negative)  # (G, C)
            return functional.skipgram_loss(self.words(words.words), self.contexts(words.outputs),
                                            words.positive, words.negative)      # (G, C)
        return functional.linear(self.words(words), self.contexts.weight, None, activation=None)  # (..., V)

    def context_probabilities(self, word: Any) -> Any:
        """p(c | word) of every word c: (V,) for an int, (..., V) for an integer array (...).

        With negative sampling the scores learn log p(c | w) - log q(c) up to a constant, where q is what negatives are
        drawn by (Levy and Goldberg, 2014): their softmax then tells contexts that are typical of the word, not those
        that are frequent everywhere. Trained as a full softmax it gives the probabilities of the text.
        """
        if isinstance(word, bool) or (not hasattr(word, "dtype") and not isinstance(word, int)):
            raise ArgumentError("a word's number, or an integer array of them", repr(word),
                                "look the number up in the vocabulary: words.index(word)")
        if isinstance(word, int):
            table = self.initialized().words.weight.data
            xp = array_namespace(table)
            word = xp.asarray(word, dtype=xp.int32, device=table.device)
        return functional.softmax(self(word), axis=-1)

    def initialized(self) -> SkipGram:
        """This model, its values drawn if they were not yet."""
        if not self.words.weight.is_initialized:
            self.initialize(0)
        return self

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON holds them."""
        return {"vocabulary_size": self.vocabulary_size, "embedding_dim": self.embedding_dim, "sparse": self.sparse}
