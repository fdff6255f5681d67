"""Batches for skip-gram: words, the words around them, and negatives, drawn anew in each epoch by keyed draws.

A batch is made of blocks. A block is a run of words of one text or more, and shares its candidates for contexts, the
words around the run, and its negatives. A word's own contexts are those within its radius, in its text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from portable_nn.backend.errors import ArgumentError, DataError
from portable_nn.backend.random import Stream, permutation, words
from portable_nn.data.corpus import Corpus

#: Words whose draws are made at a time.
_PART = 1 << 20
#: What word2vec raises the counts of words to, where it draws negatives.
_POWER = 0.75
_HALF = np.uint64(32)


class SkipGramBatch(NamedTuple):
    """G blocks of C words with M candidates for contexts and N negatives, as `functional.skipgram_loss` takes them.

    Parameters
    ----------
    words : integer array (G, C)
        Numbers of the words.
    outputs : integer array (G, M + N)
        Numbers of the candidates, then of the negatives.
    positive : floating array (G, C, M)
        1 where a candidate is a context of a word, else 0.
    negative : floating array (G, C)
        What each negative counts: contexts · negatives / N.
    """

    words: Any
    outputs: Any
    positive: Any
    negative: Any


class SkipGrams:
    """The batches of each epoch: `for batch in skipgrams.epoch(0)`.

    Frequent words are passed over: one of share f stays with probability (√(f/t) + 1) t/f, where t is `sample`. The
    radius of a word is uniform on 1 to `window`. Negatives are drawn by count^0.75, the contexts themselves not
    excepted.

    Parameters
    ----------
    corpus : Corpus
    window : int
        The largest radius.
    negatives : int
        K: how many negatives a pair counts.
    sample : float
        t, or 0 to keep every word.
    block : int
        C, if a batch has as many words.
    shared : int
        N, how many negatives stand for the K of each pair of a block.
    batch_words : int, optional
        Words of a batch, rounded down to blocks. Left out, 1,024 or an eighth of the vocabulary, whichever is less: the
        gradients of a batch add up, and where one word is in it too often their sum leaps too far.
    seed : int
        Everything is a function of it and the epoch.

    Raises
    ------
    ArgumentError
        An option is out of range.
    DataError
        The corpus has fewer than two words.

    Source: Mikolov et al., "Distributed representations of words and phrases and their compositionality", 2013, and
    word2vec.c for the form of the probability.
    """

    def __init__(self, corpus: Corpus, *, window: int = 5, negatives: int = 5, sample: float = 1e-3, block: int = 32,
                 shared: int = 64, batch_words: int | None = None, seed: int = 0) -> None:
        if batch_words is None:
            batch_words = min(1024, max(1, len(corpus.words) // 8))
        for name, value in (("window", window), ("negatives", negatives), ("block", block), ("shared", shared),
                            ("batch_words", batch_words)):
            if type(value) is not int or value < 1:
                raise ArgumentError(f"{name} as a positive integer", repr(value), f"pass for example {name}=5")
        if isinstance(sample, bool) or not isinstance(sample, (int, float)) or not 0 <= sample < 1:
            raise ArgumentError("sample from 0 up to but not including 1", repr(sample), "pass for example sample=1e-3")
        if len(corpus.tokens) < 2:
            raise DataError("a corpus of two words or more", f"{len(corpus.tokens)}", "pass more text")
        self.corpus, self.window, self.negatives, self.seed = corpus, window, negatives, seed
        self.block, self.shared = min(block, batch_words), shared
        self.blocks = batch_words // self.block
        self._kept = keep_thresholds(corpus.counts, sample)
        self._sampler = Sampler(corpus.counts.astype(np.float64) ** _POWER)

    def epoch(self, epoch: int) -> Epoch:
        """The batches of one epoch, in an order of its own; iterate as often as you like."""
        return Epoch(self, epoch)

    def __repr__(self) -> str:
        return (f"SkipGrams({len(self.corpus.tokens)} tokens of {len(self.corpus.words)} words, window={self.window}, "
                f"negatives={self.negatives}, seed={self.seed})")


class Epoch:
    """One epoch of `SkipGrams`; `len` is its number of batches."""

    def __init__(self, source: SkipGrams, epoch: int) -> None:
        self._source, self._epoch = source, epoch
        self._tokens, self._text, self._radius = self._sampled()
        self._order = permutation(Stream(source.seed, "skipgrams.order", step=epoch),
                                  -(-(len(self._tokens) - 2 * source.window - source.block) // source.block))
        reach = source.block + 2 * source.window
        self._columns = np.arange(reach, dtype=np.int32)
        self._distance = np.abs(self._columns - self._columns[source.window:-source.window, None])   # (C, M)
        self._distance[self._distance == 0] = reach                        # a word is no context of its own

    def __len__(self) -> int:
        return -(-len(self._order) // self._source.blocks)

    def __iter__(self) -> Iterator[SkipGramBatch]:
        return map(self.batch, range(len(self)))

    def batch(self, number: int) -> SkipGramBatch:
        """Batch `number`, of int64 and float32 NumPy arrays."""
        source = self._source
        chosen = self._order[number * source.blocks:(number + 1) * source.blocks]
        own = slice(source.window, source.window + source.block)
        places = chosen[:, None] * source.block + self._columns            # (G, M)
        tokens, text = self._tokens[places], self._text[places]
        near = self._distance <= self._radius[places[:, own], None]        # (G, C, M)
        near &= text[:, None, :] == text[:, own, None]
        positive = near.astype(np.float32)
        contexts = positive.sum(axis=-1)                                   # (G, C)
        draw = words(Stream(source.seed, "skipgrams.negatives", step=self._epoch, call=number),
                     len(chosen) * source.shared)
        outputs = np.concatenate([tokens, source._sampler(draw).reshape(len(chosen), source.shared)], axis=1)
        return SkipGramBatch(tokens[:, own], outputs, positive,
                             contexts * np.float32(source.negatives / source.shared))

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """All pairs (n,) int64 of a word and one of its contexts, for a full softmax: those of the batches."""
        found = []
        for distance in range(1, self._source.window + 1):
            same = self._text[distance:] == self._text[:-distance]
            left = np.flatnonzero(same & (self._radius[:-distance] >= distance))
            right = np.flatnonzero(same & (self._radius[distance:] >= distance)) + distance
            found += [(left, left + distance), (right, right - distance)]
        centers, contexts = (np.concatenate(side) for side in zip(*found))
        return self._tokens[centers], self._tokens[contexts]

    def _sampled(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The words that stay, their texts and radii, with room for a window before them and a block behind.

        What fills the room, and has radius 0, is in no text, and no context.
        """
        source, corpus = self._source, self._source.corpus
        tokens, text, radius = [], [], []
        for start in range(0, len(corpus.tokens), _PART):
            part = slice(start, start + _PART)
            draw = words(Stream(source.seed, "skipgrams.sample", step=self._epoch), len(corpus.tokens[part]), start)
            stays = draw <= source._kept[corpus.tokens[part]]
            tokens.append(corpus.tokens[part][stays].astype(np.int64))
            text.append(corpus.text[part][stays])
            # The draw's low half has no part in whether a word stays, up to 2**-32.
            low = (draw[stays] & np.uint64(0xFFFFFFFF)) * np.uint64(source.window) >> _HALF
            radius.append(low.astype(np.int32) + 1)
        before, behind = source.window, source.window + source.block
        return tuple(np.pad(np.concatenate(parts), (before, behind), constant_values=fill)
                     for parts, fill in ((tokens, 0), (text, -1), (radius, 0)))


