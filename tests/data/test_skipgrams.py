"""Batches of skip-gram: windows against word2vec's loops, shares of sampling, and keyed draws."""

from __future__ import annotations

import numpy as np
import pytest

from portable_nn.backend import Stream
from portable_nn.backend.errors import ArgumentError, DataError
from portable_nn.backend.random import words
from portable_nn.data import SkipGrams, make_corpus
from portable_nn.data.skipgrams import Sampler, keep_thresholds


def make(count=40, length=30, vocabulary=20, **options):
    rng = np.random.default_rng(0)
    names = [chr(97 + i) * 2 for i in range(vocabulary)]
    shares = 1 / np.arange(1, vocabulary + 1)
    texts = [" ".join(rng.choice(names, rng.integers(1, length), p=shares / shares.sum())) for _ in range(count)]
    return SkipGrams(make_corpus(texts, min_count=1), **{"sample": 0, "block": 8, "shared": 6, "batch_words": 24,
                                                         **options})


def pairs_of_batches(epoch):
    """(word, context) of every 1 in `positive`."""
    found = []
    for batch in epoch:
        g, c, m = np.nonzero(batch.positive)
        found += zip(batch.words[g, c].tolist(), batch.outputs[g, m].tolist())
    return sorted(found)


def test_pairs_are_those_of_a_loop_over_each_text():
    """The radii are the batches' own; everything else is word2vec's loop."""
    skipgrams = make(window=3)
    epoch = skipgrams.epoch(2)
    inside = slice(3, -(3 + 8))
    tokens, text, radius = epoch._tokens[inside], epoch._text[inside], epoch._radius[inside]
    assert tokens.tolist() == skipgrams.corpus.tokens.tolist() and set(radius.tolist()) == {1, 2, 3}
    expected = [(tokens[i], tokens[j]) for i in range(len(tokens)) for j in range(i - radius[i], i + radius[i] + 1)
                if j != i and 0 <= j < len(tokens) and text[i] == text[j]]
    assert pairs_of_batches(epoch) == sorted(expected) and len(expected) > 1000
    assert sorted(zip(*(side.tolist() for side in epoch.pairs()))) == sorted(expected)


def test_each_word_is_in_one_batch_and_counts_negatives_for_its_contexts():
    skipgrams = make(negatives=5)
    batches = list(skipgrams.epoch(0))
    assert len(batches) == len(skipgrams.epoch(0)) and batches[0].words.shape == (3, 8)
    for batch in batches:
        np.testing.assert_allclose(batch.negative * 6, 5 * batch.positive.sum(axis=2), rtol=1e-6)
        assert batch.outputs.shape == (len(batch.words), 8 + 10 + 6)
    used = np.bincount(np.concatenate([batch.words[batch.negative > 0] for batch in batches]), minlength=20)
    assert (used <= skipgrams.corpus.counts).all() and used.sum() > 0.9 * len(skipgrams.corpus.tokens)


def test_draws_are_a_function_of_seed_and_epoch():
    first, again, other = make(sample=1e-2, seed=1), make(sample=1e-2, seed=1), make(sample=1e-2, seed=2)
    for epoch in (0, 1):
        for a, b in zip(first.epoch(epoch), again.epoch(epoch), strict=True):
            assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert pairs_of_batches(first.epoch(0)) != pairs_of_batches(first.epoch(1))
    assert pairs_of_batches(first.epoch(0)) != pairs_of_batches(other.epoch(0))
    np.testing.assert_array_equal(first.epoch(0).batch(1).words, list(first.epoch(0))[1].words)


def test_shares_that_stay_are_those_of_word2vec():
    counts = np.asarray([500_000, 90_000, 3_000, 999, 1], dtype=np.int64)
    thresholds = keep_thresholds(counts, 1e-3)
    f = counts / counts.sum()
    np.testing.assert_allclose(thresholds / 2.0**64, np.minimum((np.sqrt(f / 1e-3) + 1) * 1e-3 / f, 1), rtol=1e-12)
    assert (keep_thresholds(counts, 0) == 2**64 - 1).all()
    kept = make(count=3000, sample=1e-2).epoch(0)
    corpus = make(count=3000).corpus
    f = corpus.counts / corpus.counts.sum()
    expected = np.minimum((np.sqrt(f / 1e-2) + 1) * 1e-2 / f, 1)
    got = np.bincount(kept._tokens[kept._text >= 0], minlength=20) / corpus.counts
    np.testing.assert_allclose(got, expected, atol=4 * np.sqrt(0.25 / corpus.counts.min()))


def test_negatives_are_drawn_by_their_weights():
    weights = np.asarray([1.0, 0.0, 5.0, 2.0, 92.0])
    drawn = np.bincount(Sampler(weights)(words(Stream(0, "test"), 400_000)), minlength=5) / 4000
    np.testing.assert_allclose(drawn, weights, atol=0.3)
    assert drawn[1] == 0
    assert Sampler(np.ones(1))(words(Stream(0, "test"), 3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("options", [{"window": 0}, {"negatives": 2.0}, {"sample": 1}, {"sample": -1e-3},
                                     {"sample": float("nan")}, {"block": 0}, {"shared": 0}, {"batch_words": True}])
def test_options_out_of_range(options):
    with pytest.raises(ArgumentError, match="expected"):
        make(**options)


def test_one_word_is_no_corpus():
    with pytest.raises(DataError, match="two words or more"):
        SkipGrams(make_corpus(["film"], min_count=1))


def test_texts_of_one_word_have_no_pairs():
    skipgrams = SkipGrams(make_corpus(["film", "film", "film"], min_count=1), sample=0)
    assert pairs_of_batches(skipgrams.epoch(0)) == []
