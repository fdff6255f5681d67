"""The token vectorizer: numbers in order, a vocabulary of the training texts alone, and saved as JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portable_nn.backend.errors import ArgumentError, DataError, FileError
from portable_nn.data import TokenRows, TokenVectorizer, batches

TEXTS = ["Good film!", "a good<br />plot", "don't"]


def test_numbers_in_order_unknown_words_and_padding():
    vectorizer = TokenVectorizer()
    rows = vectorizer.fit_transform(TEXTS)
    assert vectorizer.vocabulary() == ["good", "!", "a", "don't", "film", "plot"]
    np.testing.assert_array_equal(rows.ids, [[2, 6, 3], [4, 2, 7], [5, 0, 0]])
    assert rows.lengths.tolist() == [3, 3, 1] and rows.ids.dtype == rows.lengths.dtype == np.int32
    assert vectorizer.size == 8
    again = vectorizer.transform(["a dull GOOD plot", " ,"])
    np.testing.assert_array_equal(again.ids, [[4, 1, 2, 7], [1, 0, 0, 0]])


def test_only_what_the_options_keep():
    assert TokenVectorizer(min_count=2).fit(TEXTS).vocabulary() == ["good"]
    assert TokenVectorizer(max_features=2).fit(TEXTS).vocabulary() == ["good", "!"]
    assert TokenVectorizer(lowercase=False).fit(TEXTS).vocabulary()[:2] == ["!", "Good"]
    rows = TokenVectorizer(max_length=2).fit_transform(TEXTS)
    assert rows.ids.shape == (3, 2) and rows.lengths.tolist() == [2, 2, 1]


def test_a_text_without_any_token_has_length_0():
    rows = TokenVectorizer(token_pattern="[a-z]+").fit(["a film"]).transform(["...", "film"])
    assert rows.lengths.tolist() == [0, 1] and rows.ids.tolist() == [[0], [3]]
    alone = TokenVectorizer(token_pattern="[a-z]+").fit(["a film"]).transform(["..."])
    assert alone.ids.shape == (1, 1) and alone.lengths.tolist() == [0]


def test_rows_go_through_batches():
    rows = TokenVectorizer().fit_transform(TEXTS)
    (x, y), _ = batches(rows, np.asarray([0, 1, 1]), batch_size=2, shuffle=False)
    assert isinstance(x, TokenRows)
    np.testing.assert_array_equal(x.ids.numpy(), rows.ids[:2])


@given(st.lists(st.text(min_size=1).filter(lambda text: not text.isspace()), min_size=1, max_size=5),
       st.booleans())
def test_state_goes_through_json(texts, lowercase):
    vectorizer = TokenVectorizer(lowercase=lowercase, token_pattern=r"\S+")
    rows = vectorizer.fit_transform([*texts, "x"])
    config, arrays = vectorizer.state()
    again = TokenVectorizer.from_state(json.loads(json.dumps(config)), arrays)
    assert again.config() == vectorizer.config() and again.vocabulary() == vectorizer.vocabulary()
    for mine, theirs in zip(again.transform([*texts, "x"]), rows, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("change", [
    lambda config: config.pop("vocabulary"), lambda config: config.pop("options"),
    lambda config: config["options"].update(min_count=0), lambda config: config["options"].update(surprise=1),
    lambda config: config.update(vocabulary=["a", "a"]), lambda config: config.update(vocabulary=["a", 1]),
    lambda config: config.update(vocabulary=[]), lambda config: config.update(vocabulary={"a": 2}),
])
def test_damaged_state(change):
    config, arrays = TokenVectorizer().fit(TEXTS).state()
    change(config)
    with pytest.raises(FileError, match="file is damaged"):
        TokenVectorizer.from_state(config, arrays)
    with pytest.raises(FileError, match="no arrays"):
        TokenVectorizer.from_state(TokenVectorizer().fit(TEXTS).state()[0], {"x": np.zeros(1)})


@pytest.mark.parametrize("options", [{"min_count": 0}, {"max_length": 1.5}, {"max_features": -1}, {"max_length": None},
                                     {"token_pattern": "("}, {"token_pattern": "(a)(b)"}, {"token_pattern": b"a"}])
def test_bad_options(options):
    with pytest.raises(ArgumentError):
        TokenVectorizer(**options)


def test_bad_texts():
    with pytest.raises(DataError, match="at least 4 times in 3 texts"):
        TokenVectorizer(min_count=4).fit(TEXTS)
    for texts in ([], ["film", " "], ["film", None], "film"):
        with pytest.raises(DataError):
            TokenVectorizer().fit(texts)
    with pytest.raises(ArgumentError, match="Call fit"):
        TokenVectorizer().transform(["film"])
