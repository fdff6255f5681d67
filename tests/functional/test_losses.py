"""Losses against their formulas, at extreme logits, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special

from portable_nn import Tensor, functional, kernels
from portable_nn.backend.errors import DataError, DTypeError, ShapeError
from tests.helpers import Backend, to_numpy


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint16", "uint64"])
def test_cross_entropy(backend: Backend, dtype: str, rng: np.random.Generator) -> None:
    logits, target = backend.asarray(rng.standard_normal((2, 3, 4))), rng.integers(0, 4, (2, 3))
    weight = backend.asarray(rng.uniform(1, 2, 4))
    try:
        labels = backend.asarray(target.astype(dtype))
    except KeyError:
        pytest.skip(f"{backend} has no {dtype}")
    log_p = scipy.special.log_softmax(to_numpy(logits).astype(float), axis=-1)
    expected = -np.take_along_axis(log_p, target[..., None], axis=-1)[..., 0]
    rtol = 1e-12 if backend.has_float64 else 1e-5
    backend.assert_close(functional.cross_entropy(logits, labels), expected, rtol=rtol)
    weighted = functional.cross_entropy(logits, labels, weight)
    backend.assert_close(weighted, expected * to_numpy(weight).astype(float)[target], rtol=rtol)


@pytest.mark.parametrize("forced", [{}, {"generic": True}, None])
@pytest.mark.parametrize(("label", "message"), [(4, "labels from 0 to 3; got labels 4"), (-1, "got labels -1")])
def test_labels_out_of_range(backend: Backend, forced: Any, label: int, message: str) -> None:
    if backend.name == "cupy":
        pytest.skip("labels on a GPU are not looked at")
    logits, target = backend.asarray(np.zeros((2, 4))), backend.asarray(np.asarray([0, label]))
    for x in (logits, Tensor(logits, requires_grad=True)):
        with pytest.raises(DataError, match=message):
            if forced is None:
                functional.cross_entropy(x, target)
            else:
                with kernels.disabled(**forced):
                    functional.cross_entropy(x, target)


@pytest.mark.parametrize("rows", [[[1e4, -1e4, 0]], [[5, 5, 5]], [[-1e4, -1e4, 1e4], [0, 1e4, 0]], np.zeros((0, 3)),
                                  [[3.0]]])
def test_cross_entropy_extremes(backend: Backend, rows: Any) -> None:
    x = Tensor(backend.asarray(np.asarray(rows, dtype="float32")), requires_grad=True)
    target = backend.asarray(np.zeros(x.shape[0], dtype="int64"))
    losses = functional.cross_entropy(x, target)
    losses.backward(backend.asarray(np.ones(x.shape[0], dtype="float32")))
    assert np.all(np.isfinite(to_numpy(losses)))
    assert np.all(np.isfinite(to_numpy(x.grad)))


@pytest.mark.parametrize(("logits", "target", "weight", "error"), [
    (np.ones((2, 3)), np.ones(3, dtype=int), None, ShapeError),
    (np.ones((2, 0)), np.ones(2, dtype=int), None, ShapeError),
    (np.ones((2, 3)), np.ones(2, dtype=int), np.ones(2), ShapeError),
    (np.ones((2, 3)), np.ones(2), None, DTypeError),
    (np.ones((2, 3), dtype=int), np.ones(2, dtype=int), None, DTypeError),
])
def test_cross_entropy_refuses(backend: Backend, logits: Any, target: Any, weight: Any, error: Any) -> None:
    arrays = [None if a is None else backend.asarray(a) for a in (logits, target, weight)]
    with pytest.raises(error):
        functional.cross_entropy(*arrays)


def test_binary_cross_entropy(backend: Backend, rng: np.random.Generator) -> None:
    x, z = 3 * rng.standard_normal((4, 5)), rng.uniform(0, 1, (4, 5))
    p = scipy.special.expit(x)
    expected = -z * np.log(p) - (1 - z) * np.log(1 - p)
    got = functional.binary_cross_entropy_with_logits(backend.asarray(x, "float32"), backend.asarray(z, "float32"))
    backend.assert_close(got, expected.astype("float32"), rtol=1e-5)


def test_binary_cross_entropy_extremes(backend: Backend) -> None:
    x = Tensor(backend.asarray(np.asarray([1e4, -1e4, 0], dtype="float32")), requires_grad=True)
    losses = functional.binary_cross_entropy_with_logits(x, backend.asarray(np.asarray([0, 0, 1], dtype="float32")))
    losses.backward(backend.asarray(np.ones(3, dtype="float32")))
    np.testing.assert_allclose(to_numpy(losses), [1e4, 0, np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(to_numpy(x.grad), [1, 0, -0.5], atol=1e-6)


@pytest.mark.parametrize("name", ["binary_cross_entropy_with_logits", "squared_error"])
def test_pairs_refuse(backend: Backend, name: str) -> None:
    function = getattr(functional, name)
    with pytest.raises(ShapeError, match="one shape"):
        function(backend.asarray(np.ones((3, 1))), backend.asarray(np.ones(3)))
    with pytest.raises(DTypeError, match="astype"):
        function(backend.asarray(np.ones(3)), backend.asarray(np.ones(3, dtype=int)))


def test_squared_error(backend: Backend) -> None:
    x, y = backend.asarray(np.asarray([1.0, 4.0])), backend.asarray(np.asarray([3.0, 3.0]))
    backend.assert_close(functional.squared_error(x, y), np.asarray([4.0, 1.0]))


def test_labels_of_another_byte_order(rng: np.random.Generator) -> None:
    logits, labels = rng.normal(size=(5, 4)), rng.integers(0, 4, 5)
    expected = functional.cross_entropy(logits, labels)
    np.testing.assert_array_equal(functional.cross_entropy(logits, labels.astype(">i4")), expected)
