"""`fit`: what it takes, what it counts, and that it puts everything back."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from portable_nn import data, functional, layers, optim
from portable_nn.autodiff import Tensor
from portable_nn.backend.errors import (
    ArgumentError,
    DataError,
    DTypeError,
    FileError,
    GradientError,
    PortableNNError,
    ShapeError,
)
from portable_nn.training import fit
from tests.helpers import Backend, to_numpy
from tests.training.tasks import classes, classifier, setup, values


def test_it_learns_on_every_backend(backend: Backend) -> None:
    x, y = classes()
    model = classifier(0.1, backend)
    history = fit(model, layers.CrossEntropyLoss(), optim.AdamW(model.parameters(), lr=0.05),
                  train=(backend.asarray(x, backend.float_dtype), backend.asarray(y)), validation=0.2,
                  metrics=["accuracy"], batch_size=16, epochs=8, progress=False)
    assert history["train"][-1] < 0.5 * history["train"][0] and history["accuracy"][-1] > 0.6
    for parameter in model.parameters():
        assert type(parameter.data) is type(backend.asarray(x)) and parameter.data.device == backend.device


def test_host_data_moves_to_the_model_and_gives_the_same_run(backend: Backend) -> None:
    """The same draws and order on every backend: losses agree with NumPy's to rounding."""
    x, y = classes()
    y = y.astype(np.int32)  # a device without 64-bit numbers takes no int64
    losses = []
    for where in (None, backend):
        model = classifier(0.5, where, dtype="float64")
        history = fit(model, layers.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), train=(x, y),
                      validation=0.25, batch_size=16, epochs=3, seed=7, progress=False)
        losses.append([history["train"], history["validation"]])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5 if len(backend.float_dtypes) < 2 else 1e-12)


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
    loss = lambda p, t, w=None: layers.MSELoss()(p, functional_flat(t), w)  # noqa: E731
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


def functional_flat(t: Any) -> Any:
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


def test_same_seed_same_run_other_seed_other_run() -> None:
    x, y = classes()
    runs = []
    for seed in (1, 1, 2):
        given = setup(0.3)
        fit(*given, train=(x, y), epochs=2, seed=seed, progress=False)
        runs.append(values(given[0]))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_schedules_run_over_the_whole_training() -> None:
    x, y = classes()
    model, loss, optimizer = setup(lr=optim.Cosine(0.1))
    history = fit(model, loss, optimizer, train=(x, y), batch_size=20, accumulate=2, epochs=4, progress=False)
    assert optimizer.total_steps == optimizer.steps == 8 and history["lr"][-1] == 0.0
    np.testing.assert_allclose(history["lr"], [0.05 * (1 + np.cos(np.pi * k / 4)) for k in (1, 2, 3, 4)], atol=1e-17)
    assert fit(model, loss, optimizer, train=(x, y), batch_size=20, epochs=1, progress=False)["lr"] == [0.0]
    with pytest.raises(ArgumentError, match="a number of steps for the cosine"):
        fit(model, loss, optimizer, train=iter([(x, y)]), progress=False)


def test_functions_as_callbacks_and_stop() -> None:
    x, y = classes()
    epochs: list[int] = []

    def watch(training: Any) -> None:
        epochs.append(training.epoch)
        training.stop = training.epoch == 2

    history = fit(*setup(), train=(x, y), epochs=5, callbacks=[watch], progress=False)
    assert epochs == [1, 2] and len(history) == 2


def test_no_epochs() -> None:
    model, loss, optimizer = setup()
    assert len(fit(model, loss, optimizer, train=classes(), epochs=0, progress=False)) == 0
    assert model.is_initialized


def test_a_seed_draws_what_is_missing_and_leaves_the_rest() -> None:
    x, y = classes()
    model, loss, _ = setup()
    model[0].weight.data = np.ones((8, 4), dtype=np.float32)
    fit(model, loss, optim.SGD(model.parameters(), lr=0.0), train=(x, y), seed=5, progress=False)
    np.testing.assert_array_equal(model[0].weight.data, 1)
    np.testing.assert_array_equal(model[3].weight.data, classifier().initialize(5)[3].weight.data)


def test_the_collector_rests_during_a_step_alone() -> None:
    x, y = classes()
    seen: list[tuple[str, bool]] = []

    def loss(prediction: Any, target: Any, weight: Any = None) -> Any:
        seen.append(("step", gc.isenabled()))
        return layers.CrossEntropyLoss()(prediction, target, weight)

    class Stream:
        def __iter__(self) -> Any:
            for i in range(3):
                seen.append(("data", gc.isenabled()))
                yield x[i * 20:i * 20 + 20], y[i * 20:i * 20 + 20]

    model, _, optimizer = setup()
    fit(model, loss, optimizer, train=Stream(), progress=False)
    assert gc.isenabled() and seen == [("data", True), ("step", False)] * 3
    gc.disable()
    try:
        fit(model, loss, optimizer, train=Stream(), progress=False)
        assert not gc.isenabled()
    finally:
        gc.enable()


