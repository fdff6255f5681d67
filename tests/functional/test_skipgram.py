"""The loss of skip-gram against its formula, word by word, at extreme scores, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portable_nn import Tensor, functional, gradcheck, kernels
from portable_nn.backend.errors import DTypeError, ShapeError
from tests.functional.cases_skipgram import arrays
from tests.helpers import Backend, to_numpy


def formula(words: Any, outputs: Any, positive: Any, negative: Any) -> np.ndarray:
    """-Σ p log σ(w · o) - q Σ log σ(-w · o), one product at a time."""
    losses = np.zeros(negative.shape)
    contexts = positive.shape[-1]
    for g, c in np.ndindex(negative.shape):
        for m, output in enumerate(outputs[g]):
            score = float(words[g, c] @ output)
            if m < contexts:
                losses[g, c] += positive[g, c, m] * np.log1p(np.exp(-score))
            else:
                losses[g, c] += negative[g, c] * np.log1p(np.exp(score))
    return losses


def test_formula(backend: Backend, rng: np.random.Generator) -> None:
    host = tuple(to_numpy(backend.asarray(x)).astype(float) for x in arrays((3,), 4, 5, 2)(rng))
    expected = formula(*host)
    tolerance = 1e-12 if backend.has_float64 else 1e-5
    backend.assert_close(functional.skipgram_loss(*map(backend.asarray, host)), expected, rtol=tolerance)
    with kernels.disabled():
        backend.assert_close(functional.skipgram_loss(*map(backend.asarray, host)), expected, rtol=tolerance)


def test_gradient(backend: Backend, rng: np.random.Generator) -> None:
    if not backend.has_float64:
        pytest.skip("differences need float64")
    assert gradcheck(functional.skipgram_loss, tuple(map(backend.asarray, arrays((2,), 3, 4, 2)(rng))), order=2)


@pytest.mark.parametrize("score", [1e4, -1e4])
def test_extreme_scores(backend: Backend, score: float) -> None:
    words = Tensor(backend.asarray(np.full((1, 1, 1), score), "float32"), requires_grad=True)
    others = [backend.asarray(np.ones(shape), "float32") for shape in ((1, 2, 1), (1, 1, 1), (1, 1))]
    loss = functional.skipgram_loss(words, *others)
    loss.sum().backward()
    np.testing.assert_allclose(to_numpy(loss), [[1e4]])
    np.testing.assert_allclose(to_numpy(words.grad), [[[np.sign(score)]]])


@pytest.mark.parametrize("shapes", [
    ((2, 3), (5, 4), (2, 2), (2,)), ((2, 3), (1, 3), (2, 2), (2,)), ((2, 3), (5, 3), (3, 2), (2,)),
    ((2, 3), (5, 3), (2, 2), (3,)), ((1, 2, 3), (5, 3), (1, 2, 2), (1, 2)), ((3,), (5, 3), (2,), ()),
])
def test_shapes_that_do_not_fit(backend: Backend, shapes: tuple) -> None:
    with pytest.raises(ShapeError, match="behind the contexts"):
        functional.skipgram_loss(*(backend.asarray(np.ones(shape)) for shape in shapes))


def test_dtypes_that_do_not_fit(backend: Backend) -> None:
    floating = [backend.asarray(np.ones(shape)) for shape in ((2, 3), (5, 3), (2, 2))]
    with pytest.raises(DTypeError):
        functional.skipgram_loss(*floating, backend.asarray(np.ones(2, dtype=int)))
