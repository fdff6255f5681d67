"""Killed and resumed equals uninterrupted, bit for bit; and checkpoints that do not fit say so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portable_nn import optim
from portable_nn.backend.errors import ArgumentError, DataError, FileError
from portable_nn.data.files import read_arrays, write_arrays
from portable_nn.training import Callback, Checkpoint, EarlyStopping, fit
from tests.training.tasks import classes, setup, values

ROOT = Path(__file__).parents[2]
#: Dropout, a schedule with warm-up, accumulation, clipping, early stopping, a share for validation.
RUN = """
import signal, sys, time
import numpy as np
from portable_nn import optim
from portable_nn.data.files import write_arrays
from portable_nn.training import Checkpoint, EarlyStopping, fit
from tests.training.tasks import classes, setup

path, result, mode = sys.argv[1:]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored

def loss(prediction, target, weight=None):
    calls.append(1)
    if mode == "killed" and len(calls) == 27:  # seven batches and one for validation in each epoch
        print("in the middle of epoch 4", flush=True)
        time.sleep(60)
    return inner(prediction, target, weight)

calls = []
model, inner, _ = setup(0.3)
optimizer = optim.AdamW(model.parameters(), lr=optim.Warmup(optim.Cosine(0.05), 5), clip_norm=0.5)
history = fit(model, loss, optimizer, train=classes(), validation=0.2, metrics=["accuracy"], epochs=9, batch_size=7,
              seed=3, accumulate=3, callbacks=[Checkpoint(path), EarlyStopping(4, monitor="accuracy")], progress=False,
              resume=path if mode == "resumed" else None)
figures = [[row[name] for name in ("epoch", "train", "validation", "accuracy", "lr")] for row in history]
write_arrays(result, {**model.state_dict(), "history": np.asarray(figures),
                      "best": np.asarray(history.best_epoch), "steps": np.asarray(optimizer.steps)})
