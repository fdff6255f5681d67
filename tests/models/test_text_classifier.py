"""The text classifier: the bag body is a product with sparse rows, and leaves entries out while it trains."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from portable_nn import array_namespace
from portable_nn.backend.errors import ArgumentError, DataError, DTypeError
from portable_nn.data import SparseRows, batches
from portable_nn.layers import CrossEntropyLoss
from portable_nn.models import TextClassifier
from portable_nn.models.bodies import BODIES
from portable_nn.optim import AdamW
from portable_nn.training import evaluate, fit, predict


@pytest.fixture
def texts(rng):
    """A CSR matrix (40, 12) with an empty row, and labels that the first columns decide."""
    dense = (rng.random((40, 12)) * (rng.random((40, 12)) < 0.4)).astype(np.float32)
    dense[7] = 0
    return sparse.csr_matrix(dense), (dense[:, :6].sum(axis=1) > dense[:, 6:].sum(axis=1)).astype(np.int64)


def on(backend, matrix):
    return SparseRows(backend.asarray(matrix.indices), backend.asarray(matrix.indptr[:-1]),
                      backend.asarray(matrix.data))


def test_the_formula(backend, texts):
    matrix, _ = texts
    model = TextClassifier(12, classes=3, width=4).initialize(1).eval()
    state = model.state_dict()
    h = np.tanh(matrix @ state["body.bag.weight"] + state["body.bias"])
    expected = h @ state["head.weight"].T + state["head.bias"]
    model.to(backend.device, xp=backend.xp)
    backend.assert_close(model(on(backend, matrix)), expected.astype(np.float32), rtol=1e-5)


def test_entries_are_left_out_in_training_alone(texts):
    matrix, _ = texts
    rows = SparseRows(matrix.indices, matrix.indptr[:-1], matrix.data)
    model = TextClassifier(12, width=4, entry_dropout=0.5).initialize(1)
    first, second = model(rows), model(rows)
    assert not np.allclose(first, second)
    model.eval()
    np.testing.assert_array_equal(model(rows), model(rows))


def test_every_parameter_gets_a_gradient(texts):
    (x, y), = batches(*texts, batch_size=40)
    model = TextClassifier(12, width=4)
    CrossEntropyLoss()(model(x), y).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    xp = array_namespace(model.body.bag.weight.data)
    assert bool(xp.any(model.body.bag.weight.grad != 0))


def test_it_learns(texts):
    matrix, labels = texts
    model = TextClassifier(12, width=8, entry_dropout=0.1)
    history = fit(model, CrossEntropyLoss(), AdamW(model.parameters(), lr=0.05), train=(matrix, labels), epochs=30,
                  batch_size=10, progress=False)
    assert history["train"][-1] < 0.5 * history["train"][0]
    assert evaluate(model, matrix, labels)["accuracy"] > 0.9
    assert predict(model, matrix).shape == (40, 2)


@pytest.mark.parametrize("body", BODIES)
def test_config_builds_the_same(body):
    model = TextClassifier(12, classes=3, body=body)
    assert repr(TextClassifier(**model.config())) == repr(model)


@pytest.mark.parametrize("options", [{"body": "ngram"}, {"classes": 0}, {"width": -1}, {"depth": 3},
                                     {"entry_dropout": 1.5}, {"activation": "no"}])
def test_what_it_refuses(options):
    with pytest.raises(ArgumentError, match="expected"):
        TextClassifier(12, **options)


def test_dense_rows_and_foreign_columns_are_named(texts):
    matrix, _ = texts
    with pytest.raises(DTypeError, match="SparseRows"):
        TextClassifier(12)(matrix)
    with pytest.raises(DataError, match="from 0 to 4"):
        predict(TextClassifier(5), matrix)
