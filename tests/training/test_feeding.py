"""What `fit` takes as data, and what a row counts for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from portable_nn import data, layers, optim
from portable_nn.backend.errors import DataError
from portable_nn.training import fit
from tests.helpers import to_numpy
from tests.training.tasks import classes, setup, values


class Sparse(layers.Module):
    def __init__(self) -> None:
        self.bag = layers.EmbeddingBag(6, 3, mode="sum")

    def forward(self, rows: Any) -> Any:
        return self.bag(rows.indices, rows.offsets, rows.values)


class Two(layers.Module):
    def __init__(self) -> None:
        self.first, self.second = layers.Linear(3, 3), layers.Linear(2, 3)

    def forward(self, parts: Any) -> Any:
        return self.first(parts[0]) + self.second(parts[1])


def test_sparse_rows_are_the_dense_ones(rng: np.random.Generator) -> None:
    x = sparse.random(40, 6, density=0.4, format="csr", random_state=0)
    y = rng.integers(0, 3, 40)
    bag, dense = Sparse().initialize(0), layers.Linear(6, 3, bias=False)
    dense.weight.data = to_numpy(bag.bag.weight.data).T.copy()
    losses = []
    for model, inputs in ((bag, x), (dense, x.toarray())):
        history = fit(model, layers.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.5), train=(inputs, y),
                      validation=("last", 0.25), batch_size=7, epochs=3, progress=False)
        losses.append([history["train"], history["validation"]])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_tuples_windows_and_iterables(rng: np.random.Generator) -> None:
    x, y = (rng.normal(size=(30, 3)), rng.normal(size=(30, 2)).astype("float32")), rng.integers(0, 3, 30)
    model = Two()
    history = fit(model, layers.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), train=(x, y),
                  validation=(x, y), batch_size=8, epochs=2, progress=False)
    assert len(history) == 2 and history["validation"][1] < history["validation"][0]

    windows = data.windows(rng.normal(size=(50, 2)), context=5, horizon=3)
    inputs, targets = windows.as_rows()
    model = layers.Sequential(layers.Flatten(), layers.Linear(int(np.prod(inputs.shape[1:])),
                                                              int(np.prod(targets.shape[1:]))))
    loss = lambda p, t, w=None: layers.MSELoss()(p, flat(t), w)  # noqa: E731
    history = fit(model, loss, optim.SGD(model.parameters(), lr=0.01), train=windows, validation=("last", 0.2),
                  epochs=2, progress=False)
    assert history["train"][1] < history["train"][0]

    x, y = classes()
    batches = data.batches(x, y, batch_size=16, seed=3)
    one, two = setup(), setup()
    first = fit(*one, train=(x, y), batch_size=16, seed=3, epochs=3, progress=False)
    second = fit(*two, train=batches, seed=3, epochs=3, progress=False)
    assert first["train"] == second["train"]
    np.testing.assert_array_equal(values(one[0]), values(two[0]))

    chunks = [(x[i:i + 20], y[i:i + 20]) for i in range(0, 60, 20)]
    assert len(fit(*setup(), train=chunks, validation=chunks, epochs=2, progress=False)) == 2


def flat(t: Any) -> Any:
    return t.reshape(t.shape[0], -1)


def test_the_loss_is_weighted_by_rows() -> None:
    """The last batch is short: the epoch's loss is the mean over rows, not over batches."""
    x, y = classes(10)
    model, loss, _ = setup()
    model.initialize(0)
    expected = float(loss(model(x.astype("float32")), y))
    history = fit(model, loss, optim.SGD(model.parameters(), lr=0.0), train=(x, y), validation=(x[:7], y[:7]),
                  batch_size=4, progress=False)
    assert history["train"][0] == pytest.approx(expected, rel=1e-6)
    assert history["validation"][0] == pytest.approx(float(loss(model(x[:7].astype("float32")), y[:7])), rel=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_accumulated_batches_are_one_batch(weighted: bool, rng: np.random.Generator) -> None:
    x, y = classes(50)
    train = (x, y, rng.integers(0, 3, 50)) if weighted else (x, y)
    runs = []
    for batch_size, accumulate in ((24, 1), (8, 3), (12, 2)):
        given = setup(dtype="float64")
        history = fit(*given, train=train, batch_size=batch_size, accumulate=accumulate, epochs=3, progress=False)
        runs.append((history["train"], values(given[0]), given[2].steps))
    for losses, weights, steps in runs[1:]:
        np.testing.assert_allclose(losses, runs[0][0], rtol=1e-12)
        np.testing.assert_allclose(weights, runs[0][1], rtol=1e-11)
        assert steps == runs[0][2] == 9


def test_sample_weights_count_rows() -> None:
    """A row of weight 2 is a row given twice, in the loss, in the update and in the history."""
    x, y = classes(12)
    once, twice = setup(dtype="float64"), setup(dtype="float64")
    weight = np.where(np.arange(12) < 4, 2.0, 1.0)
    first = fit(*once, train=(x, y, weight), validation=(x, y, weight), batch_size=12, epochs=3, progress=False)
    doubled = (np.concatenate([x, x[:4]]), np.concatenate([y, y[:4]]))
    second = fit(*twice, train=doubled, validation=doubled, batch_size=16, epochs=3, progress=False)
    for column in ("train", "validation"):
        np.testing.assert_allclose(first[column], second[column], rtol=1e-12)
    short = fit(*setup(dtype="float64"), train=(x, y, weight), batch_size=5, progress=False)
    assert np.isfinite(short["train"][0])


def test_weights_of_zero_leave_rows_out() -> None:
    x, y = classes(12)
    given, fewer = setup(dtype="float64"), setup(dtype="float64")
    fit(*given, train=(x, y, np.arange(12) < 8), batch_size=12, epochs=2, progress=False)
    fit(*fewer, train=(x[:8], y[:8]), batch_size=12, epochs=2, progress=False)
    np.testing.assert_allclose(values(given[0]), values(fewer[0]), rtol=1e-12)
    history = fit(*setup(), train=(x, y, np.zeros(12)), batch_size=4, accumulate=2, progress=False)
    assert history["train"] == [0.0]


def test_validation_shares() -> None:
    """A share is the same rows as given by hand, and in time order the last ones."""
    x, y = classes(50)
    seen: list[Any] = []

    def keep(prediction: np.ndarray, target: np.ndarray) -> int:
        seen.append(target)
        return len(target)

    history = fit(*setup(), train=(x, y), validation=0.1, metrics={"rows": keep}, progress=False)
    assert history["rows"] == [5]
    fit(*setup(), train=(x, y), validation=("last", 0.2), metrics={"rows": keep}, progress=False)
    np.testing.assert_array_equal(seen[1], y[40:])
    by_hand, by_share = setup(), setup()
    fit(*by_hand, train=(x[:40], y[:40]), validation=(x[40:], y[40:]), epochs=2, progress=False)
    fit(*by_share, train=(x, y), validation=("last", 0.2), epochs=2, progress=False)
    np.testing.assert_array_equal(values(by_hand[0]), values(by_share[0]))


@pytest.mark.parametrize("validation", [0.3, ("last", 0.3)])
def test_rows_held_out_are_not_trained_on(validation: Any) -> None:
    trained, held_out = [], []

    def loss(prediction: Any, target: Any) -> Any:
        (trained if prediction.requires_grad else held_out).extend(to_numpy(target)[:, 0])
        return (prediction * 0).sum()

    model = layers.Linear(2, 1)
    fit(model, loss, optim.SGD(model.parameters()), train=(np.ones((40, 2)), np.arange(40.0)[:, None]),
        validation=validation, batch_size=7, progress=False)
    assert len(held_out) == 12 and sorted(trained + held_out) == list(range(40))


def test_validation_is_without_dropout() -> None:
    x, y = classes()
    model, loss, _ = setup(0.5)
    history = fit(model, loss, optim.SGD(model.parameters(), lr=0.0), train=(x, y), validation=(x, y), progress=False)
    expected = float(loss(model.eval()(x.astype("float32")), y))
    assert history["validation"][0] == pytest.approx(expected, rel=1e-6)
    assert history["train"][0] != pytest.approx(expected, rel=1e-3)


def test_batches_that_run_out() -> None:
    with pytest.raises(DataError, match="none in epoch 2"):
        fit(*setup(), train=iter([classes()]), epochs=2, progress=False)
