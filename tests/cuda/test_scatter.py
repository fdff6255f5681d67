"""Sorting of indices and sums by index: stable, in a fixed order, and right for runs of any length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.cuda.checks import DTYPES, assert_rounded, place, read
from tests.cuda.test_rows import kernel, run


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 65_536, 1_000_000])
@pytest.mark.parametrize("count", [1, 33, 1024, 1025, 6000, 8192, 8193])
def test_sort(gpu: Any, count: int, size: int, order: int, rng: np.random.Generator) -> None:
    import cupy

    from portable_nn.kernels.cupy.scatter import sort_indices

    indices = rng.integers(0, size, count)
    indices[::7] = size // 2
    keys, positions = sort_indices(cupy.asarray(indices), size)
    expected = np.argsort(indices, kind="stable")
    np.testing.assert_array_equal(positions.get(), expected)
    np.testing.assert_array_equal(keys.get(), indices[expected])


def test_indices_out_of_range_come_last(gpu: Any) -> None:
    import cupy

    from portable_nn.kernels.cupy.scatter import sort_indices

    keys, positions = sort_indices(cupy.asarray(np.array([3, -1, 0, 2**40, 2])), 3)
    np.testing.assert_array_equal(keys.get(), [0, 2, 3, 3, 3])
    np.testing.assert_array_equal(positions.get(), [2, 4, 0, 1, 3])


@pytest.mark.parametrize("size", [0, 2**24, 2**31 - 2])
def test_sizes_of_every_number_of_digits(gpu: Any, size: int, order: int, rng: np.random.Generator) -> None:
    import cupy

    from portable_nn.kernels.cupy.scatter import sort_indices

    indices = rng.integers(-1, size + 1, 1500)
    keys, positions = sort_indices(cupy.asarray(indices), size)
    inside = np.where(indices < 0, size, indices)
    expected = np.argsort(inside, kind="stable")
    np.testing.assert_array_equal(positions.get(), expected)
    np.testing.assert_array_equal(keys.get(), inside[expected])


def indices_of(kind: str, count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    if kind == "one":
        return np.full(count, size // 2)
    if kind == "skewed":
        return np.minimum(rng.zipf(1.3, count) - 1, size - 1)
    return rng.integers(-1 if kind == "some out of range" else 0, size, count)


@pytest.mark.parametrize("kind", ["random", "one", "skewed", "some out of range"])
@pytest.mark.parametrize(("count", "size", "width"), [(1, 1, 1), (31, 7, 3), (32, 7, 4), (33, 2, 130), (500, 40, 33),
                                                      (3000, 11, 16), (4097, 5000, 5), (8200, 3000, 3)])
def test_sums_by_index(gpu: Any, kind: str, count: int, size: int, width: int, rng: np.random.Generator) -> None:
    import cupy

    from portable_nn.kernels.cupy.scatter import sum_by_index

    indices = indices_of(kind, count, size, rng)
    inside = (indices >= 0) & (indices < size)
    for name in DTYPES:
        values, values64 = place(rng.standard_normal((count, width)), name, width % 2)
        expected, sizes = np.zeros((2, size, width))
        np.add.at(expected, indices[inside], values64[inside])
        np.add.at(sizes, indices[inside], np.abs(values64[inside]))
        got = sum_by_index(cupy.asarray(indices), values, size)
        assert_rounded(got, expected, name, float(np.max(sizes)) / 4)
        again = sum_by_index(cupy.asarray(indices), values, size)
        assert got.get().tobytes() == again.get().tobytes()


@pytest.mark.parametrize("count", [3000, 9000])
def test_the_order_of_threads_changes_no_bit(gpu: Any, count: int, order: int, rng: np.random.Generator) -> None:
    import cupy

    from portable_nn.kernels.cupy.scatter import sum_by_index

    indices, values = indices_of("skewed", count, 50, rng), place(rng.standard_normal((count, 20)), "float32")[0]
    bits = sum_by_index(cupy.asarray(indices), values, 50).get().tobytes()
    assert _bits.setdefault(count, bits) == bits


_bits: dict[int, bytes] = {}


@pytest.mark.parametrize("mode", ["sum", "mean", "weighted"])
@pytest.mark.parametrize("dim", [1, 12, 200])
@pytest.mark.parametrize("lengths", [[3, 0, 40, 1, 0, 0, 7, 0], [0, 300, 0, 5, 9, 0], [0, 0], [1] * 9], ids=str)
def test_bags(gpu: Any, mode: str, dim: int, lengths: Any, order: int, rng: np.random.Generator) -> None:
    import cupy

    lengths = np.array(lengths)
    offsets, indices = np.cumsum(lengths) - lengths, rng.integers(0, 30, lengths.sum())
    for name in DTYPES:
        table, table64 = place(rng.standard_normal((30, dim)), name)
        w, w64 = place(rng.standard_normal(indices.size), name) if mode == "weighted" else (None, np.ones(indices.size))
        g, g64 = place(rng.standard_normal((lengths.size, dim)), name)
        share = np.repeat(1 / np.maximum(lengths, 1), lengths) if mode == "mean" else w64
        bag = np.repeat(np.arange(lengths.size), lengths)
        out, *gradients = run("embedding_bag", (cupy.asarray(indices), cupy.asarray(offsets), table, w), g,
                              (False, False, True, mode == "weighted"), mode="mean" if mode == "mean" else "sum")
        expected, g_table = np.zeros((lengths.size, dim)), np.zeros((30, dim))
        np.add.at(expected, bag, table64[indices] * share[:, None])
        np.add.at(g_table, indices, g64[bag] * share[:, None])
        assert_rounded(out, expected, name)
        assert_rounded(gradients[2], g_table, name)
        sparse = run("sparse_embedding_bag", (cupy.asarray(indices), cupy.asarray(offsets), table, w), g,
                     (False, False, True, mode == "weighted"), mode="mean" if mode == "mean" else "sum")
        np.testing.assert_array_equal(read(sparse[0]), read(out))
        assert_rounded(sparse[3].rows, g64[bag] * share[:, None], name)
        if mode == "weighted":
            assert_rounded(gradients[3], (g64[bag] * table64[indices]).sum(-1), name)


def test_rows_of_a_table(gpu: Any, rng: np.random.Generator) -> None:
    import cupy

    for name in DTYPES:
        table, table64 = place(rng.standard_normal((9, 21)), name)
        indices = np.array([[0, 8, 3], [8, -1, 9]])
        out = read(kernel("embedding").forward(cupy.asarray(indices), table)[0])
        np.testing.assert_array_equal(out[0], table64[indices[0]])
        assert np.isnan(out[1, 1:]).all()
