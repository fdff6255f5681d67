"""Splits into training, validation and test rows: by a hash of the text, or in time order."""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from portable_nn.backend.errors import ArgumentError, DataError


def checked_texts(texts: Iterable[str]) -> Iterator[str]:
    """The texts one by one; DataError where `texts` is a single one or no sequence at all, or one is no string."""
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Iterable):
        raise DataError("a sequence of texts", f"one {type(texts).__name__}", "pass a list, even for one text: [text]")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError("texts as str", f"{type(text).__name__} {text!r:.40} at row {row}",
                            "drop the row, or decode it first")
        yield text


def split_by_hash(texts: Sequence[str], salt: str = "") -> dict[str, np.ndarray]:
    """Split texts by their content alone: the same text is always in the same part, whatever stands beside it.

    Of a repeated text the first row counts. With h the SHA-1 of `salt` and the text in UTF-8, as a number, h mod 10 = 0
    is test, 1 is validation, and the rest trains. Another salt gives a fresh split.

    Returns
    -------
    dict of NumPy int64 arrays `"train"`, `"validation"`, `"test"`: row numbers in `texts`, ascending. Small data may
    leave a part empty.

    Raises
    ------
    DataError
        No texts, or one that is no string.
    ArgumentError
        The salt is no string.
    """
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    seen: set[str] = set()
    if not isinstance(salt, str):
        raise ArgumentError("a salt that is a str", repr(salt), f"pass {str(salt)!r}")
    for row, text in enumerate(checked_texts(texts)):
        if text in seen:
            continue
        seen.add(text)
        # Lone surrogates, which a lenient decoder leaves in a text, have bytes too.
        bucket = int(hashlib.sha1((salt + text).encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest(),
                     16) % 10
        parts[("test", "validation")[bucket] if bucket < 2 else "train"].append(row)
    if not seen:
        raise DataError("at least one text", "none", "pass a list of texts")
    return {name: np.asarray(index, dtype=np.int64) for name, index in parts.items()}


def split_in_time(count: int, fractions: tuple[float, ...] = (0.7, 0.15, 0.15)) -> tuple[slice, ...]:
    """Return consecutive slices of `count` rows in time order, one per fraction, such as train, validation and test.

    Slice i ends at row floor(count · (f_0 + … + f_i)); the last ends at `count`. Use `Windows.within(s.start, s.stop)`
    for the windows of a slice.

    Raises
    ------
    ArgumentError
        The fractions are not positive or do not add up to 1.
    DataError
        A slice would be empty.
    """
    count = operator.index(count)
    if not fractions or min(fractions) <= 0 or not math.isclose(math.fsum(fractions), 1.0, rel_tol=0, abs_tol=1e-9):
        raise ArgumentError("positive fractions that add up to 1", repr(fractions),
                            "pass for example (0.7, 0.15, 0.15)")
    # 1e-9: 0.1 + 0.2 of 10 rows is row 3, whichever way the sum was rounded.
    ends = [math.floor(count * math.fsum(fractions[:i + 1]) + 1e-9) for i in range(len(fractions) - 1)] + [count]
    slices = tuple(slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True))
    if any(part.start >= part.stop for part in slices):
        raise DataError(f"rows for each of {len(fractions)} parts", f"{count} rows",
                        "pass a longer series or fewer parts")
    return slices
