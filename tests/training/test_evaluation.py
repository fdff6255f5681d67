"""`predict` and `evaluate`: batches, modes, devices, and two threads at one model."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from scipy import sparse

import portable_nn as pnn
from portable_nn import data, layers
from portable_nn.autodiff import Tensor
from portable_nn.backend.errors import ArgumentError, DataError, DTypeError, PortableNNError, ShapeError
from portable_nn.training import evaluate, predict
from tests.helpers import Backend
from tests.training.tasks import classes, classifier


def test_batches_give_what_the_whole_gives(backend: Backend) -> None:
    x, _ = classes()
    model = classifier(0.5, backend).initialize(0)
    given = backend.asarray(x, backend.float_dtype)
    model.eval()
    expected = model(given)
    model.train()
    for batch_size in (1, 7, 60, 1000):
        backend.assert_close(predict(model, given, batch_size=batch_size), expected)
    assert model.training and model[2].training


def test_outputs_come_back_to_where_the_input_was(backend: Backend) -> None:
    """NumPy data through a model elsewhere, and back; cast to the model's dtype on the way."""
    x, y = classes()
    model = classifier(backend=backend).initialize(0)
    out = predict(model, x)
    assert type(out) is np.ndarray and out.shape == (60, 3)
    reference = predict(classifier(dtype=out.dtype.name).initialize(0), x)
    np.testing.assert_allclose(out, reference, rtol=1e-4, atol=1e-6)
    assert evaluate(model, x, y.astype(np.int32)) == evaluate(model, backend.asarray(x), backend.asarray(y))
    given = Tensor(backend.asarray(x))
    assert type(predict(model, given)) is type(given.data)


def test_a_model_here_and_data_elsewhere(backend: Backend) -> None:
    x, _ = classes()
    model = classifier().initialize(0)
    out = predict(model, backend.asarray(x))
    assert out.device == backend.device and type(out) is type(backend.asarray(x))


def test_sparse_rows_windows_and_nested_outputs(rng: np.random.Generator) -> None:
    class Bag(layers.Module):
        def __init__(self) -> None:
            self.bag = layers.EmbeddingBag(6, 3, mode="sum")

        def forward(self, rows: Any) -> Any:
            out = self.bag(rows.indices, rows.offsets, rows.values)
            return {"bag": out, "pair": (out * 2, out * 3)}

    x = sparse.random(11, 6, density=0.4, format="csr", random_state=0)
    out = predict(Bag().initialize(0), x, batch_size=4)
    assert out["bag"].shape == (11, 3) and np.array_equal(out["pair"][1], out["bag"] * 3)

    windows = data.windows(rng.normal(size=(30, 2)), context=4, horizon=2)
    targets = windows.as_rows()[1]
    model = layers.Sequential(layers.Flatten(), layers.Linear(8, 4)).initialize(0)
    out = predict(model, windows, batch_size=5)
    assert out.shape[0] == len(windows)
    found = evaluate(layers.Sequential(model, Shape(targets.shape[1:])), windows)
    assert found["mse"] == pytest.approx(np.mean((out.reshape(targets.shape) - targets) ** 2))


class Shape(layers.Module):
    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, x: Any) -> Any:
        return pnn.array_namespace(x).reshape(x, (-1, *self.shape))


def test_modes_come_back_after_an_error() -> None:
    model = classifier(0.5).initialize(0)
    model[2].eval()
    with pytest.raises(ShapeError):
        predict(model, np.zeros((3, 5)))
    assert model.training and not model[2].training


def test_nothing_is_recorded_or_counted() -> None:
    model = classifier(0.5).initialize(0)
    before = model.random_position
    predict(model, Tensor(classes()[0], requires_grad=True))
    assert model.random_position == before and all(p.grad is None for p in model.parameters())


X, Y = classes()
BAD_X = X.copy()
BAD_X[5, 2] = np.nan
BAD = [
    (lambda m: evaluate(m, X, Y[1:]), ShapeError, "number of rows"),
    (lambda m: evaluate(m, X), ArgumentError, "targets to score against"),
    (lambda m: evaluate(m, X, Y, metrics=["acuracy"]), ArgumentError, "metrics among"),
    (lambda m: evaluate(m, X, Y.astype(float)), ShapeError, "reshape them; they are never|Reshape them"),
    (lambda m: evaluate(m, X, np.stack([Y, Y], axis=1)), ShapeError, "labels of shape"),
    (lambda m: evaluate(m, X, Y + 1), DataError, "labels from 0 to 2; got labels 3"),
    (lambda m: evaluate(m, X, np.where(Y == 0, -1, Y), metrics=["accuracy"]), DataError, "got labels -1"),
    (lambda m: evaluate(m, X, Y + 0.5, metrics=["f1"]), DataError, "whole numbers"),
    (lambda m: evaluate(m, X, Y.astype(str)), DTypeError, "targets that are numbers"),
    (lambda m: evaluate(m, BAD_X, Y), DataError, "nan in x at row 5, column 2"),
    (lambda m: evaluate(m, X, BAD_X[:, 1:]), DataError, "nan in y at row 5, column 1"),
    (lambda m: predict(m, BAD_X), DataError, "nan in x at row 5, column 2"),
    (lambda m: predict(m, sparse.csr_array(BAD_X)), DataError, "nan in x at row 5, column 2"),
    (lambda m: predict(X, m), DTypeError, "a model that is a Module"),
    (lambda m: predict(m, X[:0]), DataError, "at least one row"),
    (lambda m: predict(m, X[:, :2]), ShapeError, "4"),
    (lambda m: predict(m, X.tolist()), PortableNNError, "list"),
    (lambda m: predict(m, "text"), DTypeError, "str"),
    (lambda m: predict(m, X, batch_size=0), ArgumentError, "batch_size"),
    (lambda m: predict(m, sparse.coo_array(X)), DTypeError, "CSR"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(classifier().initialize(0))


def test_two_threads_share_one_model() -> None:
    """In training mode, with dropout: neither sees the other's modes, and they come back at the end."""
    x = np.random.default_rng(0).normal(size=(400, 4))
    model = classifier(0.5).initialize(0)
    expected = predict(model, x)
    wrong: list[Any] = []

    def work(batch_size: int) -> None:
        for _ in range(6):
            if not np.allclose(predict(model, x, batch_size=batch_size), expected, rtol=1e-5):
                wrong.append(batch_size)

    threads = [threading.Thread(target=work, args=(size,)) for size in (3, 5, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and model.training and model[2].training


def test_two_threads_draw_the_values_once() -> None:
    """The first call of a model that has none yet, from two threads at once."""
    x = classes()[0]
    for seed in range(10):
        model = layers.Sequential(*(layers.Linear(4, 4) for _ in range(6)))
        found: list[Any] = [None, None]
        barrier = threading.Barrier(2, timeout=20)

        def work(number: int, model: Any = model, found: Any = found, barrier: Any = barrier) -> None:
            barrier.wait()
            found[number] = predict(model, x)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        np.testing.assert_array_equal(*found), seed
