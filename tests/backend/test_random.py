"""Random streams: the bits are NumPy's Philox, by a cipher written again here; the draws have their distributions."""

from __future__ import annotations

import hashlib
import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.normal import inverse_normal
from portable_nn.backend.random import (
    Stream,
    keep_mask,
    keep_threshold,
    key_and_counter,
    normal,
    permutation,
    uniform,
    words,
)
from tests.helpers import Backend

MASK = 2**64 - 1
UINT64 = st.integers(0, MASK)


def philox4x64(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """Philox4x64-10 of Salmon et al. (2011), section 3.3, on Python's integers."""
    (a, b, c, d), (k, m) = counter, key
    for _ in range(10):
        left, right = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
        a, b, c, d = (right >> 64) ^ b ^ k, right & MASK, (left >> 64) ^ d ^ m, left & MASK
        k, m = (k + 0x9E3779B97F4A7C15) & MASK, (m + 0xBB67AE8584CAA73B) & MASK
    return a, b, c, d


def expected_words(stream: Stream, blocks: int) -> list[int]:
    """The definition: block i is the cipher of the 256-bit counter + 1 + i."""
    path = int.from_bytes(hashlib.blake2b(stream.path.encode(), digest_size=8).digest(), "little")
    start = (stream.step << 64) + (stream.call << 128) + (stream.rank << 192)
    result = []
    for i in range(blocks):
        number = (start + 1 + i) % 2**256
        counter = tuple((number >> (64 * j)) & MASK for j in range(4))
        result.extend(philox4x64(counter, (stream.seed, path)))
    return result


@settings(max_examples=50, deadline=None)
@given(st.builds(Stream, UINT64, st.text(max_size=20), UINT64, UINT64, UINT64), st.integers(0, 13))
def test_words_are_the_cipher(stream: Stream, count: int) -> None:
    assert words(stream, count).tolist() == expected_words(stream, 4)[:count]


def test_words_equal_a_fresh_numpy_generator() -> None:
    stream = Stream(2**63 + 5, "layers.0.weight", 3, 2, 1)
    key, counter = key_and_counter(stream)
    fresh = np.random.Philox(counter=np.array(counter, dtype=np.uint64), key=np.array(key, dtype=np.uint64))
    np.testing.assert_array_equal(words(stream, 1001), fresh.random_raw(1001))


def test_words_never_change() -> None:
    assert [f"{word:016x}" for word in words(Stream(0, "weight"), 2)] == ["5aa6d85bbc69789e", "a3dd8d472ee20df2"]


def test_every_part_of_a_stream_matters() -> None:
    streams = [Stream(0, "a"), Stream(1, "a"), Stream(0, "b"), Stream(0, "a", 1), Stream(0, "a", 0, 1),
               Stream(0, "a", 0, 0, 1), Stream(0, "")]
    drawn = np.concatenate([words(stream, 1000) for stream in streams])
    assert len(np.unique(drawn)) == drawn.size
    assert len(set(streams)) == len(streams)


def test_words_do_not_depend_on_earlier_draws_or_threads() -> None:
    stream, results = Stream(7, "x"), {}
    first = words(stream, 10)
    words(Stream(8, "y"), 3)

    def draw(number: int) -> None:
        results[number] = [words(stream, 10).tolist() for _ in range(50)]

    threads = [threading.Thread(target=draw, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(row == first.tolist() for rows in results.values() for row in rows)


@pytest.mark.parametrize("stream", [Stream(-1, "a"), Stream(2**64, "a"), Stream(1.5, "a"), Stream(0, "a", step=-1),
                                    Stream(0, "a", call=2**64), Stream("0", "a")])
def test_numbers_out_of_range(stream: Stream) -> None:
    with pytest.raises(ArgumentError, match="integer from 0 to 2"):
        words(stream, 1)


def test_numpy_integers_are_seeds() -> None:
    assert words(Stream(np.int64(3), "a"), 2).tolist() == words(Stream(3, "a"), 2).tolist()


@pytest.mark.parametrize("p", [0.0, 2**-16, 0.1, 0.2, 0.5, 0.9, 1 - 2**-16, 1.0])
def test_keep_mask(backend: Backend, p: float) -> None:
    stream, shape = Stream(1, "dropout", 4), (37, 11)
    mask, share = keep_mask(stream, shape, p, xp=backend.xp, device=backend.device)
    lanes = words(stream, 102).astype("<u8").view("<u2")[:407].astype(np.int64)
    backend.assert_close(mask, (lanes >= round(65536 * p)).reshape(shape))
    assert share == 1 - round(65536 * p) / 65536


@given(st.integers(0, 90), st.integers(0, 40))
def test_part_of_a_mask_can_be_drawn_alone(start: int, count: int) -> None:
    """By elements and by words, wherever it begins in a word or block."""
    stream = Stream(3, "encoder.dropout", step=1)
    whole, share = keep_mask(stream, (130,), 0.4, xp=np, device="cpu")
    part, same = keep_mask(stream, (count,), 0.4, xp=np, device="cpu", start=start)
    assert share == same
    np.testing.assert_array_equal(part, whole[start:start + count])
    np.testing.assert_array_equal(words(stream, count, start), words(stream, start + count)[start:])


def test_keep_mask_share_is_met() -> None:
    mask, share = keep_mask(Stream(0, "d"), (1000, 1000), 0.2, xp=np, device="cpu")
    assert abs(mask.mean() - share) < 4 * math.sqrt(share * (1 - share) / mask.size)


@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (5,)])
def test_keep_mask_shapes(shape: tuple[int, ...]) -> None:
    mask, _ = keep_mask(Stream(0, "d"), shape, 0.5, xp=np, device="cpu")
    assert (mask.shape, mask.dtype) == (shape, np.bool_)


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan, 2**-18, 1 - 2**-19])
def test_probability_out_of_range(p: float) -> None:
    with pytest.raises(ArgumentError, match="dropout probability"):
        keep_mask(Stream(0, "d"), (2,), p, xp=np, device="cpu")


