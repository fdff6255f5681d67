"""Parameter groups: lists of parameters with hyper-parameters of their own."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Real
from typing import Any

from portable_nn.backend.errors import ArgumentError
from portable_nn.layers.parameter import Parameter


def make_groups(parameters: Iterable[Any], defaults: dict[str, Any]) -> list[dict[str, Any]]:
    """The groups of an optimiser, each with its parameters under "params" and every hyper-parameter.

    Parameters
    ----------
    parameters : iterable of Parameter, or of dicts
        `model.parameters()`, or dicts `{"params": [...], "lr": …}`.
    defaults : dict
        Hyper-parameters of groups that do not set them.

    Raises
    ------
    ArgumentError
        There is no parameter, one is there twice, something else is there, or an option is unknown.
    """
    if isinstance(parameters, Parameter) or not isinstance(parameters, Iterable):
        raise ArgumentError("a list of Parameters", f"{parameters!r:.60}", "pass model.parameters()")
    given = list(parameters)
    dicts = given if given and all(isinstance(group, dict) for group in given) else [{"params": given}]
    groups: list[dict[str, Any]] = []
    seen: set[int] = set()
    for group in dicts:
        members = list(group.get("params", ()))
        unknown = sorted(set(group) - set(defaults) - {"params"})
        if unknown:
            raise ArgumentError(f"group options among {sorted(defaults)}", f"{unknown}", "check their spelling")
        for member in members:
            _check_member(member, seen)
        groups.append({**defaults, **group, "params": members})
    if not seen:
        raise ArgumentError("parameters to optimise", "none", "pass model.parameters()")
    return groups


def check_number(group: dict[str, Any], name: str, example: str) -> None:
    """Raise ArgumentError unless a hyper-parameter is a number of 0 or more."""
    value = group[name]
    if not (isinstance(value, Real) and value >= 0):  # type: ignore[operator]
        raise ArgumentError(f"{name} of 0 or more", repr(value), f"pass {example}")


def _check_member(member: Any, seen: set[int]) -> None:
    if not isinstance(member, Parameter):
        raise ArgumentError("Parameters", f"{member!r:.60}", "pass model.parameters(), or dicts with 'params'")
    if id(member) in seen:
        raise ArgumentError("each parameter once", f"{member} twice", "put it into one group")
    seen.add(id(member))
