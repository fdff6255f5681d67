"""Checkpoints: a training run in one safetensors file, arrays by name and the rest as JSON in its header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from portable_nn.backend.devices import to_numpy
from portable_nn.backend.errors import FileError
from portable_nn.data.files import read_arrays, write_arrays

if TYPE_CHECKING:
    from portable_nn.training.loop import Training

_KIND = "portable_nn checkpoint 1"


def write_checkpoint(path: str | Path, training: Training) -> None:
    """Write the model, the optimiser, the callbacks, the history and the random position."""
    arrays = {f"model.{name}": to_numpy(x) for name, x in training.model.state_dict().items()}
    optimizer = training.optimizer.state_dict()
    for number, state in optimizer["state"].items():
        arrays.update({f"optimizer.{number}.{name}": to_numpy(x) for name, x in state.items() if name != "step"})
    callbacks = []
    for number, callback in enumerate(training.callbacks):
        state = dict(callback.state_dict())
        arrays.update({f"callback.{number}.{name}": np.asarray(x) for name, x in state.pop("arrays", {}).items()})
        callbacks.append(state)
    facts = {
        "epoch": training.epoch, "history": training.history.rows, "seed": training.seed, "callbacks": callbacks,
        "model": {"seed": training.model._seed, "step": training.model._step},
        "optimizer": {"kind": type(training.optimizer).__name__, "steps": optimizer["steps"],
                      "step": {number: state["step"] for number, state in optimizer["state"].items()}},
        "stop": training.stop,
    }
    write_arrays(path, arrays, {"kind": _KIND, "state": json.dumps(facts)})


def read_checkpoint(path: str | Path, training: Training) -> None:
    """Put a training run where `write_checkpoint` left it.

    Raises
    ------
    FileError
        The file is missing, damaged, no checkpoint, or of another optimiser or seed.
    """
    arrays, metadata = read_arrays(path)
    if metadata.get("kind") != _KIND:
        raise FileError(f"a checkpoint in {path}", "another safetensors file", "pass the file that Checkpoint wrote")
    facts = json.loads(metadata["state"])
    kind = type(training.optimizer).__name__
    if facts["optimizer"]["kind"] != kind or facts["seed"] != training.seed or len(facts["callbacks"]) != len(training.callbacks):
        raise FileError(f"a checkpoint of {kind}, seed {training.seed} and {len(training.callbacks)} callbacks",
                        f"{facts['optimizer']['kind']}, seed {facts['seed']} and {len(facts['callbacks'])} callbacks",
                        "resume with the arguments of the first run")
    training.model.load_state_dict(_part(arrays, "model."))
    training.model.__dict__.update(_seed=facts["model"]["seed"], _step=facts["model"]["step"])
    state: dict[int, dict[str, Any]] = {
        int(number): {"step": step, **_part(arrays, f"optimizer.{number}.")}
        for number, step in facts["optimizer"]["step"].items()}
    current = training.optimizer.state_dict()
    training.optimizer.load_state_dict({**current, "state": state, "steps": facts["optimizer"]["steps"]})
    for number, (callback, saved) in enumerate(zip(training.callbacks, facts["callbacks"], strict=True)):
        callback.load_state_dict({**saved, "arrays": _part(arrays, f"callback.{number}.")})
    training.epoch, training.history.rows, training.stop = facts["epoch"], facts["history"], facts["stop"]


def _part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}
