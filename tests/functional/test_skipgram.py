"""The loss of skip-gram against its formula, word by word, at extreme scores, and what it refuses."""

from __future__ import annotations

from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from portable_nn import Tensor, functional, gradcheck, kernels, optim
from portable_nn.backend.errors import DTypeError, ShapeError
from portable_nn.layers import Parameter, initializers
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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("outputs", range(2, 10))
def test_any_number_of_outputs(outputs: int, dtype: str, rng: np.random.Generator) -> None:
    """NumPy 2.4's `negative` is wrong in place where numbers lie 16 bytes (float32) or 64 (float64) apart."""
    host = tuple(x.astype(dtype) for x in arrays((16,), 1, 1, outputs - 1)(rng))
    np.testing.assert_allclose(functional.skipgram_loss(*host), formula(*host), rtol=1e-4 if dtype == "float32" else
                               1e-11)


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


@pytest.mark.parametrize("lead, words, contexts, negatives", [((5,), 1, 1, 4), ((3,), 4, 5, 2), ((), 3, 2, 2),
                                                              ((2, 3), 1, 2, 2), ((0,), 1, 1, 2), ((2,), 3, 0, 0),
                                                              ((1200,), 1, 1, 6), ((1200,), 1, 3, 5), ((5,), 1, 2, 3),
                                                              ((40,), 12, 9, 20)])
@pytest.mark.parametrize("generic", [False, True])
def test_rows_of_tables(lead: tuple, words: int, contexts: int, negatives: int, generic: bool, backend: Backend,
                        rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss over row-sparse tables is that over looked-up vectors, the gradients and a step of SGD too."""
    if negatives % 2 == 0 and find_spec("numba") is not None:  # compiled kernels take small tables too
        monkeypatch.setattr("portable_nn.kernels.compiled.common.LEAST", 1)
    numbers = [backend.asarray(rng.integers(0, 50, (*lead, count)), "int32") for count in (words, contexts + negatives)]
    weights = [rng.uniform(0, 2, (*lead, words, contexts)), rng.uniform(0, 2, (*lead, words))]
    tables = [rng.standard_normal((50, 37)), rng.standard_normal((50, 37))]
    floating = [backend.asarray(x, "float32") for x in (*tables, *weights)]
    g = backend.asarray(rng.standard_normal((*lead, words)), "float32")
    with kernels.disabled():
        leaves = [Tensor(x, requires_grad=True) for x in floating]
        expected = functional.skipgram_loss(functional.embedding(numbers[0], leaves[0]),
                                            functional.embedding(numbers[1], leaves[1]), *leaves[2:])
        expected.backward(g)
    with kernels.disabled(generic=True) if generic else nullcontext():
        parameters = [Parameter(x.shape, initializers.zeros) for x in tables]
        for parameter, x in zip(parameters, floating[:2], strict=True):
            parameter.data, parameter.row_sparse = x, True
        positive, negative = (Tensor(x, requires_grad=True) for x in floating[2:])
        loss = functional.sparse_skipgram_loss(*numbers, *(p.tensor for p in parameters), positive, negative)
        loss.backward(g)
        dense = [p.grad.dense() for p in parameters]
        optim.SGD(parameters, lr=0.5).step()
    backend.assert_close(loss.data, expected.data, rtol=1e-4, atol=1e-4)
    for x, leaf in zip((*dense, positive.grad, negative.grad), leaves, strict=True):
        backend.assert_close(x, leaf.grad, rtol=1e-4, atol=1e-4)
    for parameter, x, leaf in zip(parameters, floating, leaves[:2], strict=False):
        backend.assert_close(parameter.data, x - 0.5 * leaf.grad, rtol=1e-4, atol=1e-4)
    for x, table in zip(floating, tables, strict=False):  # the caller's arrays are left alone
        assert to_numpy(x).tobytes() == table.astype("float32").tobytes()


def test_rows_of_computed_tables(rng: np.random.Generator) -> None:
    """No rule takes rows further than a leaf: tables that are computed get dense gradients."""
    table = Tensor(rng.standard_normal((7, 3)), requires_grad=True)
    numbers, ones = (np.asarray([[1], [1]]), np.asarray([[2, 6], [6, 6]])), (np.ones((2, 1, 1)), np.ones((2, 1)))
    functional.sparse_skipgram_loss(*numbers, table * 1.0, table * 2.0, *ones).sum().backward()
    assert table.grad.shape == (7, 3) and np.count_nonzero(table.grad) == 9
