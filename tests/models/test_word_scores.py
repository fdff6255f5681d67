"""Scores of word vectors: small files by hand, gensim's figures, and files without what is needed."""

from __future__ import annotations

import numpy as np
import pytest

from portable_nn.backend.errors import DataError, FileError
from portable_nn.models import WordVectors, analogy_accuracy, word_similarity

WORDS = "Man woman king queen film movie".split()


@pytest.fixture
def vectors():
    table = np.random.default_rng(3).standard_normal((6, 5))
    table[3] = table[2] / np.linalg.norm(table[2]) - table[0] / np.linalg.norm(table[0]) \
        + table[1] / np.linalg.norm(table[1])
    return WordVectors(WORDS, table)


@pytest.fixture
def pairs(tmp_path):
    (tmp_path / "pairs").write_text("# a title\nFirst\tSecond\tHuman\nman\tKing\t3\nfilm\tmovie\t9.5\n"
                                    "king\tqueen\t7.0\nking\tcabbage\t1\nman\tqueen\t4\n", encoding="utf-8")
    return tmp_path / "pairs"


@pytest.fixture
def questions(tmp_path):
    (tmp_path / "questions").write_text(": family\nman king woman queen\nwoman queen man king\nman king woman film\n"
                                        "man king woman cabbage\n", encoding="utf-8")
    return tmp_path / "questions"


def test_similarity(vectors, pairs):
    got = word_similarity(vectors, pairs)
    ours = [vectors.similarity(*pair) for pair in (("Man", "king"), ("film", "movie"), ("king", "queen"),
                                                   ("Man", "queen"))]
    ranks = np.argsort(np.argsort(ours))
    assert got.spearman == pytest.approx(np.corrcoef(ranks, [0, 3, 2, 1])[0, 1]) and got[1:] == (4, 5)


def test_analogies(vectors, questions):
    got = analogy_accuracy(vectors, questions)
    assert got[1:] == (3, 4) and got.accuracy in (1 / 3, 2 / 3)
    assert vectors.analogy("Man", "king", "woman")[0][0] == "queen"


def test_figures_are_those_of_gensim(vectors, pairs, questions):
    models = pytest.importorskip("gensim.models")
    theirs = models.KeyedVectors(5)
    theirs.add_vectors(WORDS, vectors.vectors)
    similarity = theirs.evaluate_word_pairs(str(pairs))
    assert word_similarity(vectors, pairs).spearman == pytest.approx(similarity[1].statistic)
    assert analogy_accuracy(vectors, questions).accuracy == theirs.evaluate_word_analogies(str(questions))[0]


def test_files_without_known_words(vectors, tmp_path):
    (tmp_path / "none").write_text("a\tb\t3\nking\tqueen\t3\n", encoding="utf-8")
    with pytest.raises(DataError, match="two pairs or more"):
        word_similarity(vectors, tmp_path / "none")
    with pytest.raises(DataError, match="a question"):
        analogy_accuracy(vectors, tmp_path / "none")
    for score in (word_similarity, analogy_accuracy):
        with pytest.raises(FileError, match="readable"):
            score(vectors, tmp_path / "nowhere")
