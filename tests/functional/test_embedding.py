"""Embeddings against plain indexing and sparse products, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse

from portable_nn import Tensor, functional, kernels
from portable_nn.backend.errors import ArgumentError, DataError, DTypeError, ShapeError
from tests.helpers import Backend, to_numpy

TABLE = np.arange(12.0).reshape(4, 3)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0,)])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_embedding(backend: Backend, shape: tuple, dtype: str, rng: np.random.Generator) -> None:
    indices = np.asarray(rng.integers(0, 4, shape), dtype=dtype)
    backend.assert_close(functional.embedding(backend.asarray(indices), backend.asarray(TABLE)), TABLE[indices])


def test_bags_are_a_sparse_product(backend: Backend, rng: np.random.Generator) -> None:
    """Also unsorted, repeated, and empty rows."""
    rows = scipy.sparse.csr_matrix((rng.standard_normal(7), [3, 0, 0, 2, 1, 3, 3], [0, 3, 3, 6, 7]), shape=(4, 4))
    arrays = [backend.asarray(a) for a in (rows.indices, rows.indptr[:-1], TABLE, rows.data)]
    got = functional.embedding_bag(*arrays, mode="sum")
    backend.assert_close(got, rows @ TABLE, rtol=1e-12 if backend.has_float64 else 1e-5)


def test_mean_of_bags(backend: Backend) -> None:
    indices, offsets = backend.asarray(np.asarray([0, 1, 3])), backend.asarray(np.asarray([0, 2, 2]))
    got = functional.embedding_bag(indices, offsets, backend.asarray(TABLE), None, mode="mean")
    backend.assert_close(got, np.stack([TABLE[:2].mean(axis=0), np.zeros(3), TABLE[3]]), rtol=1e-6)


@pytest.mark.parametrize("forced", [None, {}, {"generic": True}])
@pytest.mark.parametrize("index", [4, -1])
def test_index_out_of_range(backend: Backend, forced: Any, index: int) -> None:
    if backend.name == "cupy":
        pytest.skip("indices on a GPU are not looked at")
    indices, offsets, table = (backend.asarray(np.asarray(a)) for a in ([0, index], [0], TABLE))
    for weight in (table, Tensor(table, requires_grad=True)):
        for call in (lambda weight=weight: functional.embedding(indices, weight),
                     lambda weight=weight: functional.embedding_bag(indices, offsets, weight, None, mode="sum")):
            with pytest.raises(DataError, match=f"indices from 0 to 3; got indices {index}"):
                if forced is None:
                    call()
                else:
                    with kernels.disabled(**forced):
                        call()


@pytest.mark.parametrize("offsets", [[1], [0, 3], [0, 2, 1]])
def test_bad_offsets(backend: Backend, offsets: list[int]) -> None:
    if backend.name == "cupy":
        pytest.skip("offsets on a GPU are not looked at")
    for context in (kernels.disabled(), kernels.disabled(generic=True), None):
        arrays = [backend.asarray(np.asarray(a)) for a in ([0, 1], offsets, TABLE)]
        with pytest.raises(DataError, match="offsets"):
            if context is None:
                functional.embedding_bag(*arrays, None, mode="sum")
            else:
                with context:
                    functional.embedding_bag(*arrays, None, mode="sum")


@pytest.mark.parametrize(("arrays", "mode", "error"), [
    (([[0]], [0], TABLE, None), "sum", ShapeError),
    (([0], [0], TABLE[0], None), "sum", ShapeError),
    (([0], [0], TABLE, [1.0, 2.0]), "sum", ShapeError),
    (([0], [0], TABLE, None), "max", ArgumentError),
    (([0], [0], TABLE, [1.0]), "mean", ArgumentError),
    (([0.5], [0], TABLE, None), "sum", DTypeError),
    (([0], [0.5], TABLE, None), "sum", DTypeError),
    (([0], [0], TABLE.astype(int), None), "sum", DTypeError),
])
def test_bag_refuses(backend: Backend, arrays: tuple, mode: str, error: Any) -> None:
    placed = [None if a is None else backend.asarray(np.asarray(a)) for a in arrays]
    with pytest.raises(error):
        functional.embedding_bag(*placed, mode=mode)


def test_embedding_refuses(backend: Backend) -> None:
    with pytest.raises(DTypeError, match="integer indices"):
        functional.embedding(backend.asarray(np.ones(2)), backend.asarray(TABLE))
    with pytest.raises(ShapeError, match="V, D"):
        functional.embedding(backend.asarray(np.ones(2, dtype=int)), backend.asarray(TABLE[0]))


def test_gradient_counts_repeats(backend: Backend) -> None:
    weight = Tensor(backend.asarray(TABLE, "float32"), requires_grad=True)
    functional.embedding(backend.asarray(np.asarray([1, 1, 3])), weight).sum().backward()
    np.testing.assert_array_equal(to_numpy(weight.grad)[:, 0], [0, 2, 0, 1])


@pytest.mark.parametrize("dtype", [">i4", "<i8", ">u2", "i1"])
def test_indices_of_any_byte_order(dtype: str) -> None:
    indices, offsets = np.asarray([3, 0, 1]).astype(dtype), np.asarray([0, 1]).astype(dtype)
    np.testing.assert_array_equal(functional.embedding(indices, TABLE), TABLE[[3, 0, 1]])
    bags = functional.embedding_bag(indices, offsets, TABLE, None, mode="sum")
    np.testing.assert_allclose(bags, [TABLE[3], TABLE[0] + TABLE[1]])
    with pytest.raises(DataError, match="got indices 4"):
        functional.embedding(indices + indices.dtype.type(1), TABLE)


@pytest.mark.parametrize("call", [
    lambda: functional.embedding(None, TABLE),
    lambda: functional.linear(None, TABLE, None, activation=None),
    lambda: functional.layer_norm(None, TABLE[0], TABLE[0], eps=1e-5),
])
def test_none_is_no_array(call: Any) -> None:
    with pytest.raises(DTypeError, match="at least one array"):
        call()
