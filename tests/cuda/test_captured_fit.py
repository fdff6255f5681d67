"""`fit(capture=True)` gives what `fit` gives, to the last bit, with everything that may happen in a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portable_nn import NonFiniteError, optim, training
from portable_nn.layers import CrossEntropyLoss
from portable_nn.training import loop
from tests.cuda.steps import Model, assert_same, everything, recordable_products


@pytest.fixture
def device(gpu: Any) -> Iterator[str]:
    with recordable_products():
        yield "cuda:0"


def data(rows: int = 45) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 5, rows)
    return (rng.normal(size=(rows, 3)) + y[:, None]).astype(np.float32), y


def run(device: str, *, capture: bool, seed: int = 2, lr: Any = 0.05,
        **options: Any) -> tuple[list[dict], dict[str, Any]]:
    model = Model().to(device)
    optimizer = optim.AdamW(model.parameters(), lr=lr, clip_norm=1.0)
    options = {"train": data(), "validation": 0.2, "metrics": ["accuracy"], "epochs": 6, "batch_size": 8, **options}
    history = training.fit(model, CrossEntropyLoss(), optimizer, seed=seed, capture=capture, progress=False, **options)
    rows = [{name: x for name, x in row.items() if name != "seconds"} for row in history]
    return rows, everything(model, optimizer)


def weighted() -> tuple[np.ndarray, ...]:
    x, y = data()
    return x, y, np.random.default_rng(2).random(len(y)).astype(np.float32)


CASES: dict[str, Any] = {
    "plain": dict,
    "schedule": lambda: {"lr": optim.Warmup(optim.Cosine(0.05), 4)},
    "accumulated": lambda: {"accumulate": 3},
    "weighted": lambda: {"train": weighted(), "accumulate": 2},
    "plateau": lambda: {"callbacks": [training.ReduceOnPlateau(patience=0, factor=0.3, threshold=0.5)]},
    "early stopping": lambda: {"callbacks": [training.EarlyStopping(patience=1, min_delta=0.2)], "epochs": 12},
}


@pytest.mark.parametrize("case", CASES)
def test_as_without_capture(device: str, case: str) -> None:
    eager, captured_run = (run(device, capture=capture, **CASES[case]()) for capture in (False, True))
    assert eager[0] == captured_run[0]
    assert_same(eager[1], captured_run[1])


def test_steps_are_recorded(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    original = loop.captured
    monkeypatch.setattr(loop, "captured", lambda update: made.append(original(update)) or made[-1])
    run(device, capture=True)
    assert [step.recorded for step in made] == [2, 1]  # whole batches, and the last one of an epoch; validation


def test_a_resumed_run(device: str, tmp_path: Path) -> None:
    whole = run(device, capture=False)
    path = tmp_path / "run.safetensors"
    run(device, capture=True, epochs=3, callbacks=[training.Checkpoint(path)])
    resumed = run(device, capture=True, resume=path, callbacks=[training.Checkpoint(path)])
    assert whole[0] == resumed[0]
    assert_same(whole[1], resumed[1])


def test_the_first_bad_step_is_named(device: str) -> None:
    x, y = data()
    x = np.concatenate([x] * 4)
    x[100] = 3e38  # finite, and infinite once squared
    messages = []
    for capture in (False, True):
        with pytest.raises(NonFiniteError) as error:
            run(device, capture=capture, train=(x, np.concatenate([y] * 4)), validation=None, metrics=())
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert "at step" in messages[0]


def test_on_the_cpu_it_changes_nothing() -> None:
    first, second = (run("cpu", capture=capture) for capture in (False, True))
    assert first[0] == second[0]
    assert_same(first[1], second[1])


@pytest.mark.parametrize("precision", ["tf32", "bfloat16", "float16"])
def test_precisions(device: str, precision: str, tmp_path: Path) -> None:
    """They are accepted, captured or not; float16 scales the loss, also in a resumed run."""
    eager, captured_run = (run(device, capture=capture, precision=precision) for capture in (False, True))
    assert eager[0] == captured_run[0]
    assert_same(eager[1], captured_run[1])
    path = tmp_path / "run.safetensors"
    run(device, capture=True, precision=precision, epochs=3, callbacks=[training.Checkpoint(path)])
    resumed = run(device, capture=True, precision=precision, resume=path, callbacks=[training.Checkpoint(path)])
    assert eager[0] == resumed[0]
    assert_same(eager[1], resumed[1])


def test_the_scale_of_the_loss_is_kept(device: str, tmp_path: Path) -> None:
    found = []

    def look(now: training.Training) -> None:
        if now.epoch == 6:
            found.append(now.optimizer.loss_scaler.state())

    path = tmp_path / "run.safetensors"
    run(device, capture=False, precision="float16", callbacks=[look])
    run(device, capture=True, precision="float16", epochs=3, callbacks=[look, training.Checkpoint(path)])
    run(device, capture=True, precision="float16", resume=path, callbacks=[look, training.Checkpoint(path)])
    assert found[0] == found[1] and found[0][1] > 0
