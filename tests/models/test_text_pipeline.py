"""Texts in, labels out."""

from __future__ import annotations

import numpy as np
import pytest

from portable_nn.backend.errors import ArgumentError, DataError
from portable_nn.data import TextVectorizer
from portable_nn.layers import CrossEntropyLoss
from portable_nn.models import MLP, TextClassifier, TextPipeline
from portable_nn.optim import AdamW
from portable_nn.training import fit

TEXTS = ["good film", "a good plot", "bad film", "a bad plot", "dull", "fine"]
LABELS = np.asarray([2, 2, 0, 0, 1, 2])


@pytest.fixture(scope="module")
def pipeline():
    vectorizer = TextVectorizer(words=(1, 1))
    rows = vectorizer.fit_transform(TEXTS)
    model = TextClassifier(vectorizer.size, classes=3, entry_dropout=0.0)
    fit(model, CrossEntropyLoss(), AdamW(model.parameters(), lr=0.05), train=(rows, LABELS), epochs=60, progress=False)
    return TextPipeline(vectorizer, model, ["bad", "dull", "good"])


def test_labels_and_probabilities(pipeline):
    assert pipeline.predict(["good", "bad", "dull"]) == ["good", "bad", "dull"]
    probabilities = pipeline.probabilities(TEXTS)
    assert probabilities.shape == (6, 3) and probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert [pipeline.labels[i] for i in probabilities.argmax(axis=1)] == pipeline.predict(TEXTS)


def test_a_text_without_known_words_is_answered(pipeline):
    assert pipeline.predict(["qwerty"])[0] in pipeline.labels


@pytest.mark.parametrize("texts", [[], ["fine", ""], "fine", [3]])
def test_texts_it_refuses(pipeline, texts):
    with pytest.raises(DataError, match="text"):
        pipeline.predict(texts)


@pytest.mark.parametrize("labels", [["a", "b"], ["a", "b", "b"], ["a", 1, "c"], "abc", [0.5, 1.5, 2.5]])
def test_labels_it_refuses(pipeline, labels):
    with pytest.raises(ArgumentError, match="3 distinct labels"):
        TextPipeline(pipeline.vectorizer, pipeline.model, labels)


def test_parts_that_do_not_fit(pipeline):
    with pytest.raises(ArgumentError, match="vocabulary_size"):
        TextPipeline(pipeline.vectorizer, TextClassifier(3), ["a", "b"])
    with pytest.raises(ArgumentError, match="TextClassifier"):
        TextPipeline(pipeline.vectorizer, MLP([3, 2]), ["a", "b"])
