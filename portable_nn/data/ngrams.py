"""Counting the n-grams of texts with scikit-learn, and weighting the counts: what `TextVectorizer` is made of."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from portable_nn.backend.errors import ArgumentError, DataError, FileError, ShapeError
from portable_nn.data.splits import checked_texts

COUNTS = ("raw", "log", "binary")
DAMAGED = "save the model again: the file is damaged"
NORMS = ("block", "order", "l2", None)
_LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


def clean_texts(texts: Sequence[str]) -> list[str]:
    """Return `texts` with HTML line breaks as spaces.

    Raises
    ------
    DataError
        No texts, or one that is no string or has nothing but white space, named by its row.
    """
    cleaned = []
    for row, given in enumerate(checked_texts(texts)):
        text = _LINE_BREAK.sub(" ", given) if "<" in given else given
        if not text or text.isspace():
            raise DataError("texts that are not empty", f"{given!r:.40} at row {row}",
                            "drop the rows without text")
        cleaned.append(text)
    if not cleaned:
        raise DataError("at least one text", "none", "pass a list of texts")
    return cleaned


def checked_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a `TextVectorizer` with tuples for the n-gram ranges; ArgumentError where one is wrong."""
    checked = dict(options)
    for name in ("words", "characters"):
        value = options[name]
        if value is None:
            continue
        right = isinstance(value, (tuple, list)) and len(value) == 2 and all(type(n) is int for n in value)
        if not right or not 1 <= value[0] <= value[1]:
            raise ArgumentError(f"{name} as (shortest, longest) n-gram or None", repr(value), f"pass {name}=(1, 2)")
        checked[name] = (value[0], value[1])
    if options["words"] is None and options["characters"] is None:
        raise ArgumentError("words or characters", "None for both", "pass for example words=(1, 2)")
    for name, allowed in (("count", COUNTS), ("norm", NORMS)):
        if options[name] not in allowed:
            raise ArgumentError(f"{name} as one of {allowed}", repr(options[name]), "choose one of these")
    for name in ("min_count", "max_features"):
        number = options[name]
        if (type(number) is not int or number < 1) and not (name == "max_features" and number is None):
            raise ArgumentError(f"{name} as a positive integer", repr(number), f"pass for example {name}=1")
    for name in ("naive_bayes", "character_weight"):
        if options[name] is not None or name == "character_weight":
            positive_number(name, options[name])
    for name in ("idf", "rescale", "lowercase"):
        checked[name] = bool(options[name])
    try:
        re.compile(options["token_pattern"])
    except (re.error, TypeError) as error:
        raise ArgumentError("token_pattern as a regular expression", f"{options['token_pattern']!r} ({error})",
                            r"pass for example r'\w+'") from error
    return checked


