"""Gradients that `Optimizer.step` is given: put in the order of the parameters, and checked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from portable_nn.autodiff.row_sparse import RowSparse, Unwritten
from portable_nn.backend.devices import native_device
from portable_nn.backend.errors import ArgumentError, DeviceError, DTypeError, NonFiniteError, ShapeError
from portable_nn.backend.namespace import array_namespace, is_array


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
    if gradient is not None and not is_array(gradient) and not isinstance(gradient, RowSparse):
        raise DTypeError("gradients that are arrays, or None", f"{gradient!r:.60}", "pass what value_and_grad returned")
    return gradient


def check_gradient(parameter: Any, gradient: Any, *, takes_rows: bool = False) -> None:
    """Raise unless `gradient` is of its parameter's shape, library, device and dtype, and dense unless rows will do."""
    data = parameter.data
    if isinstance(gradient, RowSparse) and not takes_rows:
        raise ArgumentError(f"a dense gradient for {parameter}, of which this optimiser updates every row",
                            "a row-sparse one", "use SparseAdam, or SGD without momentum and weight decay, or build "
                            "the layer with sparse=False")
    if tuple(gradient.shape) != parameter.shape:
        raise ShapeError(f"a gradient of shape {parameter.shape} for {parameter}", f"{tuple(gradient.shape)}",
                         "give each parameter its own gradient")
    gradient = gradient.values if isinstance(gradient, (RowSparse, Unwritten)) else gradient
    if array_namespace(gradient) is not array_namespace(data) or native_device(gradient) != native_device(data):
        raise DeviceError(f"a gradient where {parameter} is", f"one of {type(gradient).__module__}",
                          "move it there first")
    if gradient.dtype != data.dtype:
        raise DTypeError(f"a gradient of the dtype of {parameter}", f"{gradient.dtype}", "cast it first")


def refuse_non_finite(members: list[Any], gradients: list[Any]) -> None:
    """Raise NonFiniteError for the first parameter whose gradient holds NaN or infinity. Waits for the device."""
    for parameter, g in zip(members, gradients, strict=True):
        g = g.values if isinstance(g, (RowSparse, Unwritten)) else getattr(g, "_data", g)
        if g is not None and not bool(array_namespace(g).all(array_namespace(g).isfinite(g))):
            raise NonFiniteError("finite gradients", f"NaN or infinity in the gradient of {parameter.name!r}",
                                 "lower the learning rate, clip gradients with clip_norm=1.0, or look for extreme "
                                 "values in the data")


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
