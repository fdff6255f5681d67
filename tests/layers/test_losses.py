"""Losses at their edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portable_nn import layers
from portable_nn.autodiff import Tensor
from tests.helpers import Backend, to_numpy

LOSSES = [layers.CrossEntropyLoss, layers.BCEWithLogitsLoss, layers.MSELoss, layers.HalfMSELoss, layers.L1Loss,
          layers.HuberLoss, layers.QuantileLoss]


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


def test_the_numbers_of_a_first_lesson(backend: Backend) -> None:
    p, t = (backend.asarray(np.asarray(x), "float32") for x in ([0.1, 0.9, 0.8], [0.0, 1.0, 1.0]))
    np.testing.assert_allclose(to_numpy(layers.BCELoss()(p, t)), 0.1446, atol=5e-5)
    np.testing.assert_allclose(to_numpy(layers.HalfMSELoss()(p, t)), 0.0100, atol=5e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sure_probabilities(dtype: str, backend: Backend) -> None:
    """Sure and right is 0, sure and wrong 100, with finite gradients that point the right way."""
    x = Tensor(backend.asarray(np.asarray([1.0, 0.0, 1.0, 0.0]), dtype), requires_grad=True)
    losses = layers.BCELoss("none")(x, backend.asarray([1, 0, 0, 1]))
    np.testing.assert_array_equal(to_numpy(losses), [0, 0, 100, 100])
    losses.sum().backward()
    g = to_numpy(x.grad)
    assert np.all(np.isfinite(g))
    assert g[2] > 1e11 and g[3] < -1e11 and abs(g[0]) <= 1 and abs(g[1]) <= 1


@pytest.mark.parametrize("loss", [layers.CrossEntropyLoss, layers.NLLLoss])
def test_everything_ignored_is_no_loss(loss: type, backend: Backend) -> None:
    x = Tensor(backend.asarray(np.zeros((3, 2)), "float32"), requires_grad=True)
    value = loss()(x, backend.asarray([-100, -100, -100]))
    value.backward()
    assert value.item() == 0
    assert np.all(to_numpy(x.grad) == 0)


def test_ignored_rows_are_as_if_left_out(rng: np.random.Generator) -> None:
    x, t, w = rng.standard_normal((6, 3)), rng.integers(0, 3, 6), rng.uniform(0.5, 2, 6)
    keep = np.asarray([True, False, True, True, False, True])
    loss = layers.CrossEntropyLoss([1.0, 2.0, 0.5], label_smoothing=0.1).to(dtype="float64")
    np.testing.assert_allclose(loss(x, np.where(keep, t, -100), w), loss(x[keep], t[keep], w[keep]), rtol=1e-12)
    unsigned = np.where(keep, t, 255).astype(np.uint8)
    np.testing.assert_allclose(layers.CrossEntropyLoss(ignore_index=255)(x, unsigned),
                               layers.CrossEntropyLoss()(x[keep], t[keep]), rtol=1e-12)
    np.testing.assert_allclose(layers.CrossEntropyLoss()(x, t.astype(np.uint8)), layers.CrossEntropyLoss()(x, t))


@given(st.floats(0.05, 0.95), st.integers(0, 1000))
def test_the_quantile_loss_is_least_at_the_quantile(q: float, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(37)
    loss = layers.QuantileLoss(q)
    at = [float(loss(np.full(37, v), values)) for v in np.sort(values)]
    best = np.sort(values)[int(np.argmin(at))]
    assert np.mean(values < best) <= q + 1e-9 and np.mean(values <= best) >= q - 1e-9