class Sampler:
    """Numbers drawn in proportion to weights, one word of random bits each: the alias method (Walker, 1977)."""

    def __init__(self, weights: np.ndarray) -> None:
        size = len(weights)
        share = weights * (size / weights.sum())
        other = np.arange(size)
        small, large = (list(np.flatnonzero(side)) for side in (share < 1, share >= 1))
        while small and large:  # each column of height 1: a small share, filled up from a large one
            low, high = small.pop(), large[-1]
            other[low] = high
            share[high] -= 1 - share[low]
            if share[high] < 1:
                small.append(large.pop())
        share[small + large] = 1.0
        self._other = other
        self._cut = np.minimum(share * 2.0**32, 2.0**32).astype(np.uint64)

    def __call__(self, draw: np.ndarray) -> np.ndarray:
        """int64 numbers (n,) of uint64 words (n,): the high half chooses a column, the low half a part of it."""
        column = ((draw >> _HALF) * np.uint64(len(self._other)) >> _HALF).astype(np.int64)
        return np.where((draw & np.uint64(0xFFFFFFFF)) < self._cut[column], column, self._other[column])


def keep_thresholds(counts: np.ndarray, sample: float) -> np.ndarray:
    """uint64 (V,): a word of random bits up to this keeps a word of the vocabulary; the share as `SkipGrams` says."""
    thresholds = np.full(len(counts), 2**64 - 1, dtype=np.uint64)
    if sample:
        rare = sample * counts.sum() / counts
        share = np.sqrt(rare) + rare
        thresholds[share < 1] = (share[share < 1] * 2.0**64).astype(np.uint64)
    return thresholds
