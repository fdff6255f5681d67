"""Neighbours and analogies against plain formulas, saving, and what is refused."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from portable_nn.backend.errors import ArgumentError, DataError, FileError, ShapeError
from portable_nn.models import WordVectors, load, save

WORDS = ["man", "woman", "king", "queen", "film", "zero"]


def make():
    table = np.random.default_rng(0).standard_normal((6, 4))
    table[3] = table[2] - table[0] + table[1] + 0.01
    table[5] = 0
    return WordVectors(WORDS, table)


def cosine(a, b):
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def test_nearest_are_ordered_by_cosine():
    vectors = make()
    others = [word for word in WORDS[:5] if word != "king"]
    expected = sorted(((cosine(vectors["king"], vectors[word]), word) for word in others), reverse=True)
    got = vectors.nearest("king", 2)
    assert [word for word, _ in got] == [word for _, word in expected[:2]]
    np.testing.assert_allclose([x for _, x in got], [x for x, _ in expected[:2]], rtol=1e-5)
    assert vectors.nearest(vectors["king"] * 3, 1)[0][0] == "king"
    assert len(vectors.nearest("king", 100)) == 5 and ("zero", 0.0) in vectors.nearest("king", 100)
    assert vectors.similarity("man", "king") == pytest.approx(cosine(vectors["man"], vectors["king"]), rel=1e-5)


def test_analogy_is_3cosadd():
    table = np.eye(6)
    table[3] = [-0.7, 0.8, 0.9, 0.1, 0, 0]
    assert WordVectors(WORDS, table).analogy("man", "king", "woman")[0][0] == "queen"
    vectors = make()
    unit = vectors.vectors[:4] / np.linalg.norm(vectors.vectors[:4], axis=1, keepdims=True)
    expected = cosine(unit[2] - unit[0] + unit[1], vectors["film"])
    assert dict(vectors.analogy("man", "king", "woman", 9))["film"] == pytest.approx(expected, rel=1e-5)
    assert {"man", "king", "woman"}.isdisjoint(dict(vectors.analogy("man", "king", "woman", 9)))


def test_a_container_of_words():
    vectors = make()
    assert len(vectors) == 6 and "king" in vectors and "King" not in vectors and list(vectors) == WORDS
    assert repr(vectors) == "WordVectors(6 words, 4 dimensions)"
    with pytest.raises(ValueError, match="read-only"):
        vectors["king"][0] = 1


def test_unknown_words_are_named():
    vectors = make()
    for call in (lambda: vectors["qeen"], lambda: vectors.nearest("qeen"), lambda: vectors.similarity("man", "qeen"),
                 lambda: vectors.analogy("man", "king", "qeen")):
        with pytest.raises(DataError, match="'qeen'.*Try one of.*'queen'"):
            call()
    with pytest.raises(DataError, match="word in vectors"):
        vectors[3]


@pytest.mark.parametrize(("words", "table", "error"), [
    ([], np.ones((0, 2)), ArgumentError), ("ab", np.ones((2, 2)), ArgumentError), ([1, 2], np.ones((2, 2)),
                                                                                   ArgumentError),
    (["a"], np.ones((2, 2)), ShapeError), (["a"], np.ones(1), ShapeError), (["a"], np.ones((1, 0)), ShapeError),
    (["a"], np.ones((1, 2), dtype=int), ShapeError), (["a", "a"], np.ones((2, 2)), DataError),
    (["a"], np.asarray([[1, np.nan]]), DataError),
])
def test_bad_tables(words, table, error):
    with pytest.raises(error, match="expected"):
        WordVectors(words, table)


def test_bad_questions():
    with pytest.raises(ArgumentError, match="count"):
        make().nearest("king", 0)
    with pytest.raises(ShapeError, match="a word, or a vector"):
        make().nearest(np.ones(3))


def test_arrays_of_any_library(backend):
    vectors = WordVectors(["a", "b"], backend.asarray(np.eye(2)))
    assert vectors.vectors.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("name", ["a.txt", "a.bin"])
def test_word2vec_files(tmp_path, name):
    vectors = make()
    vectors.save_word2vec(tmp_path / name)
    again = WordVectors.load_word2vec(tmp_path / name)
    assert again.words == WORDS
    np.testing.assert_array_equal(again.vectors, vectors.vectors)


def test_saved_in_a_folder(tmp_path):
    vectors = WordVectors(["a b", "naïve", "\ud800"], np.eye(3))  # words that word2vec's files cannot hold
    save(vectors, tmp_path)
    for again in (load(tmp_path), pickle.loads(pickle.dumps(vectors))):
        assert again.words == vectors.words
        np.testing.assert_array_equal(again.vectors, vectors.vectors)


@pytest.mark.parametrize("change", [lambda config: config.update(words=["a"]), lambda config: config.pop("words"),
                                    lambda config: config.update(words=["a", "a", "b"]),
                                    lambda config: config.update(words=[1, 2, 3])])
def test_damaged_folders(tmp_path, change):
    save(WordVectors(["a", "b", "c"], np.eye(3)), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    change(config["model"])
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(FileError, match="expected"):
        load(tmp_path)
