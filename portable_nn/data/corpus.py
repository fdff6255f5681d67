"""Texts as one run of numbered words: what word vectors are trained on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from portable_nn.backend.errors import ArgumentError, DataError
from portable_nn.data import ngrams

#: Runs of letters and apostrophes, in lower case.
WORD = r"[a-z']+"


class Corpus(NamedTuple):
    """Texts as numbers of words, rare ones left out, and the vocabulary, most frequent words first.

    Parameters
    ----------
    tokens : NumPy int32 array (n,)
        The words of all texts, one text behind the other; 0 is the most frequent one.
    text : NumPy int32 array (n,)
        The number of the text that each stands in.
    words : list of str
        The vocabulary, V words.
    counts : NumPy int64 array (V,)
        How often each stands in the texts.
    read : int
        How many words were read, rare ones counted too: speeds are given in these.
    """

    tokens: np.ndarray
    text: np.ndarray
    words: list[str]
    counts: np.ndarray
    read: int


def make_corpus(texts: Sequence[str], *, min_count: int = 5, lowercase: bool = True,
                token_pattern: str = WORD) -> Corpus:
    """Number the words of `texts`.

    Parameters
    ----------
    texts : sequence of str
        Line breaks of HTML are dropped. A window of words never reaches from one text into another.
    min_count : int
        Words that stand in the texts less often are left out; their neighbours then stand side by side.
    lowercase : bool
    token_pattern : str
        Regular expression of a word, without groups.

    Raises
    ------
    DataError
        No texts, one that is no string or empty, or no word that is frequent enough.
    ArgumentError
        min_count is no positive integer, or the pattern is none.

    Examples
    --------
    >>> corpus = make_corpus(["a film", "a fine film!"], min_count=2)
    >>> corpus.words, corpus.tokens.tolist(), corpus.text.tolist()
    (['a', 'film'], [0, 1, 0, 1], [0, 0, 1, 1])
    """
    if type(min_count) is not int or min_count < 1:
        raise ArgumentError("min_count as a positive integer", repr(min_count), "pass for example min_count=5")
    lists = split_words(texts, lowercase=lowercase, token_pattern=token_pattern)
    counts = Counter(word for tokens in lists for word in tokens)
    words = sorted((word for word, count in counts.items() if count >= min_count),
                   key=lambda word: (-counts[word], word))
    if not words:
        most = f"{max(counts.values())} times at most" if counts else "no word at all"
        raise DataError(f"a word that stands at least {min_count} times in {len(lists)} texts", most,
                        "lower min_count, or pass more text")
    numbers = {word: number for number, word in enumerate(words)}
    rows = [[numbers[word] for word in tokens if word in numbers] for tokens in lists]
    tokens = np.asarray([number for row in rows for number in row], dtype=np.int32)
    text = np.repeat(np.arange(len(rows), dtype=np.int32), [len(row) for row in rows])
    return Corpus(tokens, text, words, np.asarray([counts[word] for word in words], dtype=np.int64),
                  sum(map(len, lists)))


def split_words(texts: Sequence[str], *, lowercase: bool = True, token_pattern: str = WORD) -> list[list[str]]:
    """The words of each text, as `make_corpus` finds them; errors as there."""
    pattern = _compiled(token_pattern)
    return [pattern.findall(text.lower() if lowercase else text) for text in ngrams.clean_texts(texts)]


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ArgumentError("token_pattern as a regular expression", f"{pattern!r} ({error})",
                            r"pass for example r'\w+'") from error
    if compiled.groups or not isinstance(pattern, str):
        raise ArgumentError("token_pattern as a str without groups", repr(pattern), "write (?:…) for (…)")
    return compiled
