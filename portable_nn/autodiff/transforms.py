"""Functions of functions: grad, value_and_grad, elementwise_grad.

Arrays in, arrays out; Tensors in, Tensors out. With Tensors, or inside another transform, the backward pass is
recorded too, so gradients of gradients are a matter of calling `grad` twice.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from portable_nn.autodiff.engine import Leaf, Node, enable_grad, run_backward
from portable_nn.autodiff.row_sparse import written
from portable_nn.autodiff.rules import Rule
from portable_nn.autodiff.tensor import Tensor, one_like
from portable_nn.autodiff.tree import leaves, map_leaves
from portable_nn.backend.errors import ArgumentError, DTypeError, ShapeError
from portable_nn.backend.namespace import array_namespace

_nested: ContextVar[bool] = ContextVar("portable_nn_nested_transform", default=False)
_IDENTITY = Rule("x", lambda xp, g: g)


class _Input:
    """One array that a gradient is wanted for: the Tensor that f sees in its place, and how to find its gradient."""

    def __init__(self, x: Any) -> None:
        self.handle = x if hasattr(x, "slot") else None  # a Parameter: all of its leaves share one slot
        if self.handle is not None:
            self.tensor = self.handle.tensor
        elif isinstance(x, Tensor) and x._node is not None:
            self.tensor = x._namespace.Tensor(x._data, Node(((x._node, _IDENTITY, (), None),)))
        else:
            self.tensor = Tensor(x, requires_grad=True)
        self.was_tensor = isinstance(x, Tensor)

    def gradient(self, found: dict[Any, Any], create_graph: bool) -> Any:
        if self.handle is not None:
            parts = [g for node, g in found.items() if type(node) is Leaf and node.slot is self.handle.slot]
            return sum(parts[1:], parts[0]) if parts else None
        g = found.get(self.tensor._node)
        if g is None:
            g = self.tensor._namespace.raw.zeros_like(self.tensor._data)
        if g.dtype != self.tensor.dtype:  # it met a wider dtype on its way
            g = array_namespace(g).astype(g, self.tensor.dtype)
        return Tensor(g) if self.was_tensor and not isinstance(g, Tensor) else g


def value_and_grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0, *, has_aux: bool = False) -> Callable[...,
                                                                                                                    Any]:
    """A function that returns f's value and its gradient.

    Parameters
    ----------
    f : callable
        Takes arrays, or trees of them (tuples, lists, dicts, NamedTuples), and returns a scalar; with `has_aux` a pair
        of a scalar and anything. It sees Tensors in place of the arrays to differentiate by.
    argnums : int or tuple of int
        Which positional arguments to differentiate by.

    Returns
    -------
    callable
        (value, gradient), the gradient a tree like the argument, or a tuple of such for several `argnums`. Parameters
        in the tree stand for the values the model uses; one that the value does not depend on gets None, an array
        zeros.

    Raises
    ------
    ShapeError, DTypeError
        f's result is no scalar Tensor; an argument is not real floating.
    ArgumentError
        f is no function; an argument to differentiate by is missing, or named twice.
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    if not callable(f) or not all(isinstance(number, int) for number in numbers):
        raise ArgumentError("a function, and integers as argnums", f"{f!r:.60} and {argnums!r:.60}",
                            "pass the function first, then the positions of its arguments")

    def wrapped(*args: Any, **options: Any) -> Any:
        places = {range(len(args))[number] for number in numbers if -len(args) <= number < len(args)}
        if not places or len(places) != len(numbers):
            raise ArgumentError(f"positional arguments of numbers {argnums}, each once", f"{len(args)} arguments",
                                "pass the arguments to differentiate by position")
        args_list: list[Any] = list(args)
        inputs: list[_Input] = []

        def replace(x: Any) -> Tensor:
            inputs.append(_Input(x))
            return inputs[-1].tensor

        for number in numbers:
            args_list[number] = map_leaves(replace, args[number])
        create_graph = _nested.get() or any(isinstance(x, Tensor) for x in leaves(args))
        token = _nested.set(True)
        try:
            with enable_grad():
                result = f(*args_list, **options)
        finally:
            _nested.reset(token)
        value, aux = result if has_aux else (result, None)
        found = _gradients(value, inputs, create_graph)
        gradients = iter([x.gradient(found, create_graph) for x in inputs])
        trees = tuple(map_leaves(lambda _: next(gradients), args[number]) for number in numbers)
        value = value if create_graph else value.data
        gradient = trees[0] if isinstance(argnums, int) else trees
        return ((value, aux), gradient) if has_aux else (value, gradient)

    return wrapped


def _gradients(value: Any, inputs: list[_Input], create_graph: bool) -> dict[Any, Any]:
    if not isinstance(value, Tensor):
        raise DTypeError("a function that returns a scalar Tensor", f"{type(value).__name__}",
                         "compute the result from the arguments with Array API functions, and do not convert it")
    if value.size != 1:
        raise ShapeError("a function that returns one number", f"shape {value.shape}",
                         "sum or average it, or use elementwise_grad")
    if value._node is None:
        return {}
    namespace = value._namespace
    one = one_like(value)
    xp, g = (namespace, namespace.lift(one)) if create_graph else (namespace.raw, one)
    wanted = [x.tensor._node for x in inputs if x.handle is None]
    found = run_backward(value._node, g, xp, wanted=wanted, create_graph=create_graph)
    return {node: written(gradient) for node, gradient in found.items()}


def grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """A function that returns the gradient of f; see `value_and_grad`.

    Examples
    --------
    >>> import numpy as np
    >>> grad(lambda x: (x * x * x).sum())(np.asarray([1.0, 2.0]))
    array([ 3., 12.])
    """
    both = value_and_grad(f, argnums)
    return lambda *args, **options: both(*args, **options)[1]


def elementwise_grad(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function that returns the derivative of an elementwise f at each element.

    Examples
    --------
    >>> import numpy as np
    >>> elementwise_grad(lambda x: x * x)(np.asarray([1.0, 2.0]))
    array([2., 4.])
    """

    def total(x: Any) -> Any:
        out = f(x)
        if isinstance(out, Tensor) and out.shape != x.shape:
            raise ShapeError(f"an elementwise function, with a result of shape {x.shape}", f"shape {out.shape}",
                             "use grad")
        return out._namespace.sum(out) if isinstance(out, Tensor) else out

    return grad(total)



