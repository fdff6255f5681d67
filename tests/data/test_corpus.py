"""Texts as numbered words."""

from __future__ import annotations

import numpy as np
import pytest

from portable_nn.backend.errors import ArgumentError, DataError
from portable_nn.data import make_corpus

TEXTS = ["The film.<br />The plot!", "A film", "!?", "don't film the film"]


def test_words_are_numbered_by_frequency_and_rare_ones_left_out():
    corpus = make_corpus(TEXTS, min_count=2)
    assert corpus.words == ["film", "the"] and corpus.counts.tolist() == [4, 3] and corpus.read == 10
    assert corpus.tokens.tolist() == [1, 0, 1, 0, 0, 1, 0] and corpus.text.tolist() == [0, 0, 0, 1, 3, 3, 3]
    assert corpus.tokens.dtype == corpus.text.dtype == np.int32


def test_case_and_pattern():
    corpus = make_corpus(TEXTS, min_count=1, lowercase=False, token_pattern=r"\w+")
    assert corpus.words == ["film", "The", "A", "don", "plot", "t", "the"]


@pytest.mark.parametrize(("texts", "words"), [
    ([], "at least one text"), (["a", " "], "at row 1"), ("a film", "sequence of texts"), (["a", None], "at row 1"),
    (["a film"], "1 times at most"), (["!"], "no word at all"),
])
def test_texts_without_words_are_refused(texts, words):
    with pytest.raises(DataError, match=words):
        make_corpus(texts, min_count=2)


@pytest.mark.parametrize("options", [{"min_count": 0}, {"min_count": 1.0}, {"token_pattern": "("},
                                     {"token_pattern": "(a)"}, {"token_pattern": None}, {"token_pattern": b"a"}])
def test_options_out_of_range(options):
    with pytest.raises(ArgumentError, match="expected"):
        make_corpus(TEXTS, **options)
