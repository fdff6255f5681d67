"""Checkpoints: a training run in one safetensors file, arrays by name and the rest as JSON in its header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from portable_nn.backend.devices import to_numpy
from portable_nn.backend.errors import ArgumentError, FileError, PortableNNError
from portable_nn.data.files import read_arrays, write_arrays
from portable_nn.training.run import Training

_KIND = "portable_nn checkpoint 1"


def write_checkpoint(path: str | Path, training: Training) -> None:
    """Write the model, the optimiser, the callbacks, the history and the random position.

    Raises
    ------
    ArgumentError
        The history or a callback's state holds something that is neither a number, a string, a list nor a dict.
    """
    arrays = {f"model.{name}": to_numpy(x) for name, x in training.model.state_dict().items()}
    optimizer = training.optimizer.state_dict()
    for number, state in optimizer["state"].items():
        arrays.update({f"optimizer.{number}.{name}": to_numpy(x) for name, x in state.items() if name != "step"})
    callbacks = []
    for number, callback in enumerate(training.callbacks):
        state = dict(callback.state_dict())
        arrays.update({f"callback.{number}.{name}": np.asarray(x) for name, x in state.pop("arrays", {}).items()})
        callbacks.append(state)
    scaler = training.optimizer.loss_scaler
    facts = {
        "run": _identity(training), "epoch": training.epoch, "stop": training.stop, "history": training.history.rows,
        "loss_scale": None if scaler is None else scaler.state(),
        "callbacks": callbacks, "random_position": training.model.random_position,
        "optimizer": {"steps": optimizer["steps"],
                      "groups": [_numbers(group) for group in optimizer["param_groups"]],
                      "step": {number: state["step"] for number, state in optimizer["state"].items()}},
    }
    write_arrays(path, arrays, {"kind": _KIND, "state": json.dumps(facts, default=_refuse)})


def read_checkpoint(path: str | Path, training: Training) -> None:
    """Put a training run where `write_checkpoint` left it.

    Raises
    ------
    FileError
        The file is missing, damaged, no checkpoint, or of a run with other settings.
    DataError
        It is of another model.
    """
    arrays, metadata = read_arrays(path)
    if metadata.get("kind") != _KIND:
        raise FileError(f"a checkpoint in {path}", "another safetensors file", "pass the file that Checkpoint wrote")
    try:
        facts = json.loads(metadata["state"])
        _check_kinds(facts)
        saved, groups, steps = facts["run"], facts["optimizer"]["groups"], facts["optimizer"]["step"]
        state = {int(number): {"step": step, **_part(arrays, f"optimizer.{number}.")} for number, step in steps.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"a whole checkpoint in {path}", f"{error!r}", "start without resume=") from error
    own = _identity(training)
    other = [name for name in own if saved.get(name) != own[name]]
    if other:
        raise FileError(f"a checkpoint of a run with {', '.join(f'{name}={own[name]}' for name in other)}",
                        ", ".join(f"{name}={saved.get(name)}" for name in other),
                        "resume with the first run's arguments")
    try:
        for number, (callback, kept) in enumerate(zip(training.callbacks, facts["callbacks"], strict=True)):
            callback.load_state_dict({**kept, "arrays": _part(arrays, f"callback.{number}.")})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"the states of the callbacks in {path}", f"{error!r}", "start without resume=") from error
    current = training.optimizer.state_dict()
    training.optimizer.load_state_dict({
        **current, "state": state, "steps": facts["optimizer"]["steps"],
        "param_groups": [{**group, **numbers} for group, numbers in zip(current["param_groups"], groups, strict=True)]})
    try:
        training.model.load_state_dict(_part(arrays, "model."))
    except PortableNNError:
        training.optimizer.load_state_dict(current)
        raise
    training.model.random_position = tuple(facts["random_position"])
    training.loss_scale = facts.get("loss_scale")
    training.epoch, training.stop, training.history.rows = facts["epoch"], bool(facts["stop"]), facts["history"]


def _check_kinds(facts: dict[str, Any]) -> None:
    """Raise TypeError unless what the header says is nested as `write_checkpoint` writes it."""
    optimizer, scale = facts["optimizer"], facts.get("loss_scale")
    counts = [facts["epoch"], optimizer["steps"], *facts["random_position"], *optimizer["step"].values()]
    dicts = [facts["run"], *facts["history"], *facts["callbacks"], *optimizer["groups"]]
    if (not all(type(count) is int and 0 <= count < 2**64 for count in counts) or len(facts["random_position"]) != 2
            or not all(isinstance(part, dict) for part in dicts) or not isinstance(facts["history"], list)
            or len(facts["history"]) != facts["epoch"]
            or len(optimizer["groups"]) != facts["run"].get("groups")
            or not (scale is None or (len(scale) == 2 and all(isinstance(x, float) and x >= 0 for x in scale)))):
        raise TypeError("a header of other kinds or lengths")


def _identity(training: Training) -> dict[str, Any]:
    """What a resumed run must share with the first one."""
    return {"optimizer": type(training.optimizer).__name__, "groups": len(training.optimizer.groups),
            "callbacks": [type(callback).__name__ for callback in training.callbacks], **training.settings}


def _numbers(group: dict[str, Any]) -> dict[str, Any]:
    """The options of a group that a callback may have changed; schedules are functions of the step."""
    return {name: value for name, value in group.items() if isinstance(value, (int, float))}


def _refuse(value: Any) -> Any:
    raise ArgumentError("numbers, strings, lists and dicts in the history and in callbacks' states", f"{value!r:.60}",
                        "let metrics return numbers")


def _part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}
