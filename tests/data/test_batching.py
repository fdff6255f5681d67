"""Batches: every row once an epoch, in an order that only the seed and the epoch decide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from portable_nn.autodiff import Tensor
from portable_nn.backend.errors import ArgumentError, DataError, DTypeError, ShapeError
from portable_nn.data import Batches, SparseRows, batches, to_tensors, windows
from tests.helpers import to_numpy


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**64 - 1), st.integers(0, 5), st.booleans())
def test_every_row_once_an_epoch(count, batch_size, seed, epoch, shuffle):
    x = np.arange(count)
    made = batches(x, x * 2, batch_size=batch_size, seed=seed, epoch=epoch, shuffle=shuffle)
    seen = [to_numpy(a) for a, b in made]
    assert len(seen) == len(made) and all(len(part) == batch_size for part in seen[:-1])
    assert sorted(np.concatenate(seen)) == list(range(count))
    for again, (a, b) in zip(seen, made, strict=True):  # iterated once more: the same order
        np.testing.assert_array_equal(again, to_numpy(a))
        np.testing.assert_array_equal(again * 2, to_numpy(b))
    if not shuffle:
        np.testing.assert_array_equal(np.concatenate(seen), x)


def test_orders_differ_by_seed_and_epoch():
    x = np.arange(100)
    order = [batches(x, batch_size=100, seed=seed, epoch=epoch).order for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert not any(np.array_equal(a, b) for a, b in ((order[0], order[1]), (order[0], order[2])))
    np.testing.assert_array_equal(batches(x, batch_size=7, seed=0).epoch(1).order, order[1])


def test_last_short_batch():
    x = np.arange(5)
    assert [len(to_numpy(a)) for a, in batches(x, batch_size=2)] == [2, 2, 1]
    dropped = batches(x, batch_size=2, drop_last=True)
    assert len(dropped) == 2 and [len(to_numpy(a)) for a, in dropped] == [2, 2]


def test_batches_are_tensors_of_the_backend(backend):
    x, y = backend.asarray(np.arange(12.0).reshape(6, 2)), backend.asarray(np.arange(6))
    for a, b in batches(x, y, batch_size=4, shuffle=False):
        assert isinstance(a, Tensor) and isinstance(b, Tensor)
        backend.assert_close(a, np.arange(12.0, dtype=np.float32).reshape(6, 2)[int(to_numpy(b)[0]):][:4])
        assert b.dtype == y.dtype


def test_nesting_dtype_and_sparse_rows():
    x = np.random.default_rng(0).normal(size=(6, 3))
    dense, matrix = np.eye(6), sparse.csr_matrix(np.eye(6))
    (a, part), y = next(iter(batches((x, matrix), {"label": np.arange(6)}, batch_size=6, seed=3)))
    order = to_numpy(y["label"])
    assert isinstance(part, SparseRows) and str(part.values.dtype).endswith("float32")
    np.testing.assert_array_equal(to_numpy(part.indices), np.argmax(dense[order], axis=1))
    np.testing.assert_allclose(to_numpy(a), x[order], rtol=1e-6)
    kept, = next(iter(batches(x, batch_size=6, dtype=None)))
    assert to_numpy(kept).dtype == np.float64
    assert isinstance(to_tensors(matrix), SparseRows)


def test_windows_alone_are_inputs_and_targets():
    view = windows(np.arange(20.0), 4, 2)
    x, y = next(iter(batches(view, batch_size=3, seed=1)))
    assert x.shape == (3, 4, 1) and y.shape == (3, 2)
    np.testing.assert_array_equal(to_numpy(x)[:, -1, 0] + 1, to_numpy(y)[:, 0])


def test_tensors_in_and_nothing_copied_when_not_shuffled():
    x = np.arange(4, dtype=np.float32)
    a, = next(iter(batches(Tensor(x), batch_size=2, shuffle=False)))
    assert np.shares_memory(to_numpy(a), x)
    assert repr(batches(x, batch_size=2)) == "Batches(2 of up to 2 rows, seed=0, epoch=0)"
    assert isinstance(batches(x, batch_size=2), Batches)


@pytest.mark.parametrize(("arrays", "options", "error", "text"), [
    ((np.zeros(3), np.zeros(4)), {"batch_size": 2}, ShapeError, r"data\[0\]: 3, data\[1\]: 4"),
    (([1, 2],), {"batch_size": 2}, DTypeError, "type list"),
    ((np.zeros(3),), {"batch_size": 0}, ArgumentError, "positive integer"),
    ((np.zeros(3),), {"batch_size": 2.0}, ArgumentError, "positive integer"),
    ((np.zeros(3),), {"batch_size": 4, "drop_last": True}, ArgumentError, "3 rows"),
    ((np.zeros((0, 2)),), {"batch_size": 2}, DataError, "0 rows"),
    ((np.zeros(3),), {"batch_size": 2, "seed": -1}, ArgumentError, "seed"),
])
def test_bad_input(arrays, options, error, text):
    with pytest.raises(error, match=text):
        batches(*arrays, **options)
