"""scatter_add: every path equals np.add.at, repeated indices and non-finite values included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portable_nn.backend.errors import DataError, DeviceError, DTypeError, ShapeError
from portable_nn.backend.scatter import define_scatter_add, scatter_add
from tests.helpers import Backend, to_numpy


def reference(indices: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    result = np.zeros((size, *values.shape[1:]), dtype=values.dtype)
    np.add.at(result, indices, values)
    return result


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Indices with many repeats, values of any trailing shape, and a table's size; beyond each fast path's bounds."""
    size = draw(st.integers(1, 40))
    n = draw(st.integers(0, 600))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=2)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    indices = rng.integers(0, draw(st.integers(1, size)), n).astype(draw(st.sampled_from(["int8", "uint8", "int64"])))
    values = (rng.normal(size=(n, *shape)) * 100).astype(draw(st.sampled_from(["float32", "float64", "int32"])))
    return indices, values, size


@settings(max_examples=100, deadline=None)
@given(problems())
def test_equals_add_at(problem: tuple[np.ndarray, np.ndarray, int]) -> None:
    indices, values, size = problem
    expected = reference(indices, values, size)
    tolerance = {"rtol": 1e-5, "atol": 0.01} if values.dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-9}
    for function in (scatter_add, define_scatter_add):
        result = function(indices, values, size)
        assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(result, expected, **tolerance)


@pytest.mark.parametrize(("n", "size", "shape"), [(1, 1, ()), (0, 3, (2,)), (5, 3, (2, 2)), (700, 20, ()),
                                                  (700, 20, (3,)), (64, 100, (16,)), (300, 300, (4,)), (4, 0, (2,))])
def test_backends(backend: Backend, rng: np.random.Generator, n: int, size: int, shape: tuple[int, ...]) -> None:
    n = n if size else 0
    indices, values = rng.integers(0, max(size, 1), n), rng.normal(size=(n, *shape))
    for dtype in backend.float_dtypes:
        placed = backend.asarray(values, dtype=dtype)
        expected = reference(indices, to_numpy(placed), size)
        for index_dtype in ("int64", "int32", "uint8" if size < 256 else "int16"):
            index = backend.asarray(indices, dtype=index_dtype)
            result = scatter_add(index, placed, size)
            backend.assert_close(result, expected, rtol=1e-5 if dtype == backend.xp.float32 else 1e-12)


def test_indices_narrower_than_the_table() -> None:
    """The definition counts the table's rows in a dtype that holds them."""
    indices, values = np.array([127, 3, 127], dtype=np.int8), np.ones((3, 2))
    np.testing.assert_array_equal(define_scatter_add(indices, values, 1000), reference(indices, values, 1000))


def test_infinity_stays_in_its_row(backend: Backend) -> None:
    values = np.ones((600, 2))
    values[5, 0], values[7, 1] = np.inf, np.nan
    index = backend.asarray(np.arange(600) % 10)
    result = to_numpy(scatter_add(index, backend.asarray(values), 10))
    expected = np.full((10, 2), 60.0)
    expected[5, 0], expected[7, 1] = np.inf, np.nan
    np.testing.assert_array_equal(result, expected)


def test_layouts(rng: np.random.Generator) -> None:
    indices, values = rng.integers(0, 9, 400)[::-2], np.asfortranarray(rng.normal(size=(200, 3, 5)))[:, :, ::2]
    np.testing.assert_allclose(scatter_add(indices, values, 9), reference(indices, values, 9), rtol=1e-12)


def test_same_bits_every_time(rng: np.random.Generator) -> None:
    indices, values = rng.integers(0, 50, 5000), rng.normal(size=(5000, 8)).astype(np.float32)
    np.testing.assert_array_equal(scatter_add(indices, values, 50), scatter_add(indices, values, 50))


@pytest.mark.parametrize("index", [-1, 3, 1000])
def test_out_of_range(backend: Backend, index: int) -> None:
    if backend.name == "cupy":
        pytest.skip("CuPy does not look at the indices: the device would have to wait")
    with pytest.raises(DataError, match=f"from 0 to 2; got indices from .*{index}"):
        scatter_add(backend.asarray([0, index]), backend.asarray(np.ones((2, 4))), 3)


def test_wrong_arguments() -> None:
    with pytest.raises(ShapeError, match=r"\(2,\)"):
        scatter_add(np.array([0, 1]), np.ones((3, 4)), 5)
    with pytest.raises(ShapeError, match="Flatten"):
        scatter_add(np.array([[0, 1]]), np.ones((1, 4)), 5)
    with pytest.raises(DTypeError, match="integer"):
        scatter_add(np.array([0.0, 1.0]), np.ones((2, 4)), 5)
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(DeviceError, match="numpy and array_api_strict"):
        scatter_add(np.array([0, 1]), strict.ones((2, 4)), 5)


def test_tensors(rng: np.random.Generator) -> None:
    """The definition is Array API code, so Tensors go through it and are recorded."""
    from portable_nn.autodiff import Tensor

    indices, values = rng.integers(0, 9, 100), rng.normal(size=(100, 4))
    x = Tensor(values, requires_grad=True)
    result = scatter_add(indices, x, 9)
    (result * result).sum().backward()
    np.testing.assert_allclose(x.grad, 2 * reference(indices, values, 9)[indices], rtol=1e-12)


@pytest.mark.parity
def test_torch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    indices, values = rng.integers(0, 9, 100), rng.normal(size=(100, 4))
    weight = torch.from_numpy(values).requires_grad_(True)
    result = scatter_add(torch.from_numpy(indices.astype(np.uint8)), weight, 9)
    np.testing.assert_allclose(result.detach().numpy(), reference(indices, values, 9), rtol=1e-12)
    (result**2).sum().backward()
    np.testing.assert_allclose(weight.grad.numpy(), 2 * reference(indices, values, 9)[indices], rtol=1e-12)
    with pytest.raises(DataError, match="from 0 to 8"):
        scatter_add(torch.tensor([9]), torch.ones(1, 2), 9)
