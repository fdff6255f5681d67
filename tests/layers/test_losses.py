"""Losses at their edges."""

from __future__ import annotations

import numpy as np
import pytest

from portable_nn import layers
from portable_nn.autodiff import Tensor
from tests.helpers import Backend, to_numpy

LOSSES = [layers.CrossEntropyLoss, layers.BCEWithLogitsLoss, layers.MSELoss, layers.HalfMSELoss]


def data(loss: type, rng: np.random.Generator, rows: int = 6) -> tuple[np.ndarray, np.ndarray]:
    prediction = rng.standard_normal((rows, 3))
    target = rng.integers(0, 3, rows) if loss is layers.CrossEntropyLoss else rng.uniform(0, 1, (rows, 3))
    return prediction, target


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_are_repetitions(loss: type, rng: np.random.Generator) -> None:
    prediction, target = data(loss, rng)
    times = np.asarray([2, 1, 0, 3, 1, 1])
    repeated = loss()(np.repeat(prediction, times, axis=0), np.repeat(target, times, axis=0))
    for weight in (times, times.astype(np.float32), 7.0 * times):
        np.testing.assert_allclose(loss()(prediction, target, weight), repeated, rtol=1e-7)
    chosen = times > 0
    np.testing.assert_allclose(loss()(prediction, target, chosen), loss()(prediction[chosen], target[chosen]))


@pytest.mark.parametrize("loss", LOSSES)
def test_no_weight_at_all_is_no_loss(loss: type, rng: np.random.Generator, backend: Backend) -> None:
    prediction, target = map(backend.asarray, data(loss, rng))
    x = Tensor(prediction, requires_grad=True)
    value = loss()(x, target, backend.asarray(np.zeros(6)))
    value.backward()
    assert value.item() == 0
    assert np.all(to_numpy(x.grad) == 0)


@pytest.mark.parametrize("size", [1e4, -1e4])
@pytest.mark.parametrize("loss", LOSSES[:2])
def test_extreme_logits_have_finite_gradients(loss: type, size: float, backend: Backend) -> None:
    x = np.full((2, 3), size)
    x[0, 0] = -size
    prediction = Tensor(backend.asarray(x, dtype="float32"), requires_grad=True)
    target = backend.asarray([0, 1]) if loss is layers.CrossEntropyLoss else backend.asarray([[0, 1, 1], [1, 1, 0]])
    value = loss()(prediction, target)
    value.backward()
    assert np.isfinite(value.item())
    assert np.all(np.isfinite(to_numpy(prediction.grad)))


def test_positions_can_have_weights_of_their_own(rng: np.random.Generator) -> None:
    logits, labels, keep = rng.standard_normal((4, 5, 3)), rng.integers(0, 3, (4, 5)), rng.uniform(size=(4, 5)) > 0.5
    loss = layers.CrossEntropyLoss()
    np.testing.assert_allclose(loss(logits, labels, keep), loss(logits[keep], labels[keep]))


def test_the_value_is_a_number_of_the_predictions_dtype() -> None:
    value = layers.MSELoss()(np.ones((2, 1), dtype=np.float32), np.zeros((2, 1), dtype=np.float32))
    assert (value.shape, value.dtype, float(value)) == ((), np.float32, 1.0)
    target = Tensor(np.zeros((2, 1)), requires_grad=True)
    layers.HalfMSELoss()(Tensor(np.ones((2, 1))), target).backward()
    np.testing.assert_array_equal(target.grad, [[-0.5], [-0.5]])
