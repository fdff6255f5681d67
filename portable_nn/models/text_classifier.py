"""y = W body(text) + c: logits of the classes of a text."""

from __future__ import annotations

from typing import Any

from portable_nn import layers
from portable_nn.backend.errors import ArgumentError
from portable_nn.models.bodies import BODIES
from portable_nn.models.options import positive


class TextClassifier(layers.Module):
    """A body that turns texts into features, and a linear layer that turns these into logits.

    Shape
    -----
    what the body takes, B texts -> (B, classes): `data.SparseRows` for "bag", `data.TokenRows` for the others

    Parameters
    ----------
    vocabulary_size : int
        As many as the vectorizer that reads the texts has, `TextVectorizer.size` or `TokenVectorizer.size`.
    classes : int
    body : "bag", "convolutional", "lstm" or "transformer"
        How texts are read: a name of `models.bodies.BODIES`.
    **options
        The body's own, such as `width`.

    Raises
    ------
    ArgumentError
        The body is unknown, or an option is not one of its own or out of range.

    Examples
    --------
    >>> from portable_nn import data, training
    >>> vectorizer = data.TextVectorizer()
    >>> rows = vectorizer.fit_transform(["a fine film", "a dull film", "fine"])   # CSR
    >>> model = TextClassifier(vectorizer.size, classes=2)
    >>> training.predict(model, rows).shape
    (3, 2)
    """

    def __init__(self, vocabulary_size: int, classes: int = 2, body: str = "bag", **options: Any) -> None:
        if body not in BODIES:
            raise ArgumentError(f"a body among {sorted(BODIES)}", repr(body), "name one of these")
        self.vocabulary_size, self.classes, self.body_name = vocabulary_size, positive("classes", classes), body
        try:
            self.body = BODIES[body](vocabulary_size, **options)
        except TypeError as error:
            raise ArgumentError(f"options of the body {body!r}", f"{sorted(options)} ({error})",
                                f"see the parameters of models.bodies.{BODIES[body].__name__}") from error
        self.head = layers.Linear(self.body.out_features, classes)

    def forward(self, texts: Any) -> Any:
        return self.head(self.body(texts))  # -> (B, classes)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON holds them."""
        return {"vocabulary_size": self.vocabulary_size, "classes": self.classes, "body": self.body_name,
                **self.body.config()}
