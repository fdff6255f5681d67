"""`fit`: what it does in order, and that it puts everything back."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from portable_nn import data, layers, optim
from portable_nn.autodiff import Tensor
from portable_nn.backend.errors import ArgumentError
from portable_nn.training import fit
from tests.helpers import Backend
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