"""


def start(tmp_path: Path, mode: str) -> subprocess.Popen[str]:
    """A training run in a process of its own."""
    arguments = [sys.executable, "-c", RUN, str(tmp_path / ("whole" if mode == "whole" else "run")),
                 str(tmp_path / f"{mode}.result"), mode]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(arguments, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE)


def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole, killed = start(tmp_path, "whole"), start(tmp_path, "killed")
    assert killed.stdout is not None
    assert "in the middle of epoch 4" in killed.stdout.readline()
    killed.kill()  # SIGKILL: nothing is cleaned up
    killed.communicate()
    resumed = start(tmp_path, "resumed")
    for process in (whole, resumed):
        process.communicate(timeout=60)
        assert process.returncode == 0
    expected, _ = read_arrays(tmp_path / "whole.result")
    found, _ = read_arrays(tmp_path / "resumed.result")
    assert expected.keys() == found.keys() and len(expected["history"]) > 4
    for name, x in expected.items():
        np.testing.assert_array_equal(found[name], x, err_msg=name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["resumed.result", "run", "whole", "whole.result"]


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT to a process of its own")
def test_ctrl_c_in_a_real_process(tmp_path: Path) -> None:
    process = start(tmp_path, "killed")
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 0
    found, _ = read_arrays(tmp_path / "killed.result")
    assert len(found["history"]) == 3


class Counter(Callback):
    """A callback with a state of its own."""

    def __init__(self) -> None:
        self.epochs, self.sums = 0, np.zeros(2)

    def on_epoch_end(self, training: Any) -> None:
        self.epochs += 1
        self.sums = self.sums + [training.history.rows[-1]["train"], 1]

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs, "arrays": {"sums": self.sums}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epochs, self.sums = state["epochs"], state["arrays"]["sums"]


class Stop(Callback):
    def __init__(self, at: int) -> None:
        self.at = at

    def on_epoch_end(self, training: Any) -> None:
        if training.epoch == 2:  # what a callback changes is kept too
            training.optimizer.groups[0]["lr"] *= 0.3
        if training.epoch == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
@pytest.mark.parametrize("every", [1, 2])
def test_in_one_process(kind: str, every: int, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    results = []
    for stop in (99, 4):
        def run(stop: int = stop, resume: Any = None) -> Any:
            model, loss, _ = setup(0.3)
            counter = Counter()
            options = {"momentum": 0.9} if kind == "SGD" else {}
            optimizer = getattr(optim, kind)(model.parameters(), lr=0.02, **options)
            history = fit(model, loss, optimizer, train=classes(), epochs=6, batch_size=16, progress=False,
                          callbacks=[Checkpoint(path, every), counter, Stop(stop)], resume=resume)
            return values(model), history["train"], counter.epochs, counter.sums.tolist(), history["lr"]
        found = run()
        results.append(run(99, path) if stop == 4 else found)
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1:] == results[1][1:] and results[0][2] == 6


def test_more_epochs_after_the_end(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    long, first, second = setup(0.3), setup(0.3), setup(0.3)
    options = {"train": classes(), "progress": False}
    fit(*long, epochs=5, callbacks=[Checkpoint(tmp_path / "other")], **options)
    fit(*first, epochs=3, callbacks=[Checkpoint(path, every=2)], **options)
    history = fit(*second, epochs=5, callbacks=[Checkpoint(path)], resume=path, **options)
    assert len(history) == 5
    np.testing.assert_array_equal(values(long[0]), values(second[0]))


def test_a_run_that_had_stopped_stays_stopped(tmp_path: Path) -> None:
    path = tmp_path / "run"
    given = setup(lr=0.0)
    first = fit(*given, train=classes(), validation=0.2, epochs=9, callbacks=[Checkpoint(path, 5), EarlyStopping(1)],
                progress=False)
    again = fit(*setup(lr=0.0), train=classes(), validation=0.2, epochs=9, resume=path, progress=False,
                callbacks=[Checkpoint(path, 5), EarlyStopping(1)])
    assert len(first) == 2 and again.rows == first.rows and again.best_epoch == 1


def damage(path: Path, **changes: Any) -> None:
    arrays, metadata = read_arrays(path)
    facts = {**json.loads(metadata["state"]), **changes}
    write_arrays(path, arrays, {**metadata, "state": json.dumps({k: v for k, v in facts.items() if v is not None})})


def test_bad_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "run"
    fit(*setup(), train=classes(), epochs=1, callbacks=[Checkpoint(path)], progress=False)

    def resume(error: type[Exception], words: str, given: Any = None, **arguments: Any) -> None:
        given = given or setup()
        before = values(given[0].initialize(9))
        with pytest.raises(error, match=words):
            fit(*given, **{"train": classes(), "resume": path, "callbacks": [Checkpoint(path)], "progress": False,
                           **arguments})
        np.testing.assert_array_equal(values(given[0]), before)

    resume(FileError, "seed=1; got seed=0", seed=1)
    resume(FileError, "accumulate=2; got accumulate=1", accumulate=2)
    resume(FileError, r"callbacks=\['EarlyStopping', 'Checkpoint'\]", callbacks=[EarlyStopping(), Checkpoint(path)])
    model, loss, _ = setup()
    resume(FileError, "optimizer=SGD; got optimizer=AdamW", (model, loss, optim.SGD(model.parameters())))
    resume(FileError, "none there", resume=tmp_path / "nothing")
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    resume(FileError, "damaged")
    path.write_bytes(content)
    optimizer = json.loads(read_arrays(path)[1]["state"])["optimizer"]
    for lie in ({"epoch": None}, {"epoch": "1"}, {"epoch": -1}, {"epoch": 2}, {"history": 1}, {"history": [3]},
                {"callbacks": 3}, {"callbacks": [3]}, {"random_position": 3}, {"random_position": [0]},
                {"random_position": [0, "1"]}, {"run": 3}, {"run": [1]}, {"optimizer": 3},
                {"optimizer": {**optimizer, "steps": "3"}}, {"optimizer": {**optimizer, "groups": []}},
                {"optimizer": {**optimizer, "step": {"0": -1}}}):
        damage(path, **lie)
        resume(FileError, "a whole checkpoint")
        path.write_bytes(content)
    damage(path, callbacks=[])
    resume(FileError, "states of the callbacks")
    path.write_bytes(content)
    arrays, metadata = read_arrays(path)
    write_arrays(path, {name: x for name, x in arrays.items() if name != "model.0.weight"}, metadata)
    resume(DataError, "missing.*0.weight")
    write_arrays(path, {name: x for name, x in arrays.items() if name != "optimizer.1.exp_avg"}, metadata)
    resume(DataError, "no exp_avg")
    write_arrays(path, arrays)
    resume(FileError, "another safetensors file")


def test_metrics_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="numbers, strings, lists and dicts"):
        fit(*setup(), train=classes(), validation=0.2, metrics={"odd": lambda p, t: {1, 2}}, progress=False,
            callbacks=[Checkpoint(tmp_path / "run")])
    assert list(tmp_path.iterdir()) == []
    fit(*setup(), train=classes(), validation=0.2, progress=False, callbacks=[Checkpoint(tmp_path / "run")],
        metrics={"count": lambda p, t: np.int64(len(t)), "curve": lambda p, t: np.arange(3.0)})
