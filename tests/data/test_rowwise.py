"""Rows of arrays, CSR matrices and nestings: the same as indexing a dense copy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from portable_nn.backend.errors import DataError, DTypeError, ShapeError
from portable_nn.data import SparseRows, check_finite, row_count, rows, windows


def _dense(part: SparseRows, columns: int) -> np.ndarray:
    ends = [*part.offsets, len(part.indices)][1:]
    result = np.zeros((len(part.offsets), columns), dtype=part.values.dtype)
    for row, (start, end) in enumerate(zip(part.offsets, ends, strict=True)):
        result[row, part.indices[start:end]] = part.values[start:end]
    return result


@st.composite
def _matrices(draw):
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 5)))
    values = draw(st.lists(st.integers(-2, 2), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    return np.asarray(values, dtype=np.float32).reshape(shape)


@given(_matrices(), st.data())
def test_rows_of_a_csr_matrix_are_rows_of_the_dense_one(dense, data):
    matrix = sparse.csr_matrix(dense)
    count = len(dense)
    index = np.asarray(data.draw(st.lists(st.integers(0, count - 1), max_size=12)), dtype=np.int64)
    piece = slice(data.draw(st.integers(0, count)), data.draw(st.integers(0, count)))
    whole = rows(matrix, slice(None))
    for source in (matrix, sparse.csr_array(matrix), whole):
        for chosen in (index, piece, slice(None, None, 2)):
            part = rows(source, chosen)
            assert isinstance(part, SparseRows) and part.values.dtype == np.float32
            np.testing.assert_array_equal(_dense(part, dense.shape[1]), dense[chosen])


def test_rows_on_every_backend(backend):
    host = np.arange(12, dtype=np.float32).reshape(6, 2)
    x = backend.asarray(host)
    index = np.asarray([4, 0, 4])
    backend.assert_close(rows(x, index), host[index])
    backend.assert_close(rows(x, slice(1, 3)), host[1:3])
    taken = rows({"a": (x, x), "b": x}, index)
    assert set(taken) == {"a", "b"} and isinstance(taken["a"], tuple)
    backend.assert_close(taken["a"][1], host[index])


def test_slices_are_views_and_counts_are_made_floating():
    x = np.arange(6.0)
    assert np.shares_memory(rows(x, slice(2, 4)), x)
    matrix = sparse.csr_matrix(np.eye(3, dtype=np.float64))
    assert np.shares_memory(rows(matrix, slice(1, 3)).values, matrix.data)
    assert rows(sparse.csr_matrix(np.eye(3, dtype=np.int64)), np.asarray([0])).values.dtype == np.float32


def test_row_count_and_what_it_refuses():
    x = np.zeros((3, 2))
    assert row_count((x, (sparse.csr_matrix(x), rows(sparse.csr_matrix(x), slice(None))), {"w": x})) == 3
    assert row_count(windows(np.arange(10.0), 4, 2)) == 5
    with pytest.raises(ShapeError, match=r"data\[0\]: 3, data\[1\]: 4"):
        row_count((x, np.zeros(4)))
    with pytest.raises(DTypeError, match=r"data\[1\] of type list"):
        row_count((x, [0, 1, 2]))
    with pytest.raises(DTypeError, match="CSC format.*tocsr"):
        row_count(sparse.csc_matrix(x))
    with pytest.raises(ShapeError, match=r"shape \(\)"):
        row_count(np.asarray(1.0))
    with pytest.raises(DataError, match="empty tuple"):
        row_count(())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_check_finite_names_row_and_column(backend, value):
    host = np.zeros((7, 3), dtype=np.float32)
    check_finite(backend.asarray(host))
    host[5, 1] = value
    with pytest.raises(DataError, match=rf"{value} in x at row 5, column 1"):
        check_finite(backend.asarray(host), "x")


def test_check_finite_of_other_data():
    check_finite((np.asarray([1, 2]), np.zeros((0, 3)), np.full(4, 3e38, dtype=np.float32)))  # whose sum overflows
    matrix = sparse.csr_matrix(np.asarray([[0, 1.0], [0, 0], [np.nan, 2]]))
    with pytest.raises(DataError, match="row 2, column 0"):
        check_finite(matrix)
    with pytest.raises(DataError, match=r"data\[1\]\.values"):
        check_finite((np.zeros(3), rows(matrix, slice(None))))
