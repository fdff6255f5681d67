"""Running statistics: what a call leaves behind, and which calls leave nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portable_nn import layers
from portable_nn.autodiff import Tensor
from portable_nn.autodiff.checkpoint import checkpoint
from portable_nn.autodiff.gradcheck import gradcheck
from tests.helpers import Backend, dtype_name, to_numpy


def make(backend: Backend, **options: Any) -> layers.BatchNorm1d:
    return layers.BatchNorm1d(3, **options).to(backend.device, xp=backend.xp, dtype=dtype_name(backend.float_dtype))


def state(norm: layers.BatchNorm1d) -> dict[str, np.ndarray]:
    return {name: to_numpy(x).copy() for name, x in norm.state_dict().items()}


@pytest.mark.parametrize("momentum", [0.1, 0.75, None])
@pytest.mark.parametrize("record", [False, True])
def test_they_follow_the_batches(momentum: float | None, record: bool, backend: Backend,
                                 rng: np.random.Generator) -> None:
    norm, mean, var = make(backend, momentum=momentum), np.zeros(3), np.ones(3)
    for count in range(1, 5):
        x = rng.standard_normal((4, 3, 2)) + 1
        share = 1 / count if momentum is None else momentum
        mean = (1 - share) * mean + share * x.mean(axis=(0, 2))
        var = (1 - share) * var + share * x.var(axis=(0, 2), ddof=1)
        placed = backend.asarray(x)
        norm(Tensor(placed, requires_grad=True) if record else placed)
    found = state(norm)
    np.testing.assert_allclose(found["running_mean"], mean, rtol=1e-6)
    np.testing.assert_allclose(found["running_var"], var, rtol=1e-6)
    assert found["num_batches_tracked"] == 4
    assert found["num_batches_tracked"].dtype.kind == "i"
    assert type(norm.running_mean.data) is not Tensor


def test_evaluation_leaves_them_and_uses_them(backend: Backend, rng: np.random.Generator) -> None:
    norm = make(backend)
    norm(backend.asarray(rng.standard_normal((4, 3)) + 5))
    before = state(norm)
    x = rng.standard_normal((2, 3))
    out = norm.eval()(backend.asarray(x))
    np.testing.assert_allclose(to_numpy(out), (x - before["running_mean"]) / np.sqrt(before["running_var"] + 1e-5),
                               rtol=1e-5)
    for name, value in state(norm).items():
        np.testing.assert_array_equal(value, before[name])


def test_what_is_run_again_counts_once(rng: np.random.Generator) -> None:
    norm = layers.BatchNorm1d(3).to(dtype="float64")
    x = Tensor(rng.standard_normal((4, 3)), requires_grad=True)
    checkpoint(norm, x).sum().backward()
    assert state(norm)["num_batches_tracked"] == 1
    before = state(norm)
    assert gradcheck(norm, x.data)
    _, buffers = layers.functional_call(norm, {}, {}, x)
    assert int(buffers["num_batches_tracked"]) == 2
    for name, value in state(norm).items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("size", [1e4, -1e4, 0.0])
def test_equal_and_extreme_values_have_finite_gradients(size: float, backend: Backend) -> None:
    x = Tensor(backend.asarray(np.full((4, 3), size), "float32"), requires_grad=True)
    norm = layers.BatchNorm1d(3).to(backend.device, xp=backend.xp)
    out = norm(x)
    out.backward(backend.asarray(np.arange(12.0).reshape(4, 3), "float32"))
    assert np.all(to_numpy(out) == 0)
    assert np.all(np.isfinite(to_numpy(x.grad)))


def test_one_row_works_in_evaluation() -> None:
    assert layers.BatchNorm1d(3).eval()(np.ones((1, 3), dtype=np.float32)).shape == (1, 3)
