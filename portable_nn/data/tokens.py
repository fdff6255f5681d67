"""Texts as sequences of numbered words, in order: what recurrent, convolutional and attention bodies read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from portable_nn.backend.errors import ArgumentError, DataError, FileError
from portable_nn.data import ngrams

#: Numbers that are no word of the vocabulary.
PADDING, UNKNOWN = 0, 1
_FIRST = 2


class TokenRows(NamedTuple):
    """Texts as rows of numbered tokens, each filled up with 0 behind its end.

    Parameters
    ----------
    ids : array (B, T) of integers
        0 is padding, 1 an unknown word.
    lengths : array (B,) of integers
        Tokens of each text; 0 to T.
    """

    ids: Any
    lengths: Any


class TokenVectorizer:
    """Turn texts into sequences of numbers, one for each word or mark; words that the training texts lack are 1.

    Shape: N texts in, TokenRows of ids (N, T) int32 and lengths (N,) int32 out, where T is the longest of them.

    Parameters
    ----------
    min_count : int
        A token that stands in the training texts less often is unknown.
    max_length : int
        Tokens of a text that are kept, the first ones.
    max_features : int, optional
        Number only so many tokens, the most frequent ones.
    lowercase : bool
    token_pattern : str
        Regular expression of a token, without groups.

    Examples
    --------
    >>> vectorizer = TokenVectorizer().fit(["good film", "a film!"])
    >>> vectorizer.vocabulary()
    ['film', '!', 'a', 'good']
    >>> vectorizer.transform(["A good<br />plot", "film"])
    TokenRows(ids=array([[4, 5, 1],
           [2, 0, 0]], dtype=int32), lengths=array([3, 1], dtype=int32))
    """

    def __init__(self, *, min_count: int = 1, max_length: int = 400, max_features: int | None = None,
                 lowercase: bool = True, token_pattern: str = r"[\w']+|[^\w\s]") -> None:
        for name, number in (("min_count", min_count), ("max_length", max_length), ("max_features", max_features)):
            if (type(number) is not int or number < 1) and not (name == "max_features" and number is None):
                raise ArgumentError(f"{name} as a positive integer", repr(number), f"pass for example {name}=1")
        self._pattern = _compiled(token_pattern)
        self._options: dict[str, Any] = {"min_count": min_count, "max_length": max_length,
                                         "max_features": max_features, "lowercase": bool(lowercase),
                                         "token_pattern": token_pattern}
        self._numbers: dict[str, int] = {}

    def fit(self, texts: Sequence[str], labels: Any = None) -> TokenVectorizer:
        """Learn the vocabulary from `texts`, the training texts alone; returns itself. `labels` are not looked at.

        Raises
        ------
        DataError
            No texts, one that is no string or empty, or no token that is frequent enough.
        """
        counts = Counter(token for text in ngrams.clean_texts(texts) for token in self.tokens(text))
        frequent = [token for token, count in counts.items() if count >= self._options["min_count"]]
        if not frequent:
            raise DataError(f"tokens that stand at least {self._options['min_count']} times in {len(texts)} texts",
                            "none", "lower min_count, or pass longer texts")
        ordered = sorted(frequent, key=lambda token: (-counts[token], token))[:self._options["max_features"]]
        self._numbers = {token: number for number, token in enumerate(ordered, start=_FIRST)}
        return self

    def fit_transform(self, texts: Sequence[str], labels: Any = None) -> TokenRows:
        """`fit(texts)` and `transform(texts)`."""
        return self.fit(texts).transform(texts)

    def transform(self, texts: Sequence[str]) -> TokenRows:
        """Number the tokens of `texts`. A text without any token has length 0.

        Raises
        ------
        DataError
            No texts, or one that is no string or empty.
        """
        numbers, longest = self._fitted(), self._options["max_length"]
        rows = [[numbers.get(token, UNKNOWN) for token in self.tokens(text)[:longest]]
                for text in ngrams.clean_texts(texts)]
        lengths = np.asarray([len(row) for row in rows], dtype=np.int32)
        ids = np.full((len(rows), max(1, int(lengths.max()))), PADDING, dtype=np.int32)
        for number, row in enumerate(rows):
            ids[number, :len(row)] = row
        return TokenRows(ids, lengths)

    def tokens(self, text: str) -> list[str]:
        """The tokens of one text."""
        return self._pattern.findall(text.lower() if self._options["lowercase"] else text)

    @property
    def size(self) -> int:
        """V, one more than the largest number: padding, unknown, and the vocabulary."""
        return _FIRST + len(self._fitted())

    def vocabulary(self) -> list[str]:
        """The tokens numbered 2, 3, …: the most frequent first."""
        return list(self._fitted())

    def config(self) -> dict[str, Any]:
        """The options, as JSON holds them: `TokenVectorizer(**config)` is a vectorizer like this one, not fitted."""
        return dict(self._options)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """`(config, arrays)`: options and vocabulary for JSON; no arrays."""
        return {"type": "TokenVectorizer", "options": self.config(), "vocabulary": self.vocabulary()}, {}

    @classmethod
    def from_state(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> TokenVectorizer:
        """Rebuild a fitted vectorizer from `state()`; FileError where it is damaged."""
        try:
            vectorizer, tokens = cls(**config["options"]), config["vocabulary"]
        except (KeyError, TypeError, ArgumentError) as error:
            raise FileError("a token vectorizer's options and vocabulary", repr(error), ngrams.DAMAGED) from error
        if not isinstance(tokens, list) or not tokens or not all(isinstance(token, str) for token in tokens):
            raise FileError("the vocabulary as a list of strings", f"{tokens!r:.60}", ngrams.DAMAGED)
        if len(set(tokens)) < len(tokens) or arrays:
            raise FileError(f"{len(tokens)} distinct tokens and no arrays",
                            f"{len(set(tokens))} and {sorted(arrays)[:3]}", ngrams.DAMAGED)
        vectorizer._numbers = {token: number for number, token in enumerate(tokens, start=_FIRST)}
        return vectorizer

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._options.items())
        return f"TokenVectorizer({options})" + (f"  # {self.size} numbers" if self._numbers else "")

    def _fitted(self) -> dict[str, int]:
        if not self._numbers:
            raise ArgumentError("a vectorizer that was fitted", "one without vocabulary", "call fit(texts) first")
        return self._numbers


def _compiled(pattern: Any) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ArgumentError("token_pattern as a regular expression", f"{pattern!r} ({error})",
                            r"pass for example r'\w+'") from error
    if compiled.groups or not isinstance(pattern, str):
        raise ArgumentError("token_pattern as a str without groups", repr(pattern), "write (?:…) for (…)")
    return compiled
