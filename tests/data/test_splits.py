"""Splits: every distinct row in one part, and the same part whatever stands beside it."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portable_nn.backend.errors import ArgumentError, DataError
from portable_nn.data import split_by_hash, split_in_time


@given(st.lists(st.text(), min_size=1, max_size=30), st.sampled_from(["", "a", "é"]))
def test_split_by_hash(texts, salt):
    parts = split_by_hash(texts, salt)
    index = np.concatenate([parts["train"], parts["validation"], parts["test"]])
    first = {text: row for row, text in reversed(list(enumerate(texts)))}
    assert sorted(index) == sorted(first.values())
    for name, part in parts.items():
        assert part.dtype == np.int64 and list(part) == sorted(part)
        for row in part:
            bucket = int(hashlib.sha1((salt + texts[row]).encode()).hexdigest(), 16) % 10
            assert name == {0: "test", 1: "validation"}.get(bucket, "train")


def test_salt_gives_a_fresh_split_and_surrogates_have_a_bucket():
    texts = [f"text {i}" for i in range(500)]
    assert set(split_by_hash(texts)["test"]) != set(split_by_hash(texts, "fresh")["test"])
    assert sum(map(len, split_by_hash(["\ud800"]).values())) == 1


@pytest.mark.parametrize(("texts", "text"), [([], "none"), (["a", None], "NoneType None at row 1"), ("abc", "one str"),
                                             (None, "one NoneType")])
def test_split_by_hash_bad_input(texts, text):
    with pytest.raises(DataError, match=text):
        split_by_hash(texts)
    with pytest.raises(ArgumentError, match="a salt that is a str"):
        split_by_hash(["good"], salt=3)


@given(st.integers(10, 10_000))
def test_split_in_time(count):
    parts = split_in_time(count)
    assert [i for part in parts for i in range(count)[part]] == list(range(count))
    assert parts[0].stop == count * 70 // 100 and parts[1].stop == count * 85 // 100


def test_split_in_time_bad_input():
    assert split_in_time(10, (0.1, 0.2, 0.7)) == (slice(0, 1), slice(1, 3), slice(3, 10))
    assert split_in_time(3, (1.0,)) == (slice(0, 3),)
    with pytest.raises(ArgumentError, match="add up to 1"):
        split_in_time(10, (0.7, 0.2))
    with pytest.raises(ArgumentError, match="positive"):
        split_in_time(10, (1.2, -0.2))
    with pytest.raises(DataError, match="2 rows"):
        split_in_time(2)
