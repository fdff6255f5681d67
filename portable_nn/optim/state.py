"""An optimiser's state: step counts and moments by parameter number, as PyTorch's state dicts have them."""

from __future__ import annotations

from typing import Any

from portable_nn.backend.errors import DataError
from portable_nn.backend.namespace import is_array


def per_parameter(optimizer: Any) -> dict[int, dict[str, Any]]:
    """Parameter number -> its step count and copies of its moments; parameters never updated are left out."""
    optimizer._settle()
    if optimizer._runs is None:
        return dict(optimizer._waiting)
    found = {number: {"step": run.steps[i], **{name: run.moment(name, i) for name in run.moment_names}}
             for run, _, numbers in optimizer._runs for i, number in enumerate(numbers) if run.steps[i]}
    return dict(sorted(found.items()))


def state_dict(optimizer: Any) -> dict[str, Any]:
    """Everything that `load_state_dict` needs."""
    groups, start = [], 0
    for group in optimizer.groups:
        stop = start + len(group["params"])
        groups.append({**{k: v for k, v in group.items() if k != "params"}, "params": list(range(start, stop))})
        start = stop
    return {"state": per_parameter(optimizer), "param_groups": groups, "steps": optimizer.steps,
            "total_steps": optimizer.total_steps}


def load_state_dict(optimizer: Any, state: dict[str, Any]) -> None:
    """Check the state against the optimiser's parameters, then keep it for the next step."""
    _check_kinds(state)
    own, other = ([len(g["params"]) for g in groups] for groups in (optimizer.groups, state["param_groups"]))
    if own != other:
        raise DataError(f"the state of groups of {own} parameters", f"groups of {other}",
                        "build the optimiser over the same model, with the same groups")
    options = [{**group, **{k: v for k, v in saved.items() if k in group and k != "params"}}
               for group, saved in zip(optimizer.groups, state["param_groups"], strict=True)]
    waiting = {}
    start = 0
    for group in options:
        optimizer.check_options(group)
        for number, parameter in enumerate(group["params"], start):
            if number in state["state"]:
                waiting[number] = _checked(state["state"][number], parameter, number, optimizer.moments(group))
        start += len(group["params"])
    for group, new in zip(optimizer.groups, options, strict=True):
        group.update(new)
    optimizer.steps = int(state.get("steps", max((s["step"] for s in waiting.values()), default=0)))
    optimizer.total_steps = state.get("total_steps")
    optimizer._runs, optimizer._waiting = None, waiting


def _check_kinds(state: Any) -> None:
    """Require the nesting of a state dict, whatever its values."""
    right = isinstance(state, dict) and isinstance(state.get("state"), dict) \
        and isinstance(state.get("param_groups"), (list, tuple)) \
        and all(isinstance(saved, dict) for saved in state["state"].values()) \
        and all(isinstance(group, dict) and isinstance(group.get("params"), (list, tuple))
                for group in state["param_groups"])
    if not right:
        raise DataError("a state dict of an optimiser", f"{state!r:.60}", "pass what optimizer.state_dict() returned")


def _checked(saved: dict[str, Any], parameter: Any, number: int, moments: tuple[str, ...]) -> dict[str, Any]:
    missing = [name for name in ("step", *moments) if name not in saved]
    missing += [f"array {name}" for name in moments if name in saved and not is_array(saved[name])]
    wrong = [f"{name} of shape {tuple(saved[name].shape)}" for name in moments
             if is_array(saved.get(name)) and tuple(saved[name].shape) != parameter.shape]
    if missing or wrong:
        raise DataError(f"the state of parameter {number}, {parameter}",
                        "; ".join([*(f"no {name}" for name in missing), *wrong]),
                        "load the state of the same optimiser over the same model")
    return {"step": int(saved["step"]), **{name: saved[name] for name in moments}}
