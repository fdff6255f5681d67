"""Row-sparse gradients: where they come from, which optimisers take them, and that a step touches only their rows."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portable_nn import layers, optim
from portable_nn.autodiff import Tensor
from portable_nn.autodiff.checkpoint import checkpoint
from portable_nn.autodiff.gradcheck import gradcheck
from portable_nn.autodiff.row_sparse import RowSparse
from portable_nn.backend.errors import ArgumentError, NonFiniteError, ShapeError
from portable_nn.kernels import disabled
from tests.helpers import Backend, dtype_name, to_numpy

INDICES = np.asarray([[1, 4], [1, 0]])


def table(backend: Backend, *, sparse: bool = True, **options: Any) -> layers.Embedding:
    made = layers.Embedding(6, 2, sparse=sparse, **options)
    return made.to(backend.device, xp=backend.xp, dtype=dtype_name(backend.float_dtype)).initialize(1)


def backward(model: Any, backend: Backend, indices: np.ndarray = INDICES, times: int = 1) -> None:
    for _ in range(times):
        out = model(Tensor(backend.asarray(indices)))
        out.backward(backend.asarray(np.random.default_rng(0).standard_normal(out.shape), out.dtype))


def test_the_gradient_is_the_dense_one(backend: Backend) -> None:
    for options in ({}, {"padding_idx": 1}):
        sparse, dense = table(backend, **options), table(backend, sparse=False, **options)
        for model in (sparse, dense):
            backward(model, backend, times=2)
        g = sparse.weight.grad
        assert isinstance(g, RowSparse)
        backend.assert_close(g.dense(), dense.weight.grad)
        backend.assert_close(g.coalesced().dense(), dense.weight.grad)
        np.testing.assert_array_equal(to_numpy(g.coalesced().indices), [0, 1, 4])
        backend.assert_close((g + dense.weight.grad), to_numpy(dense.weight.grad) * 2)
        assert "rows of (6, 2)" in repr(g)


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_bags(mode: str, backend: Backend, rng: np.random.Generator) -> None:
    for weights in (None, rng.standard_normal((2, 3))) if mode == "sum" else (None,):
        found = []
        for sparse in (True, False):
            bag = layers.EmbeddingBag(6, 2, mode=mode, sparse=sparse).to(backend.device, xp=backend.xp,
                                                                         dtype=dtype_name(backend.float_dtype))
            bag.initialize(1)
            values = None if weights is None else Tensor(backend.asarray(weights), requires_grad=True)
            out = bag(Tensor(backend.asarray([[1, 1, 5], [0, 1, 2]])), None, values)
            out.backward(backend.asarray(np.asarray([[1.0, 2.0], [3.0, 4.0]])))
            g = bag.weight.grad
            assert isinstance(g, RowSparse) is sparse
            found.append((g.dense() if sparse else g, None if values is None else values.grad))
        backend.assert_close(found[0][0], found[1][0])
        if weights is not None:
            backend.assert_close(found[0][1], found[1][1])


def test_gradients_are_checked(rng: np.random.Generator) -> None:
    model = layers.Embedding(6, 2, sparse=True).to(dtype="float64").initialize(1)
    bag = layers.EmbeddingBag(6, 2, sparse=True).to(dtype="float64").initialize(1)
    for forced in (None, {}, {"generic": True}):
        for made in (model, bag):
            if forced is None:
                assert gradcheck(made, INDICES)
            else:
                with disabled(**forced):
                    assert gradcheck(made, INDICES)


def test_through_checkpoints_and_functions_of_the_weight() -> None:
    model = layers.Embedding(6, 2, sparse=True).to(dtype="float64").initialize(1)
    checkpoint(model, Tensor(INDICES)).sum().backward()
    assert isinstance(model.weight.grad, RowSparse)
    doubled = model.weight.tensor * 2.0
    model.weight.grad = None
    layers.functional_call(model, {"weight": doubled}, {}, Tensor(INDICES))[0].sum().backward()
    np.testing.assert_array_equal(model.weight.grad, np.asarray([2, 4, 0, 0, 2, 0.0])[:, None] * np.ones((6, 2)))


MAKERS = {"SGD": lambda p, **o: optim.SGD(p, lr=0.1, **o), "SparseAdam": lambda p, **o: optim.SparseAdam(p, 0.1, **o)}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("clip", [None, 0.5])
def test_a_step_is_that_of_the_dense_gradient_on_the_rows_it_uses(kind: str, clip: float | None,
                                                                  backend: Backend) -> None:
    sparse, dense = table(backend), table(backend, sparse=False)
    first, second = (MAKERS[kind](model.parameters(), clip_norm=clip) for model in (sparse, dense))
    for model, optimizer in ((sparse, first), (dense, second)):
        backward(model, backend)
        optimizer.step(check_finite=True)
    backend.assert_close(sparse.weight.data, dense.weight.data)
    before = to_numpy(sparse.weight.data).copy()
    first.zero_grad()
    backward(sparse, backend, np.asarray([5, 5]))
    first.step()
    after = to_numpy(sparse.weight.data)
    np.testing.assert_array_equal(after[:5], before[:5])
    assert np.all(after[5] != before[5])


def test_the_callers_array_is_left_alone() -> None:
    model, given = layers.Embedding(6, 2, sparse=True), np.ones((6, 2), dtype=np.float32)
    model.weight.data = given
    model(Tensor(INDICES)).sum().backward()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    optimizer.step()
    assert np.all(given == 1)
    kept = model.weight.data
    optimizer.step()
    assert model.weight.data is kept  # from then on rows are written where they are


@pytest.mark.parametrize("make", [
    lambda p: optim.Adam(p), lambda p: optim.AdamW(p), lambda p: optim.RMSprop(p), lambda p: optim.Lion(p),
    lambda p: optim.SGD(p, momentum=0.9), lambda p: optim.SGD(p, weight_decay=0.1)])
def test_others_refuse(make: Any, backend: Backend) -> None:
    model = table(backend)
    before = to_numpy(model.weight.data).copy()
    backward(model, backend)
    with pytest.raises(ArgumentError, match="SparseAdam"):
        make(model.parameters()).step()
    np.testing.assert_array_equal(to_numpy(model.weight.data), before)


def test_bad_gradients(backend: Backend) -> None:
    model = table(backend)
    optimizer = optim.SparseAdam(model.parameters())
    rows = backend.asarray(np.full((1, 2), np.nan), backend.float_dtype)
    model.weight.grad = RowSparse(backend.asarray([3]), rows, (6, 2))
    with pytest.raises(NonFiniteError, match="weight"):
        optimizer.step(check_finite=True)
    with pytest.raises(ShapeError, match="a gradient of shape"):
        optimizer.step([RowSparse(backend.asarray([3]), rows, (7, 2))])
    with pytest.raises(ArgumentError, match="no weight_decay"):
        optim.SparseAdam([{"params": model.parameters(), "weight_decay": 0.1}])


def test_a_latch_freezes_rows(backend: Backend) -> None:
    if backend.read_only:
        pytest.skip("a latch is for devices")
    model = table(backend)
    before = to_numpy(model.weight.data).copy()
    optimizer = optim.SGD(model.parameters())
    latch = optimizer.make_latch()
    model.weight.grad = RowSparse(backend.asarray([3]), backend.asarray(np.full((1, 2), np.inf), backend.float_dtype),
                                  (6, 2))
    optimizer.step(latch=latch)
    np.testing.assert_array_equal(to_numpy(model.weight.data), before)
    report = latch.report()
    assert report is not None and report.parameter == 0


def test_clipping_counts_rows_once(backend: Backend) -> None:
    sparse, dense = table(backend), table(backend, sparse=False)
    for model in (sparse, dense):
        backward(model, backend)
    norms = [float(to_numpy(optim.clip_grad_norm(model.parameters(), 0.5))) for model in (sparse, dense)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)
    backend.assert_close(sparse.weight.grad.dense(), dense.weight.grad, rtol=1e-5)
    for model in (sparse, dense):
        optim.clip_grad_value(model.parameters(), 0.1)
    backend.assert_close(sparse.weight.grad.dense(), dense.weight.grad, rtol=1e-5)


def test_state_and_copies(backend: Backend) -> None:
    model = table(backend)
    optimizer = optim.SparseAdam(model.parameters(), 0.1)
    backward(model, backend)
    optimizer.step()
    twins = [copy.deepcopy((model, optimizer)), pickle.loads(pickle.dumps((model, optimizer)))]
    other = table(backend)
    other.load_state_dict(model.state_dict())
    resumed = optim.SparseAdam(other.parameters(), 0.1)
    resumed.load_state_dict(optimizer.state_dict())
    for one, steps in [*twins, (other, resumed), (model, optimizer)]:
        assert one.weight.row_sparse
        steps.zero_grad()
        backward(one, backend, np.asarray([0, 5]))
        steps.step()
    for one, _ in [*twins, (other, resumed)]:
        np.testing.assert_array_equal(to_numpy(one.weight.data), to_numpy(model.weight.data))
    model.to(dtype="float32")
    backward(model, backend)
    model.to(dtype=dtype_name(backend.float_dtype))
    assert isinstance(model.weight.grad, RowSparse)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=20), st.integers(0, 100))
def test_coalescing(indices: list[int], seed: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((len(indices), 3))
    g = RowSparse(np.asarray(indices, dtype=np.int64), rows, (7, 3))
    once = g.coalesced()
    expected = np.zeros((7, 3))
    np.add.at(expected, indices, rows)
    np.testing.assert_allclose(once.dense(), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(once.indices, sorted(set(indices)))
    assert once.coalesced() is once
