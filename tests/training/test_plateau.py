"""ReduceOnPlateau: when it acts, and that a resumed run acts alike."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from portable_nn import layers, optim, training
from portable_nn.backend.errors import ArgumentError


def rates(figures: list[float], lr: float = 1.0, **options: Any) -> list[float]:
    """The learning rate after each epoch of these figures."""
    callback = training.ReduceOnPlateau(**options)
    run = SimpleNamespace(optimizer=SimpleNamespace(groups=[{"lr": lr}]), epoch=0, history=SimpleNamespace(rows=[]))
    callback.on_start(run)
    found = []
    for figure in figures:
        run.history.rows.append({callback.monitor: figure})
        callback.on_epoch_end(run)
        found.append(run.optimizer.groups[0]["lr"])
    return found


@pytest.mark.parametrize("options", [
    {"patience": 2}, {"patience": 0, "factor": 0.5}, {"patience": 1, "cooldown": 2}, {"patience": 1, "mode": "max"},
    {"patience": 1, "min_lr": 0.05}, {"patience": 1, "threshold": 0.2}])
def test_as_pytorch(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    figures = np.random.default_rng(3).uniform(0.5, 1.5, 60) * np.linspace(2, 1, 60)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, eps=0.0, **options)
    expected = []
    for figure in figures:
        theirs.step(figure)
        expected.append(optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(rates(figures.tolist(), **options), expected, rtol=1e-12)


def test_accuracy_is_better_when_higher() -> None:
    assert rates([0.5, 0.6, 0.7], monitor="accuracy", patience=0) == [1.0] * 3
    assert rates([0.5, 0.4], monitor="accuracy", patience=0) == [1.0, 0.1]


def test_nothing_goes_up_to_the_lowest_rate() -> None:
    assert rates([1.0, 1.0, 1.0], lr=0.01, patience=0, min_lr=0.1) == [0.01] * 3


def test_resumed_is_uninterrupted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 3)).astype(np.float32), rng.standard_normal((40, 1)).astype(np.float32)

    def run(epochs: int, **more: Any) -> tuple[Any, Any]:
        model = layers.Linear(3, 1)
        reduce = training.ReduceOnPlateau(patience=1, factor=0.5, threshold=0.2)
        history = training.fit(model, layers.MSELoss(), optim.Adam(model.parameters(), lr=0.1), train=(x, y),
                               validation=0.25, callbacks=[reduce, *more.pop("callbacks", [])], epochs=epochs,
                               progress=False, **more)
        return [row["lr"] for row in history.rows], model.state_dict()

    whole, weights = run(12)
    path = tmp_path / "run.safetensors"

    def cut_off(run: Any) -> None:
        if run.epoch == 6:
            raise KeyboardInterrupt

    run(12, callbacks=[cut_off, training.Checkpoint(path)])
    resumed, same = run(12, callbacks=[lambda t: None, training.Checkpoint(path)], resume=path)
    assert resumed == whole
    assert len(set(whole)) > 2
    for name, value in weights.items():
        np.testing.assert_array_equal(same[name], value)


@pytest.mark.parametrize("options", [{"factor": 1.0}, {"mode": "up"}, {"patience": -1}, {"min_lr": -1.0}])
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        training.ReduceOnPlateau(**options)


def test_it_refuses_schedules_and_unknown_columns() -> None:
    run = SimpleNamespace(optimizer=SimpleNamespace(groups=[{"lr": optim.Cosine(0.1)}]), epoch=0)
    with pytest.raises(ArgumentError, match="a schedule"):
        training.ReduceOnPlateau().on_start(run)
    run.history = SimpleNamespace(rows=[{"train": 1.0}])
    with pytest.raises(ArgumentError, match="a column to monitor"):
        training.ReduceOnPlateau().on_epoch_end(run)
