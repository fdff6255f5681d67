"""dropout: the key decides, the same on every backend, and the mean stays."""

from __future__ import annotations

import numpy as np
import pytest

from portable_nn import Tensor, functional, kernels
from portable_nn.backend import Stream
from portable_nn.backend.errors import ArgumentError, DTypeError
from portable_nn.backend.random import keep_mask
from tests.helpers import Backend, to_numpy

STREAM = Stream(1, "layers.2", step=7)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.3])
def test_mask_and_scale(backend: Backend, p: float, rng: np.random.Generator) -> None:
    x = rng.standard_normal((13, 9)).astype("float32")
    mask, share = keep_mask(STREAM, x.shape, p, xp=np, device="cpu")
    backend.assert_close(functional.dropout(backend.asarray(x), p=p, stream=STREAM), x * mask * np.float32(1 / share))


def test_gradient_has_the_same_mask(backend: Backend) -> None:
    x = Tensor(backend.asarray(np.ones((40, 5), dtype="float32")), requires_grad=True)
    for context in (kernels.disabled(), kernels.disabled(generic=True)):
        out = functional.dropout(x, p=0.4, stream=STREAM)
        x.grad = None
        out.backward(backend.asarray(np.ones((40, 5), dtype="float32")))
        np.testing.assert_array_equal(to_numpy(x.grad), to_numpy(out))
        with context:
            np.testing.assert_array_equal(to_numpy(functional.dropout(x, p=0.4, stream=STREAM)), to_numpy(out))


def test_no_and_full_dropout(backend: Backend) -> None:
    x = backend.asarray(np.asarray([1.0, np.inf, 3.0]))
    assert functional.dropout(x, p=0, stream=STREAM) is x
    backend.assert_close(functional.dropout(x, p=1, stream=STREAM), np.zeros(3))


def test_streams_differ() -> None:
    x = np.ones(1000)
    first, second = (functional.dropout(x, p=0.5, stream=STREAM._replace(step=step)) for step in (1, 2))
    assert 300 < np.sum(first != second) < 700


@pytest.mark.parametrize("p", [-0.1, 1.5, 1e-6, float("nan")])
def test_bad_probability(p: float) -> None:
    with pytest.raises(ArgumentError):
        functional.dropout(np.ones(3), p=p, stream=STREAM)


def test_integers_are_refused(backend: Backend) -> None:
    with pytest.raises(DTypeError, match="astype"):
        functional.dropout(backend.asarray(np.arange(3)), p=0.5, stream=STREAM)
