"""Embeddings: padding, integer dtypes, and sparse rows as a matrix product."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from portable_nn import data, layers
from portable_nn.autodiff import Tensor
from portable_nn.backend.errors import ArgumentError
from tests.helpers import Backend, assert_close, to_numpy


def test_the_padding_row_starts_at_zero_and_gets_no_gradient(backend: Backend) -> None:
    layer = layers.Embedding(5, 3, padding_idx=0).to(backend.device, xp=backend.xp).initialize(1)
    indices = Tensor(backend.asarray([[0, 2], [2, 0]]))
    out = layer(indices)
    out.sum().backward()
    np.testing.assert_array_equal(to_numpy(layer.weight.grad), np.outer([0, 0, 2, 0, 0], [1, 1, 1]))
    assert np.all(to_numpy(out)[0, 0] == 0)
    assert np.all(to_numpy(out)[0, 1] != 0)
    assert layers.Embedding(5, 3, padding_idx=np.int64(-1)).padding_idx == 4


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "int16"])
def test_any_integers_are_indices(dtype: str, backend: Backend) -> None:
    indices = backend.asarray([[1, 2], [4, 0]], dtype=dtype)
    for layer in (layers.Embedding(200, 3), layers.EmbeddingBag(200, 3)):
        layer.to(backend.device, xp=backend.xp).initialize(1)
        expected = to_numpy(layer.weight.data)[[[1, 2], [4, 0]]]
        expected = expected if isinstance(layer, layers.Embedding) else expected.mean(axis=1)
        assert_close(layer(indices), expected, rtol=1e-6)


def test_batches_of_a_sparse_matrix_are_bags(rng: np.random.Generator) -> None:
    dense = rng.standard_normal((7, 5)) * (rng.uniform(size=(7, 5)) < 0.4)
    matrix = sparse.csr_matrix(dense.astype(np.float32))
    layer = layers.EmbeddingBag(5, 3, mode="sum").initialize(1)
    labels = np.arange(7)
    for rows, numbers in data.batches(matrix, labels, batch_size=3, shuffle=False):
        out = layer(rows)
        assert out.requires_grad
        np.testing.assert_allclose(out.numpy(), matrix[numbers.numpy()] @ layer.weight.data, rtol=1e-5, atol=1e-6)
    with pytest.raises(ArgumentError, match="mean"):
        layers.EmbeddingBag(5, 3)(rows)


@pytest.mark.parametrize("kind", ["plain", "no dropout", "no positions", "padding", "waves", "vector"])
def test_positions_and_dropout_at_once(kind: str, rng: np.random.Generator) -> None:
    """What the layers give one after the other, gradients included."""
    class Front(layers.Module):
        def __init__(self, at_once: bool) -> None:
            self.at_once = at_once
            self.tokens = layers.Embedding(9, 6, padding_idx=2 if kind == "padding" else None)
            self.positions = layers.PositionalEncoding(6) if kind == "waves" else layers.LearnedPositions(8, 6)
            self.dropout = layers.Dropout(0.4)

        def forward(self, words: Any, scale: Any) -> Any:
            positions = None if kind in ("no positions", "vector") else self.positions
            dropout = None if kind == "no dropout" else self.dropout
            if self.at_once:
                return self.tokens(words, positions, dropout) * scale
            x = self.tokens(words)
            x = x if positions is None else positions(x)
            return (x if dropout is None else dropout(x)) * scale

    words = rng.integers(0, 9, (5,) if kind == "vector" else (3, 5))
    found = []
    for at_once in (False, True):
        model = Front(at_once).initialize(1).to(dtype="float64")
        out = model(words, Tensor(np.asarray(2.0)))
        (out**2).sum().backward()
        found.append([out.numpy(), *(p.grad for p in model.parameters())])
        summary = str(layers.summary(model.train(), words, np.asarray(2.0)))
        assert ("not called" in summary) == (kind in ("no dropout", "no positions", "vector"))
    for got, wanted in zip(found[1], found[0], strict=True):
        assert (got is None) == (wanted is None)
        if wanted is not None:
            np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)
