"""The arguments of a captured step: which of them change from call to call, and which decide what is recorded."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.autodiff import Tensor
from portable_nn.backend.errors import ArgumentError, CaptureError
from portable_nn.backend.namespace import is_array, is_tensor


def is_input(x: Any) -> bool:
    """Whether an argument is an array or Tensor; NumPy's scalars are numbers."""
    return is_tensor(x) or (is_array(x) and not isinstance(x, np.generic))


def take_apart(parts: Any, arrays: list[Any], key: list[Any]) -> None:
    """Append the raw arrays of some arguments, which may be trees, to `arrays`, and to `key` what a graph is recorded
    for: the structure, the shapes and dtypes of the arrays, and everything else as it is.
    """
    for part in parts:
        kind = type(part)
        if is_tensor(part):
            if part._node is not None:
                raise CaptureError("constant arguments of a captured step", "a Tensor on the tape",
                                   "compute it inside the step, or pass its detach(); what asks for a gradient is made "
                                   "inside the step too: Tensor(x, requires_grad=True)")
            array = part._data
            arrays.append(array)
            key += (kind, array.shape, array.dtype)
        elif isinstance(part, (list, tuple)):
            key += (kind, len(part))
            take_apart(part, arrays, key)
        elif isinstance(part, dict):
            key += (kind, *part)
            take_apart(part.values(), arrays, key)
        elif kind is int or part is None or kind is str or kind is bool:
            key += (kind, part)
        elif is_input(part):
            arrays.append(part)
            key += (kind, part.shape, part.dtype)
        else:
            key += (kind, part.hex() if kind is float else part)  # -0.0 is no 0.0, and NaN is itself


def brought(given: tuple[Any, Any], graphs: Any) -> tuple[Any, Any]:
    """Arguments (args, options) with NumPy's arrays copied to the device of the graphs.

    Raises
    ------
    ArgumentError
        An array is of another library or on another device, or of a dtype that the device does not have; it is named.
    """
    args, options = given
    return (tuple([_brought(x, f"argument {i + 1}", graphs) for i, x in enumerate(args)]),
            {name: _brought(x, f"argument {name!r}", graphs) for name, x in options.items()})


def _brought(tree: Any, name: str, graphs: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _brought(x, f"{name}[{key!r}]", graphs) for key, x in tree.items()}
    if isinstance(tree, (list, tuple)):
        fields = getattr(tree, "_fields", None)
        parts = [_brought(x, f"{name}.{fields[i]}" if fields else f"{name}[{i}]", graphs) for i, x in enumerate(tree)]
        return type(tree)(*parts) if fields else type(tree)(parts)
    if not is_input(tree):
        return tree
    x = tree.data if is_tensor(tree) else tree
    if type(x) is np.ndarray:
        try:
            moved = graphs.bring(x)
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"{name} of a captured step of a dtype that a GPU has", f"{x.dtype}",
                                "convert it, or let the step take it from around it") from error
        return Tensor(moved) if is_tensor(tree) else moved
    if not graphs.owns([x]):
        raise ArgumentError(f"{name} of a captured step on {graphs.name}, as other arguments are",
                            f"an array of {type(x).__module__.split('.')[0]} on {x.device}",
                            f'move it first: portable_nn.to_device(x, "{graphs.name}")')
    return tree