class Failing(layers.Module):
    """Fails at its n-th training call."""

    def __init__(self, at: int, error: BaseException) -> None:
        self.inner, self.at, self.error = layers.Linear(4, 3), at, error
        self.calls = 0

    def forward(self, x: Any) -> Any:
        self.__dict__["calls"] += self.training
        if self.calls == self.at:
            raise self.error
        return self.inner(x)


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_modes_collector_and_gradients_come_back(error: BaseException) -> None:
    model = Failing(5, error)
    model.inner.eval()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    run = lambda: fit(model, layers.CrossEntropyLoss(), optimizer, train=classes(), batch_size=20,  # noqa: E731
                      accumulate=2, epochs=4, progress=False)
    if isinstance(error, KeyboardInterrupt):
        history = run()
        assert len(history) == 1 and history.interrupted and "interrupted" in str(history)
    else:
        with pytest.raises(ValueError, match="mine"):
            run()
    assert gc.isenabled() and model.training and not model.inner.training
    assert all(p.grad is None for p in model.parameters())


X, Y = classes()
BAD = [
    ({"train": (X, Y[:-1])}, ShapeError, "number of rows"),
    ({"train": (X[:0], Y[:0])}, DataError, "at least one row"),
    ({"train": (X.tolist(), Y)}, PortableNNError, "list"),
    ({"train": []}, DataError, "at least one batch"),
    ({"train": [X]}, DTypeError, r"batches that are \(x, y\)"),
    ({"train": 3}, DTypeError, "an iterable of batches"),
    ({"train": (X[:, :3], Y)}, ShapeError, "4"),
    ({"train": (X, Y + 1)}, DataError, "label"),
    ({"train": (X, Y.astype(np.float64))}, DTypeError, "integer"),
    ({"train": (X, Y), "batch_size": 0}, ArgumentError, "batch_size"),
    ({"train": (X, Y), "epochs": -1}, ArgumentError, "epochs as a whole number"),
    ({"train": (X, Y), "epochs": 1.5}, ArgumentError, "epochs as a whole number"),
    ({"train": (X, Y), "accumulate": 0}, ArgumentError, "accumulate as a whole number"),
    ({"train": (X, Y), "seed": -1}, ArgumentError, "seed an integer"),
    ({"train": (X, Y), "validation": 1.5}, ArgumentError, "share between 0 and 1"),
    ({"train": (X, Y), "validation": ("last", 0.0)}, ArgumentError, "share between 0 and 1"),
    ({"train": (X, Y), "validation": 0.001}, DataError, "rows for training and for validation"),
    ({"train": [(X, Y)], "validation": 0.1}, ArgumentError, "arrays to take a share of"),
    ({"train": (X, Y), "validation": (X, Y[1:])}, ShapeError, "number of rows"),
    ({"train": (X, Y), "metrics": ["accuracy"]}, ArgumentError, "validation data to compute metrics on"),
    ({"train": (X, Y), "validation": 0.1, "metrics": ["acuracy"]}, ArgumentError, "metrics among"),
    ({"train": (X, Y), "callbacks": [3]}, ArgumentError, "callbacks that are"),
    ({"train": (X, Y), "callbacks": print}, ArgumentError, "a list of callbacks"),
    ({"train": (X, Y), "resume": "nowhere.safetensors"}, FileError, "nowhere"),
    ({"train": (X, Y, Y[:, None] * np.ones(2))}, ShapeError, "sample_weight of shape"),
]


@pytest.mark.parametrize(("arguments", "error", "words"), BAD)
def test_bad_input(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    given = setup()
    before = values(given[0].initialize(3))
    with pytest.raises(error, match=words):
        fit(*given, **{"progress": False, "batch_size": 32, **arguments})
    np.testing.assert_array_equal(values(given[0]), before)
    assert gc.isenabled() and given[0].training


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_values_in_the_data(value: float) -> None:
    x, y = classes()
    x[17, 2] = value
    for arguments in ({"train": (x, y)}, {"train": classes(), "validation": (x, y)}):
        with pytest.raises(DataError, match="row 17, column 2"):
            fit(*setup(), **arguments, progress=False)


def test_bad_losses_and_optimizers() -> None:
    x, y = classes()
    model, loss, optimizer = setup()
    with pytest.raises(ArgumentError, match="an optimiser over the model's parameters"):
        fit(classifier(), loss, optimizer, train=(x, y), progress=False)
    with pytest.raises(DTypeError, match="a loss that is a Tensor"):
        fit(model, lambda p, t: 0.5, optimizer, train=(x, y), progress=False)
    with pytest.raises(ShapeError, match="a loss of one number"):
        fit(model, lambda p, t: functional.cross_entropy(p, t), optimizer, train=(x, y), progress=False)
    with pytest.raises(GradientError):
        fit(model.freeze(), loss, optimizer, train=(x, y), progress=False)


def test_batches_that_run_out() -> None:
    with pytest.raises(DataError, match="none in epoch 2"):
        fit(*setup(), train=iter([classes()]), epochs=2, progress=False)


def test_by_hand_as_in_fit() -> None:
    """The loop a user writes takes the same steps."""
    x, y = classes()
    one, (model, criterion, optimizer) = setup(), setup()
    fit(*one, train=(x, y), batch_size=16, epochs=2, seed=4, progress=False)
    model.initialize(4)
    for epoch in range(2):
        for a, b in data.batches(x, y, batch_size=16, seed=4, epoch=epoch):
            assert isinstance(a, Tensor)
            loss = criterion(model(a), b)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    np.testing.assert_array_equal(values(one[0]), values(model))
