"""Parameter groups: lists of parameters with hyper-parameters of their own."""

from __future__ import annotations

import math
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
    given = as_list(parameters)
    dicts = given if given and all(isinstance(group, dict) for group in given) else [{"params": given}]
    groups: list[dict[str, Any]] = []
    seen: set[int] = set()
    for group in dicts:
        members = as_list(group.get("params", ()))
        unknown = sorted(set(group) - set(defaults) - {"params"})
        if unknown:
            raise ArgumentError(f"group options among {sorted(defaults)}", f"{unknown}", "check their spelling")
        for member in members:
            _check_member(member, seen)
        groups.append({**defaults, **group, "params": members})
    if not seen:
        raise ArgumentError("parameters to optimise", "none", "pass model.parameters()")
    return groups


def as_list(parameters: Any) -> list[Any]:
    """The parameters one by one; ArgumentError where it is a single one, a model or the like."""
    if isinstance(parameters, Parameter) or not isinstance(parameters, Iterable):
        raise ArgumentError("a list of Parameters", f"{parameters!r:.60}", "pass model.parameters()")
    return list(parameters)


def check_number(group: dict[str, Any], name: str, example: str) -> None:
    """Raise ArgumentError unless a hyper-parameter is a finite number of 0 or more."""
    value = group[name]
    if not (isinstance(value, Real) and 0 <= value < math.inf):  # type: ignore[operator]
        raise ArgumentError(f"{name} of 0 or more", repr(value), f"pass {example}")


def check_parameter(member: Any) -> None:
    """Raise ArgumentError unless it is a Parameter."""
    if not isinstance(member, Parameter):
        raise ArgumentError("Parameters", f"{member!r:.60}", "pass model.parameters(), or dicts with 'params'")


def check_betas(group: dict[str, Any]) -> None:
    """Raise ArgumentError unless a group's betas are two numbers from 0 up to but not including 1."""
    betas = group["betas"]
    if not (isinstance(betas, (tuple, list)) and len(betas) == 2
            and all(isinstance(beta, Real) and 0 <= beta < 1 for beta in betas)):  # type: ignore[operator]
        raise ArgumentError("two betas from 0 up to but not including 1", f"{betas!r}", "pass (0.9, 0.999)")


def _check_member(member: Any, seen: set[int]) -> None:
    check_parameter(member)
    if id(member) in seen:
        raise ArgumentError("each parameter once", f"{member} twice", "put it into one group")
    seen.add(id(member))
