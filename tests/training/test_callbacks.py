"""Early stopping, functions, and the order in which callbacks are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portable_nn import layers, optim
from portable_nn.backend.errors import ArgumentError
from portable_nn.training import Callback, Checkpoint, EarlyStopping, fit
from tests.helpers import Backend
from tests.training.tasks import classes, classifier, setup, values


class Script:
    """Metrics of a script: the n-th epoch has the n-th figure; the weights it saw are kept."""

    def __init__(self, model: Any, figures: list[float]) -> None:
        self.model, self.figures, self.weights = model, figures, []

    def __call__(self, prediction: np.ndarray, target: np.ndarray) -> float:
        self.weights.append(values(self.model))
        return self.figures[len(self.weights) - 1]


def run(figures: list[float], stopping: EarlyStopping, epochs: int = 8, backend: Backend | None = None,
        more: tuple[Any, ...] = ()) -> tuple[Any, Script]:
    model = classifier(backend=backend)
    script = Script(model, figures)
    x, y = classes()
    history = fit(model, layers.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.02),
                  train=(x, y.astype(np.int32)), validation=0.2, metrics={"figure": script}, epochs=epochs,
                  callbacks=[stopping, *more], progress=False)
    return history, script


def test_it_stops_and_restores_the_best(backend: Backend) -> None:
    history, script = run([5, 3, 4, 2, 2, 9, 9, 9], EarlyStopping(2, monitor="figure"), backend=backend)
    assert len(history) == 6 and history.best_epoch == 4 and "weights of epoch 4, the best" in str(history)
    np.testing.assert_array_equal(values(script.model), script.weights[3])


def test_the_highest_is_best_where_asked() -> None:
    history, script = run([0.1, 0.5, 0.4, 0.5, 0.5], EarlyStopping(3, monitor="figure", mode="max"))
    assert len(history) == 5 and history.best_epoch == 2
    np.testing.assert_array_equal(values(script.model), script.weights[1])


def test_small_gains_do_not_count() -> None:
    history, _ = run([5, 4.9, 4.8, 4.7, 4.6], EarlyStopping(2, monitor="figure", min_delta=0.5))
    assert len(history) == 3 and history.best_epoch == 1


def test_the_best_comes_back_when_nothing_stops_or_ctrl_c_does() -> None:
    history, script = run([5, 2, 3], EarlyStopping(9, monitor="figure"), epochs=3)
    assert len(history) == 3
    np.testing.assert_array_equal(values(script.model), script.weights[1])

    def interrupt(training: Any) -> None:
        if training.epoch == 3:
            raise KeyboardInterrupt

    history, script = run([5, 2, 3, 1], EarlyStopping(9, monitor="figure"), more=(interrupt,))
    assert history.interrupted and len(history) == 3 and history.best_epoch == 2
    np.testing.assert_array_equal(values(script.model), script.weights[1])


def test_one_object_serves_two_runs() -> None:
    stopping = EarlyStopping(2, monitor="figure")
    run([1, 2, 3], stopping)
    history, script = run([7, 6, 8, 8], stopping)
    assert len(history) == 4 and history.best_epoch == 2
    np.testing.assert_array_equal(values(script.model), script.weights[1])


def test_a_metric_that_is_not_a_number_is_no_improvement() -> None:
    history, script = run([3, float("nan"), float("nan"), 1], EarlyStopping(2, monitor="figure"))
    assert len(history) == 3 and history.best_epoch == 1
    np.testing.assert_array_equal(values(script.model), script.weights[0])


def test_checkpoints_come_last(tmp_path: Path) -> None:
    order: list[str] = []

    class Named(Callback):
        def on_start(self, training: Any) -> None:
            order.append("start")

        def on_epoch_end(self, training: Any) -> None:
            order.append("epoch")

        def on_end(self, training: Any) -> None:
            order.append("end")

    class Watched(Checkpoint):
        def on_epoch_end(self, training: Any) -> None:
            order.append("checkpoint")
            super().on_epoch_end(training)

    fit(*setup(), train=classes(), epochs=2, progress=False,
        callbacks=[Watched(tmp_path / "run.safetensors"), Named()])
    assert order == ["start", "epoch", "checkpoint", "epoch", "checkpoint", "end"]


def test_bad_input() -> None:
    for options in ({"patience": 0}, {"mode": "best"}, {"patience": "long"}):
        with pytest.raises(ArgumentError, match='mode "min" or "max" and patience'):
            EarlyStopping(**options)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="min_delta of 0 or more"):
        EarlyStopping(min_delta="small")  # type: ignore[arg-type]
    for every in (0, "all"):
        with pytest.raises(ArgumentError, match="every of 1 epoch"):
            Checkpoint("run", every=every)
    for column in ("validation", "confusion_matrix"):
        with pytest.raises(ArgumentError, match="a column of numbers to monitor among"):
            fit(*setup(), train=classes(), callbacks=[EarlyStopping(monitor=column)], progress=False)
    with pytest.raises(ArgumentError, match="callbacks that are Callback objects"):
        fit(*setup(), train=classes(), callbacks=[EarlyStopping], progress=False)
