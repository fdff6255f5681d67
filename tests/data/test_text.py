"""The text vectorizer: scikit-learn's figures, sparse all the way, and saved without pickle."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from portable_nn.backend.errors import ArgumentError, DataError, FileError, ShapeError
from portable_nn.data import TextVectorizer

_WORD = st.sampled_from(["good", "bad", "film", "plot", "Good", "not", "naïve", "of"])
_TEXT = st.lists(_WORD, min_size=1, max_size=6).map(" ".join)
_TEXTS = st.lists(_TEXT, min_size=1, max_size=6)


@given(_TEXTS, st.sampled_from(["raw", "log", "binary"]), st.booleans(), st.sampled_from(["l2", None]))
def test_words_as_scikit_learn_weighs_them(texts, count, idf, norm):
    ours = TextVectorizer(words=(1, 2), count=count, idf=idf, norm=norm).fit_transform(texts)
    theirs = TfidfVectorizer(ngram_range=(1, 2), use_idf=idf, norm=norm, binary=count == "binary",
                             sublinear_tf=count == "log").fit_transform(texts)
    assert sparse.issparse(ours) and ours.format == "csr" and ours.dtype == np.float32
    np.testing.assert_allclose(ours.toarray(), theirs.toarray(), rtol=2e-5)


@given(_TEXTS)
def test_words_and_characters_are_one_matrix_with_unit_rows(texts):
    vectorizer = TextVectorizer(words=(1, 2), characters=(2, 4), count="raw", norm="block")
    blocks = vectorizer.fit_transform(texts)
    words = TfidfVectorizer(ngram_range=(1, 2)).fit_transform(texts)
    characters = TfidfVectorizer(ngram_range=(2, 4), analyzer="char_wb").fit_transform(texts)
    np.testing.assert_allclose(blocks.toarray(), sparse.hstack([words, characters]).toarray(), rtol=2e-5)
    assert vectorizer.size == blocks.shape[1]
    each = TextVectorizer(words=(1, 2), characters=(2, 3), count="raw", norm="order")
    orders = [TfidfVectorizer(ngram_range=(1, 1)), TfidfVectorizer(ngram_range=(2, 2)),
              TfidfVectorizer(ngram_range=(2, 2), analyzer="char_wb"),
              TfidfVectorizer(ngram_range=(3, 3), analyzer="char_wb")]
    if all(text.count(" ") for text in texts):  # else scikit-learn finds no pair of words
        expected = sparse.hstack([order.fit_transform(texts) for order in orders]).toarray()
        names = np.concatenate([order.get_feature_names_out() for order in orders])
        places = [*np.argsort(names[:(n := orders[0].idf_.size + orders[1].idf_.size)], kind="stable"),
                  *(n + np.argsort(names[n:], kind="stable"))]
        np.testing.assert_allclose(each.fit_transform(texts).toarray(), expected[:, places], rtol=2e-5)
    whole = TextVectorizer(words=(1, 2), characters=(2, 4), norm="l2").fit_transform(texts)
    np.testing.assert_allclose(np.sqrt(whole.multiply(whole).sum(axis=1)), 1, rtol=1e-5)


def test_log_count_ratio_by_its_formula():
    texts, labels = ["good film", "good good plot", "bad film", "bad bad"], np.asarray([1, 1, 0, 0])
    options = {"words": (1, 1), "count": "binary", "idf": False, "norm": None}
    vectorizer = TextVectorizer(**options, naive_bayes=1.0).fit(texts, labels)
    assert vectorizer.vocabulary() == {"words": ["bad", "film", "good", "plot"]}
    positive, negative = np.asarray([1, 2, 3, 2]), np.asarray([3, 2, 1, 1])
    want = np.log(positive / positive.sum()) - np.log(negative / negative.sum())
    np.testing.assert_allclose(vectorizer.log_count_ratio, want, rtol=1e-6)
    np.testing.assert_allclose(vectorizer.transform(["good bad good"]).toarray(),
                               [[abs(want[0]), 0, abs(want[2]), 0]], rtol=1e-6)


def test_ratio_of_weighted_entries_character_weight_and_rescaling():
    texts, labels = ["good film", "good good plot", "bad film", "bad bad"], np.asarray([1, 1, 0, 0])
    plain = TextVectorizer(characters=(2, 3))
    entries, split = plain.fit_transform(texts).toarray().astype(np.float64), len(plain.vocabulary()["words"])
    want = []
    for block, weight in ((entries[:, :split], 1.0), (entries[:, split:], 0.4)):
        p, q = 1 + block[labels == 1].sum(axis=0), 1 + block[labels == 0].sum(axis=0)
        want.append(weight * block * np.abs(np.log(p / p.sum()) - np.log(q / q.sum())))
    want = np.concatenate(want, axis=1)
    options = {"characters": (2, 3), "naive_bayes": 1.0, "character_weight": 0.4}
    np.testing.assert_allclose(TextVectorizer(**options).fit_transform(texts, labels).toarray(), want, rtol=1e-5)
    rescaled = TextVectorizer(**options, rescale=True)
    matrix = rescaled.fit_transform(texts, labels).toarray()
    assert np.mean(np.sum(matrix**2, axis=1)) == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(matrix / matrix.max(), want / want.max(), rtol=1e-5)
    np.testing.assert_array_equal(rescaled.transform(texts[:1]).toarray(), matrix[:1])


def test_line_breaks_unknown_words_and_frequency():
    vectorizer = TextVectorizer(words=(1, 1), count="raw", min_count=2, idf=False, norm=None)
    vectorizer.fit(["great<br />film", "great<br/>film<BR>br", "plot"])
    assert vectorizer.vocabulary() == {"words": ["film", "great"]}
    unknown = vectorizer.transform(["never seen", "great"])
    assert unknown.toarray().tolist() == [[0, 0], [0, 1]] and np.isfinite(unknown.toarray()).all()
    assert TextVectorizer(words=(1, 1), max_features=1).fit(["a film film", "film plot"]).size == 1


@given(_TEXTS, st.booleans(), st.booleans())
def test_state_goes_through_json_and_arrays(texts, characters, bayes):
    vectorizer = TextVectorizer(characters=(2, 3) if characters else None, naive_bayes=0.5 if bayes else None,
                                rescale=bayes)
    texts = [*texts, "one", "two"]
    labels = np.arange(len(texts)) % 2
    matrix = vectorizer.fit_transform(texts, labels)
    config, arrays = vectorizer.state()
    again = TextVectorizer.from_state(json.loads(json.dumps(config)), arrays)
    assert again.config() == vectorizer.config() and again.size == vectorizer.size
    np.testing.assert_array_equal(again.transform(texts).toarray(), matrix.toarray())
    np.testing.assert_array_equal(vectorizer.transform(texts).toarray(), matrix.toarray())
    fresh = TextVectorizer(**vectorizer.config())
    np.testing.assert_array_equal(fresh.fit_transform(texts, labels).toarray(), matrix.toarray())


def _damaged(change):
    config, arrays = TextVectorizer(words=(1, 1)).fit(["good film"]).state()
    change(config, arrays)
    return config, arrays


@pytest.mark.parametrize("change", [
    lambda config, arrays: config.pop("vocabulary"),
    lambda config, arrays: config.pop("options"),
    lambda config, arrays: config.update(scale="large"),
    lambda config, arrays: config["options"].update(surprise=1),
    lambda config, arrays: config["options"].update(norm="l3"),
    lambda config, arrays: config["vocabulary"].update(words=["good", "good"]),
    lambda config, arrays: config["vocabulary"].update(words=[1, 2]),
    lambda config, arrays: config["vocabulary"].update(words={"good": 0}),
    lambda config, arrays: config["vocabulary"].update(words=["good", "film", "plot"]),
    lambda config, arrays: arrays.pop("idf"),
    lambda config, arrays: arrays.update(idf=np.full(2, np.nan)),
])
def test_damaged_state(change):
    with pytest.raises(FileError, match="file is damaged"):
        TextVectorizer.from_state(*_damaged(change))


@pytest.mark.parametrize(("texts", "text"), [
    ([], "at least one text; got none"), (["good", ""], "'' at row 1"), (["  \n"], "at row 0"),
    (["<br />"], "'<br />' at row 0"),
    (["good", None], "NoneType None at row 1"), (["good", 3.0], "float 3.0 at row 1"), ("good film", "one str"),
    (None, "one NoneType"),
    ([b"good"], "bytes"),
])
def test_bad_texts(texts, text):
    with pytest.raises(DataError, match=text):
        TextVectorizer().fit(texts)
    with pytest.raises(DataError, match=text):
        TextVectorizer(words=(1, 1)).fit(["good film"]).transform(texts)


def test_bad_labels_and_vocabulary():
    with pytest.raises(DataError, match="at least 2 of 2 texts"):
        TextVectorizer(min_count=2).fit(["good film", "bad plot"])
    with pytest.raises(DataError, match="n-grams"):
        TextVectorizer().fit(["a b c"])  # one-letter words are no words by default
    vectorizer = TextVectorizer(naive_bayes=1.0)
    with pytest.raises(ArgumentError, match=r"fit\(texts, labels\)"):
        vectorizer.fit(["good", "bad"])
    with pytest.raises(ShapeError, match=r"\(2,\).*got \(3,\)"):
        vectorizer.fit(["good", "bad"], [0, 1, 1])
    with pytest.raises(DataError, match="labels 0 and 1"):
        vectorizer.fit(["good", "bad"], [1, 2])
    with pytest.raises(ArgumentError, match="Call fit"):
        vectorizer.transform(["good"])


@pytest.mark.parametrize("options", [
    {"words": (2, 1)}, {"words": 2}, {"words": None}, {"count": "sum"}, {"norm": "l1"}, {"naive_bayes": 0},
    {"character_weight": None}, {"min_count": 0}, {"min_count": 0.5}, {"max_features": 0}, {"token_pattern": "("},
    {"characters": (0, 2)},
])
def test_bad_options(options):
    with pytest.raises(ArgumentError):
        TextVectorizer(**options)