def test_least_probability() -> None:
    assert (keep_threshold(2**-17), keep_threshold(1 - 2**-16)) == (1, 65535)


@pytest.mark.parametrize("draw", [uniform, normal])
def test_draws_are_equal_everywhere(backend: Backend, draw: object) -> None:
    stream, dtype = Stream(5, "weight"), backend.float_dtypes[0]
    host = draw(stream, (3, 4), 0.5, 2.0, dtype="float32", xp=np, device="cpu")
    assert host.dtype == np.float32
    moved = draw(stream, (3, 4), 0.5, 2.0, dtype=dtype, xp=backend.xp, device=backend.device)
    backend.assert_close(moved, host, rtol=0)
    wide = draw(stream, (3, 4), 0.5, 2.0, dtype=np.float64, xp=np, device="cpu")
    np.testing.assert_array_equal(wide.astype(np.float32), host)


def test_uniform() -> None:
    u = uniform(Stream(0, "u"), (200_000,), -2.0, 3.0, dtype="float64", xp=np, device="cpu")
    assert u.min() >= -2 and u.max() < 3
    counts = np.histogram(u, bins=50, range=(-2, 3))[0]
    assert ((counts - 4000) ** 2 / 4000).sum() < 100  # chi-squared with 49 degrees of freedom: 1 in 100,000
    np.testing.assert_array_equal(u, (words(Stream(0, "u"), 200_000) >> np.uint64(11)) * 2.0**-53 * 5 - 2)
    narrow = uniform(Stream(0, "u"), (200_000,), 1.0, 1.0 + 2**-22, dtype="float32", xp=np, device="cpu")
    assert set(narrow.tolist()) == {1.0, 1.0 + 2**-23}  # rounding must not reach the open end
    with pytest.raises(ArgumentError, match="low below high"):
        uniform(Stream(0, "u"), (2,), 1.0, 1.0, dtype="float32", xp=np, device="cpu")


def test_normal() -> None:
    z = normal(Stream(0, "n"), (400_000,), 1.0, 2.0, dtype="float64", xp=np, device="cpu")
    z = (z - 1) / 2
    assert abs(z.mean()) < 4 / math.sqrt(z.size)
    assert abs((z**2).mean() - 1) < 4 * math.sqrt(2 / z.size)
    assert abs((z**4).mean() - 3) < 4 * math.sqrt(96 / z.size)
    for limit, share in ((1, 0.3173105), (2, 0.0455003), (3, 0.0026998), (4, 6.334e-5)):
        assert abs((abs(z) > limit).mean() - share) < 4 * math.sqrt(share / z.size)


def test_inverse_normal() -> None:
    """Against the standard library's, which is the same algorithm with the C library's logarithm."""
    from statistics import NormalDist

    tails = np.concatenate([np.logspace(-19, -1, 400), np.linspace(0.1, 0.4999, 400)])
    drawn = np.array([int(p * 2.0**64) for p in tails], dtype=np.uint64)
    expected = [-NormalDist().inv_cdf((int(word) + 0.5) * 2.0**-64) for word in drawn]
    np.testing.assert_allclose(inverse_normal(drawn), expected, rtol=2e-15)
    np.testing.assert_array_equal(inverse_normal(drawn | np.uint64(2**63)), -inverse_normal(drawn))
    ends = inverse_normal(np.array([0, 2**63 - 1, 2**63, MASK], dtype=np.uint64))
    np.testing.assert_allclose(ends, [9.155293772686074, 0, -9.155293772686074, 0], rtol=1e-14)


def test_permutation() -> None:
    for n in (0, 1, 2, 1000):
        order = permutation(Stream(0, "p"), n)
        assert order.dtype == np.int64
        np.testing.assert_array_equal(np.sort(order), np.arange(n))
    assert permutation(Stream(0, "p"), 6).tolist() == [4, 2, 5, 1, 3, 0]
    first = np.bincount([permutation(Stream(0, "p", step), 4) @ [64, 16, 4, 1] for step in range(4800)], minlength=256)
    counts = first[first > 0]
    assert counts.size == 24 and ((counts - 200) ** 2 / 200).sum() < 60  # 23 degrees of freedom
