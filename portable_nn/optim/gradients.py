"""Gradients that a caller hands to `Optimizer.step`, put in the order of the parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from portable_nn.backend.errors import ArgumentError, DTypeError
from portable_nn.backend.namespace import is_array


def in_order(gradients: Any, members: list[Any]) -> list[Any]:
    """One gradient or None for each of `members`.

    Parameters
    ----------
    gradients : dict, sequence or nested tree
        A dict (nested ones have their keys joined by dots) goes by parameter name, and parameters it does not name have
        none; anything else goes by position.

    Raises
    ------
    ArgumentError
        A name is unknown or stands for two parameters, or the number of gradients is not that of the parameters.
    DTypeError
        There is something else among them than arrays and None.
    """
    if not isinstance(gradients, dict):
        found = list(map(_checked, _leaves(gradients)))
        if len(found) != len(members):
            raise ArgumentError(f"{len(members)} gradients, one per parameter", f"{len(found)}",
                                "differentiate by model.parameters(), in the order the optimiser has them")
        return found
    named = dict(_named(gradients, ""))
    names = [parameter.name for parameter in members]
    unknown = sorted(set(named) - set(names))
    if unknown:
        raise ArgumentError(f"gradients by the names {names}", f"{unknown}",
                            "use the names of model.named_parameters()")
    doubled = sorted(name for name in named if names.count(name) > 1)
    if doubled:
        raise ArgumentError("names that stand for one parameter each", f"{doubled} in two models",
                            "pass the gradients as a list, in the order of optimizer.parameters")
    return [_checked(named.get(name)) for name in names]


def _checked(gradient: Any) -> Any:
    if gradient is not None and not is_array(gradient):
        raise DTypeError("gradients that are arrays, or None", f"{gradient!r:.60}", "pass what value_and_grad returned")
    return gradient


def _leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, (list, tuple)):
        yield tree
        return
    for branch in tree:
        yield from _leaves(branch)


def _named(tree: dict, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, dict):
            yield from _named(value, name)
        else:
            yield name, value
