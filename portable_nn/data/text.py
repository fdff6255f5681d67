"""Texts as sparse rows: word and character n-grams counted by scikit-learn, weighted here, never made dense."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from portable_nn.backend.errors import ArgumentError, DataError, FileError
from portable_nn.data import ngrams


class TextVectorizer:
    """Turn texts into a CSR matrix with one column per n-gram that the training texts have.

    An entry starts as w(c) · idf, where c is how often the n-gram stands in the text; w(c) = c ("raw"), 1 + ln c
    ("log") or 1 ("binary"); idf = 1 + ln((1 + N) / (1 + n)) for an n-gram in n of N training texts, as scikit-learn
    has it. Rows are then divided by their Euclidean length, as `norm` says.

    With `naive_bayes`, columns are multiplied by |r|, r the log-count ratio (Wang & Manning 2012, Baselines and
    Bigrams, section 2.1): r = ln((α + p) / Σ(α + p)) − ln((α + q) / Σ(α + q)), p and q the sums of a column over the
    training texts of label 1 and of label 0, Σ over the columns of words, or of characters. The paper's own r is that
    of count="binary", idf=False, norm=None. (The sign is the model's to learn.)

    Last come `character_weight` and, with `rescale`, one number for everything: the mean squared length of a training
    row becomes 1, which leaves learning rates the same whatever the options.

    Shape: N texts in, (N, V) float32 out.

    Parameters
    ----------
    words : (int, int) or None
        Shortest and longest word n-gram; None for no words.
    characters : (int, int) or None
        Shortest and longest character n-gram, within words padded with a space; None for no characters.
    count : "raw", "log" or "binary"
        How a count enters.
    idf : bool
        Whether n-grams weigh more the fewer texts have them.
    naive_bayes : float, optional
        The smoothing α of the log-count ratio; None multiplies nothing. Needs labels 0 and 1 in `fit`.
    norm : "block", "order", "l2" or None
        Divide the words and the characters of a row each by their Euclidean length; or within them the n-grams of each
        n, so that the many pairs and triples of words do not outweigh the words; or the whole row by its; or nothing.
    character_weight : float
        Multiplies the columns of characters.
    rescale : bool
    min_count : int
        An n-gram in fewer training texts is left out.
    max_features : int, optional
        Keep at most so many n-grams of words, and as many of characters, the most frequent ones.
    lowercase : bool
    token_pattern : str
        Regular expression of a word.

    Example
    -------
    >>> vectorizer = TextVectorizer(words=(1, 1), count="raw", idf=False, norm=None)
    >>> vectorizer.fit_transform(["good<br />film", "good good"]).toarray()
    array([[1., 1.],
           [0., 2.]], dtype=float32)
    """

    def __init__(self, *, words: tuple[int, int] | None = (1, 2), characters: tuple[int, int] | None = None,
                 count: str = "log", idf: bool = True, norm: str | None = "block", naive_bayes: float | None = None,
                 character_weight: float = 1.0, rescale: bool = False, min_count: int = 1,
                 max_features: int | None = None, lowercase: bool = True,
                 token_pattern: str = r"(?u)\b\w\w+\b") -> None:
        self._options = ngrams.checked_options({
            "words": words, "characters": characters, "count": count, "idf": idf, "norm": norm,
            "naive_bayes": naive_bayes, "character_weight": character_weight, "rescale": rescale,
            "min_count": min_count, "max_features": max_features, "lowercase": lowercase,
            "token_pattern": token_pattern})
        self._blocks = [name for name in ("words", "characters") if self._options[name] is not None]
        self._counters: dict[str, Any] = {}
        self._orders: dict[str, np.ndarray] = {}  # made when first needed
        self._arrays: dict[str, np.ndarray] = {}
        self._scale = 1.0

    def fit(self, texts: Sequence[str], labels: Any = None) -> TextVectorizer:
        """Learn vocabulary and weights from `texts`, the training texts alone, and `labels` (N,); returns itself.

        Raises
        ------
        DataError
            No texts, one that is no string or empty, labels other than 0 and 1, or no n-gram that is frequent enough.
        ShapeError, ArgumentError
            Not as many labels as texts, or none where `naive_bayes` needs them.
        """
        self.fit_transform(texts, labels)
        return self

    def fit_transform(self, texts: Sequence[str], labels: Any = None) -> Any:
        """`fit(texts, labels)` and `transform(texts)` in one pass over the texts."""
        texts = ngrams.clean_texts(texts)
        if self._options["naive_bayes"] is not None:
            labels = ngrams.binary_labels(labels, len(texts))
        counters = {name: ngrams.make_counter(name, self._options) for name in self._blocks}
        try:
            blocks = [counter.fit_transform(texts) for counter in counters.values()]
        except ValueError as error:  # scikit-learn: "empty vocabulary" or "no terms remain"
            raise DataError(f"n-grams that at least {self._options['min_count']} of {len(texts)} texts have",
                            str(error), "lower min_count, or pass longer texts") from error
        arrays: dict[str, np.ndarray] = {}
        if self._options["idf"]:
            frequency = np.concatenate([block.getnnz(axis=0) for block in blocks])
            arrays["idf"] = (1 + np.log((1 + len(texts)) / (1 + frequency))).astype(np.float32)
        self._counters, self._orders, self._arrays, self._scale = counters, {}, arrays, 1.0
        blocks = self._counts_weighted(blocks)
        if self._options["naive_bayes"] is not None:
            ratios = [ngrams.log_count_ratio(block, labels, self._options["naive_bayes"]) for block in blocks]
            arrays["log_count_ratio"] = np.concatenate(ratios)
        matrix = self._columns_weighted(blocks)
        if self._options["rescale"]:
            self._scale = ngrams.unit_scale(matrix)
            matrix.data *= np.float32(self._scale)
        return matrix

    def transform(self, texts: Sequence[str]) -> Any:
        """Return the CSR matrix (N, V) float32 of `texts`; n-grams that the training texts lack count for nothing.

        Raises
        ------
        DataError
            No texts, or one that is no string or empty.
        """
        texts = ngrams.clean_texts(texts)
        blocks = [counter.transform(texts) for counter in self._fitted().values()]
        matrix = self._columns_weighted(self._counts_weighted(blocks))
        if self._options["rescale"]:
            matrix.data *= np.float32(self._scale)
        return matrix

    @property
    def size(self) -> int:
        """V, the number of columns."""
        return sum(len(counter.vocabulary_) for counter in self._fitted().values())

    @property
    def log_count_ratio(self) -> np.ndarray | None:
        """r (V,) float32, or None without `naive_bayes`: positive where an n-gram speaks for label 1."""
        return self._arrays.get("log_count_ratio")

    def vocabulary(self) -> dict[str, list[str]]:
        """The n-grams in the order of the columns: `{"words": […], "characters": […]}`, those there are."""
        return {block: sorted(counter.vocabulary_, key=counter.vocabulary_.__getitem__)
                for block, counter in self._fitted().items()}

    def config(self) -> dict[str, Any]:
        """The options, as JSON holds them: `TextVectorizer(**config)` is a vectorizer like this one, not fitted."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self._options.items()}

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """`(config, arrays)`: options and vocabulary for JSON; idf and log-count ratios, each (V,), for safetensors."""
        config = {"type": "TextVectorizer", "options": self.config(), "scale": self._scale,
                  "vocabulary": self.vocabulary()}
        return config, dict(self._arrays)

    @classmethod
    def from_state(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> TextVectorizer:
        """Rebuild a fitted vectorizer from `state()`; FileError where the two are damaged or do not fit together."""
        try:
            vectorizer = cls(**config["options"])
            vocabulary = {name: config["vocabulary"][name] for name in vectorizer._blocks}
            vectorizer._scale = ngrams.positive_number("scale", config["scale"])
        except (KeyError, TypeError, ArgumentError) as error:
            raise FileError("a text vectorizer's options and vocabulary", repr(error), ngrams.DAMAGED) from error
        options = vectorizer._options
        for block, names in vocabulary.items():
            vectorizer._counters[block] = ngrams.saved_counter(block, options, names)
        for name, option in (("idf", options["idf"]), ("log_count_ratio", options["naive_bayes"])):
            if option:
                vectorizer._arrays[name] = ngrams.saved_columns(name, arrays, vectorizer.size)
        return vectorizer

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._options.items())
        return f"TextVectorizer({options})" + (f"  # {self.size} columns" if self._counters else "")

    def _fitted(self) -> dict[str, Any]:
        if not self._counters:
            raise ArgumentError("a vectorizer that was fitted", "one without vocabulary", "call fit(texts) first")
        return self._counters

    def _counts_weighted(self, blocks: list[Any]) -> list[Any]:
        """w(c) · idf, normalised: in place, since the counts are nobody else's."""
        start = 0
        for block in blocks:
            if self._options["count"] == "log":
                block.data = 1 + np.log(block.data)
            elif self._options["count"] == "binary":
                block.data[:] = 1
            if self._options["idf"]:
                block.data *= self._arrays["idf"][start:start + block.shape[1]][block.indices]
            start += block.shape[1]
        if self._options["norm"] is not None:
            self._normalize(blocks)
        return blocks

    def _normalize(self, blocks: list[Any]) -> None:
        if self._options["norm"] == "order":
            if not self._orders:
                self._orders = {name: ngrams.orders(name, counter) for name, counter in self._counters.items()}
            for name, block in zip(self._blocks, blocks, strict=True):
                ngrams.normalize_orders(block, self._orders[name])
        else:
            ngrams.normalize_rows([blocks] if self._options["norm"] == "l2" else [[block] for block in blocks])

    def _columns_weighted(self, blocks: list[Any]) -> Any:
        """The blocks side by side, each column times |r| and its block's weight."""
        start = 0
        for name, block in zip(self._blocks, blocks, strict=True):
            if self._options["naive_bayes"] is not None:
                ratio = self._arrays["log_count_ratio"][start:start + block.shape[1]]
                block.data *= np.abs(ratio)[block.indices]
            if name == "characters":
                block.data *= np.float32(self._options["character_weight"])
            start += block.shape[1]
        return ngrams.side_by_side(blocks)
