"""Texts in, labels out: a vectorizer, the classifier trained on its rows, and the names of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from portable_nn.backend.errors import ArgumentError
from portable_nn.data import TextVectorizer, TokenVectorizer
from portable_nn.functional import softmax
from portable_nn.models.text_classifier import TextClassifier
from portable_nn.training import predict


class TextPipeline:
    """A trained text classifier with what it needs to answer for texts; `models.save` keeps the three together.

    Parameters
    ----------
    vectorizer : TextVectorizer or TokenVectorizer
        Fitted, on the training texts: the one for the body "bag", the other for the bodies that read words in order.
    model : TextClassifier
    labels : sequence of str or int
        The name of each class, in the order of the model's outputs.

    Raises
    ------
    ArgumentError
        The three do not fit together.

    Examples
    --------
    >>> vectorizer = TextVectorizer().fit(["a fine film", "a dull film"])
    >>> pipeline = TextPipeline(vectorizer, TextClassifier(vectorizer.size), ["negative", "positive"])
    >>> pipeline.probabilities(["fine and dull"]).shape
    (1, 2)
    """

    def __init__(self, vectorizer: TextVectorizer | TokenVectorizer, model: TextClassifier,
                 labels: Sequence[str] | Sequence[int]) -> None:
        kinds = TextVectorizer, TokenVectorizer
        if not isinstance(vectorizer, kinds) or not isinstance(model, TextClassifier):
            raise ArgumentError("a TextVectorizer or TokenVectorizer, and a TextClassifier",
                                f"{type(vectorizer).__name__} and {type(model).__name__}", "pass them in this order")
        fitting = kinds[model.body_name != "bag"]
        if not isinstance(vectorizer, fitting):
            raise ArgumentError(f"a {fitting.__name__}, which the body {model.body_name!r} reads",
                                f"a {type(vectorizer).__name__}", "fit one on the training texts")
        if vectorizer.size != model.vocabulary_size:
            raise ArgumentError(f"a model of vocabulary_size={vectorizer.size}, the vectorizer's size",
                                f"{model.vocabulary_size}", "build the model with vocabulary_size=vectorizer.size")
        names = list(labels) if isinstance(labels, (list, tuple)) else []
        if len(names) != model.classes or len(set(names)) < len(names) or {*map(type, names)} not in ({str}, {int}):
            raise ArgumentError(f"{model.classes} distinct labels, all str or all int", f"{labels!r:.60}",
                                "name each of the model's classes once")
        self.vectorizer, self.model, self.labels = vectorizer, model, names

    def predict(self, texts: Sequence[str]) -> list[Any]:
        """The most likely label of each text.

        Raises
        ------
        DataError
            No texts, or one that is no string or empty.
        """
        return [self.labels[i] for i in np.argmax(self.logits(texts), axis=1)]

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """The probability of each label, (N, classes) in the order of `labels`; errors as `predict`."""
        return softmax(self.logits(texts), axis=-1)

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """The model's outputs, (N, classes); errors as `predict`."""
        return predict(self.model, self.vectorizer.transform(texts))

    def to(self, device: str) -> TextPipeline:
        """Move the model, for example to "cuda"; returns self."""
        self.model.to(device)
        return self

    def parts(self) -> dict[str, Any]:
        """What is saved as arrays and options of its own."""
        return {"vectorizer": self.vectorizer, "model": self.model}

    def config(self) -> dict[str, Any]:
        """The constructor's other arguments, as JSON holds them."""
        return {"labels": self.labels}

    def __repr__(self) -> str:
        return f"TextPipeline({self.vectorizer!r}, {self.model!r}, {self.labels!r})"