def positive_number(name: str, value: Any) -> float:
    """Return a finite number above 0 as a float; ArgumentError for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ArgumentError(f"{name} as a positive number", repr(value), f"pass for example {name}=1.0")
    return float(value)


def make_counter(block: str, options: dict[str, Any], vocabulary: list[str] | None = None) -> Any:
    """A scikit-learn CountVectorizer for the block `"words"` or `"characters"`, fitted where a vocabulary is given."""
    from sklearn.feature_extraction.text import CountVectorizer

    arguments: dict[str, Any] = {"ngram_range": options[block], "lowercase": options["lowercase"], "dtype": np.float32}
    if vocabulary is None:
        arguments |= {"min_df": options["min_count"], "max_features": options["max_features"]}
    else:
        arguments["vocabulary"] = {name: column for column, name in enumerate(vocabulary)}
    kind = {"analyzer": "char_wb"} if block == "characters" else {"token_pattern": options["token_pattern"]}
    counter = CountVectorizer(**arguments, **kind)
    if vocabulary is not None:
        counter.transform([""])  # sets vocabulary_ now, so that threads may share the counter
    return counter


def saved_counter(block: str, options: dict[str, Any], names: Any) -> Any:
    """A counter with the vocabulary `names` of a saved model; FileError where it cannot be one."""
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise FileError(f"the vocabulary of {block} as a list of strings", f"{names!r:.60}", DAMAGED)
    if len(set(names)) < len(names):
        raise FileError(f"{len(names)} distinct {block}", f"{len(set(names))}", DAMAGED)
    return make_counter(block, options, names)


def saved_columns(name: str, arrays: dict[str, np.ndarray], size: int) -> np.ndarray:
    """The array `name` (V,) of a saved model, as float32; FileError where it is not there or not finite."""
    array = arrays.get(name)
    if array is None or array.shape != (size,) or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise FileError(f"finite {name} of shape ({size},), as the vocabulary",
                        "none" if array is None else f"{array.dtype} {array.shape}", DAMAGED)
    return np.asarray(array, dtype=np.float32)


def binary_labels(labels: Any, count: int) -> np.ndarray:
    """Return labels (N,) of 0 and 1 as an array, checked.

    Raises
    ------
    ArgumentError, ShapeError, DataError
        No labels, of another length than `count`, or others than 0 and 1, or of one kind only.
    """
    if labels is None:
        raise ArgumentError("labels, which naive_bayes is computed from", "None", "call fit(texts, labels)")
    labels = np.asarray(labels)
    if labels.shape != (count,):
        raise ShapeError(f"labels of shape ({count},), one for each text", f"{labels.shape}", "pass one label per text")
    kinds = np.unique(labels)
    if kinds.tolist() != [0, 1]:
        raise DataError("labels 0 and 1, both present", f"{kinds[:5].tolist()}", "leave naive_bayes out")
    return labels


def log_count_ratio(entries: Any, labels: np.ndarray, smoothing: float) -> np.ndarray:
    """r (V,) float32 of a CSR matrix (N, V) and labels (N,) of 0 and 1, as `TextVectorizer` says."""
    ratio = np.zeros(entries.shape[1], dtype=np.float64)
    for label, sign in ((1, 1.0), (0, -1.0)):
        sums = smoothing + entries.T @ (labels == label).astype(np.float64)
        ratio += sign * np.log(sums / sums.sum())
    return ratio.astype(np.float32)


def squared_lengths(matrix: Any) -> np.ndarray:
    """Sums of squares (N,) float64 of the rows of a CSR matrix."""
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return np.bincount(row, weights=matrix.data.astype(np.float64) ** 2, minlength=matrix.shape[0])


def normalize_rows(groups: list[list[Any]]) -> None:
    """Divide, in place, each row of the CSR blocks of a group by its Euclidean length over all of them."""
    for blocks in groups:
        lengths = np.sqrt(sum(squared_lengths(block) for block in blocks))
        lengths[lengths == 0] = 1.0
        for block in blocks:
            block.data /= np.repeat(lengths, np.diff(block.indptr)).astype(np.float32)


def orders(block: str, counter: Any) -> np.ndarray:
    """n of each column's n-gram, int64 (V,)."""
    order = np.empty(len(counter.vocabulary_), dtype=np.int64)
    for name, column in counter.vocabulary_.items():
        order[column] = len(name) if block == "characters" else name.count(" ") + 1
    return order


def normalize_orders(block: Any, order: np.ndarray) -> None:
    """Divide, in place, in each row of a CSR block the n-grams of each n by their Euclidean length."""
    group = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr)) * (order.max() + 1) + order[block.indices]
    lengths = np.sqrt(np.bincount(group, weights=block.data.astype(np.float64) ** 2))
    block.data /= lengths[group].astype(np.float32)


def unit_scale(matrix: Any) -> float:
    """What to multiply a CSR matrix with, so that the mean squared length of its rows is 1; 1 where it is all zeros."""
    mean = float(np.mean(squared_lengths(matrix)))
    return 1.0 / math.sqrt(mean) if mean > 0 else 1.0


def side_by_side(blocks: list[Any]) -> Any:
    """CSR blocks (N, V_i) as one CSR matrix (N, ΣV_i)."""
    if len(blocks) == 1:
        return blocks[0]
    from scipy.sparse import hstack

    return hstack(blocks, format="csr")
