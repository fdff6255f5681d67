"""Whatever the shapes and indices: values equal NumPy's, and gradients equal sums over uses or differences."""

from __future__ import annotations

from typing import Any

import array_api_compat
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portable_nn.autodiff import Tensor, grad, gradcheck
from portable_nn.autodiff.namespace import tensor_namespace

TNP = tensor_namespace(array_api_compat.array_namespace(np.empty(0)))
few = settings(max_examples=40, deadline=None, derandomize=True)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
FULL = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)


def values(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Distinct values, so that extrema are unique."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    return (rng.permutation(size).reshape(shape) - size / 2 + 0.3) / 3 + rng.uniform(0, 0.05, size=shape)


def gradient(f: Any, x: np.ndarray, g: np.ndarray) -> np.ndarray:
    return grad(lambda x: TNP.sum(f(x) * g))(x)


@few
@given(
    hnp.mutually_broadcastable_shapes(num_shapes=2, min_dims=0, max_dims=3, min_side=0, max_side=3),
    st.sampled_from(["add", "subtract", "multiply", "divide", "maximum", "logaddexp", "hypot"]),
)
def test_broadcasting(shapes: Any, name: str) -> None:
    x, y = (np.abs(values(shape, i)) + 0.5 + i for i, shape in enumerate(shapes.input_shapes))
    out = getattr(TNP, name)(Tensor(x, requires_grad=True), Tensor(y, requires_grad=True))
    np.testing.assert_allclose(out.numpy(), getattr(np, name)(x, y))
    assert out.shape == shapes.result_shape
    assert gradcheck(getattr(TNP, name), (x, y))


@few
@given(st.data(), SHAPES, st.sampled_from(["sum", "mean", "prod", "max", "min", "var", "std"]), st.booleans())
def test_reductions(data: Any, shape: tuple[int, ...], name: str, keepdims: bool) -> None:
    if name not in ("sum", "prod") and 0 in shape:
        shape = tuple(max(length, 1) for length in shape)
    axes = (
        st.lists(st.integers(-len(shape), len(shape) - 1), max_size=len(shape), unique_by=lambda a: a % len(shape))
        if shape
        else st.just([])
    )
    axis = data.draw(
        st.one_of(st.none(), axes.map(tuple), *([st.integers(-len(shape), len(shape) - 1)] if shape else []))
    )
    x = values(shape)
    out = getattr(TNP, name)(Tensor(x, requires_grad=True), axis=axis, keepdims=keepdims)
    np.testing.assert_allclose(out.numpy(), getattr(np, name)(x, axis=axis, keepdims=keepdims))
    if name == "std" and np.any(out.numpy() == 0):
        return  # a cusp: the gradient is taken to be 0
    assert gradcheck(lambda x: getattr(TNP, name)(x, axis=axis, keepdims=keepdims), x)


@st.composite
def indices(draw: Any, shape: tuple[int, ...]) -> Any:
    """Slices of any step, integers, None, Ellipsis; a mask; or integer arrays with repeats."""
    kind = draw(st.sampled_from(["basic", "mask", "integers", "mixed"]))
    if kind == "basic":
        return draw(hnp.basic_indices(shape, allow_newaxis=True, max_dims=6))
    if kind == "mask":
        dims = draw(st.integers(1, len(shape)))
        return draw(hnp.arrays(bool, shape[:dims]))
    if kind == "integers":
        return draw(hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, max_side=4)))
    index = draw(hnp.arrays(np.int64, (draw(st.integers(0, 5)),), elements=st.integers(-shape[0], shape[0] - 1)))
    return (index, *draw(st.sampled_from([(), (Ellipsis,), (slice(None, None, -1),) * (len(shape) - 1)])))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.data(), FULL, st.booleans())
def test_getitem(data: Any, shape: tuple[int, ...], as_tensors: bool) -> None:
    key = data.draw(indices(shape))
    x = values(shape)
    expected = x[key]
    lifted = key
    if as_tensors:
        lifted = (
            tuple(Tensor(k) if isinstance(k, np.ndarray) else k for k in key)
            if isinstance(key, tuple)
            else (Tensor(key) if isinstance(key, np.ndarray) else key)
        )
    np.testing.assert_array_equal(Tensor(x, requires_grad=True)[lifted].numpy(), expected)
    g = values(np.shape(expected), 1)
    sums = np.zeros(shape)
    np.add.at(sums, key, g)
    np.testing.assert_allclose(gradient(lambda x: x[lifted], x, g), sums, atol=1e-12)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.data(), FULL, st.booleans())
def test_setitem(data: Any, shape: tuple[int, ...], scalar: bool) -> None:
    key = data.draw(indices(shape))
    x = values(shape)
    new = values(() if scalar else np.shape(x[key]), 2)
    expected = x.copy()
    expected[key] = new

    def assign(x: Any, new: Any) -> Any:
        y = x * 1
        y[key] = new
        return y

    before = x.copy()
    np.testing.assert_array_equal(
        assign(Tensor(x, requires_grad=True), Tensor(new, requires_grad=True)).numpy(), expected
    )
    np.testing.assert_array_equal(assign(Tensor(x), new).numpy(), expected)
    np.testing.assert_array_equal(x, before)
    assert gradcheck(assign, (x, np.asarray(new)))


@few
@given(st.data(), FULL)
def test_take_and_gather(data: Any, shape: tuple[int, ...]) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    length = shape[axis]
    index = data.draw(hnp.arrays(np.int64, (data.draw(st.integers(0, 6)),), elements=st.integers(-length, length - 1)))
    x = values(shape)
    g = values(np.take(x, index, axis=axis).shape, 1)
    sums = np.zeros(shape)
    np.add.at(np.moveaxis(sums, axis, 0), index, np.moveaxis(g, axis, 0))
    np.testing.assert_allclose(gradient(lambda x: TNP.take(x, index, axis=axis), x, g), sums, atol=1e-12)
    whole = (*shape[: axis % len(shape)], 3, *shape[axis % len(shape) + 1 :])
    rows = data.draw(hnp.arrays(np.int64, whole, elements=st.integers(-length, length - 1)))
    assert gradcheck(lambda x: TNP.take_along_axis(x, rows, axis=axis), x)


@few
@given(hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, max_side=3))
def test_matmul(shapes: Any) -> None:
    x, y = (values(shape, i) for i, shape in enumerate(shapes.input_shapes))
    np.testing.assert_allclose((Tensor(x) @ Tensor(y)).numpy(), x @ y, atol=1e-12)
    assert gradcheck(lambda x, y: x @ y, (x, y))


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3)])
def test_empty_arrays(shape: tuple[int, ...]) -> None:
    x = np.zeros(shape)
    for f in (
        lambda x: TNP.sum(x),
        lambda x: TNP.cumulative_prod(x, axis=-1),
        lambda x: TNP.concat([x, x]),
        TNP.prod,
        lambda x: TNP.reshape(x, (-1,)),
        lambda x: x[..., None],
        lambda x: TNP.sort(x),
        TNP.exp,
    ):
        out = f(Tensor(x, requires_grad=True))
        assert gradient(f, x, np.ones(out.shape)).shape == shape
