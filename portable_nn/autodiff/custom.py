"""Gradients written by hand, by whoever uses the library."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from portable_nn.autodiff.engine import Output, is_recording, next_sequence
from portable_nn.autodiff.tensor import Tensor
from portable_nn.backend.errors import ArgumentError, DTypeError, GradientError, ShapeError
from portable_nn.backend.namespace import array_namespace


def custom_gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function a gradient of your own.

    Parameters
    ----------
    f : callable
        `f(*arrays, **options) -> (out, backward)`. It gets raw arrays, also where it is called with Tensors, and may
        use any function of their library. `out` is an array or a tuple of arrays, and `backward(g)` the gradients of
        the arrays: a tuple with one entry per array, None for those without (for a single array the entry itself will
        do). g has the shape of `out`; for several outputs it is a tuple, with zeros for those that were not used.

    Returns
    -------
    callable
        Takes arrays or Tensors, and returns what it is given. It has no second order: `backward` is not recorded.

    Raises
    ------
    GradientError
        A gradient of its gradient was asked for, or an output that is no real floating array needs one.
    ShapeError, ArgumentError, DTypeError
        `backward` returned gradients of the wrong shape, number or kind, or f returned no pair.

    Examples
    --------
    >>> import numpy as np
    >>> @custom_gradient
    ... def clipped_exp(x):
    ...     out = np.exp(x)
    ...     return out, lambda g: np.clip(g * out, -1, 1)
    >>> x = Tensor(np.asarray([0.0, 5.0]), requires_grad=True)
    >>> clipped_exp(x).sum().backward()
    >>> x.grad
    array([1., 1.])
    """
    name = getattr(f, "__name__", type(f).__name__)

    @functools.wraps(f)
    def wrapped(*arrays: Any, **options: Any) -> Any:
        xp = array_namespace(*arrays)
        if not hasattr(xp, "record_operation"):
            return _pair(f(*arrays, **options), name)[0]
        nodes = tuple([x._node if type(x) is xp.Tensor else None for x in arrays])
        raw = tuple(map(xp.unwrap, arrays))
        out, backward = _pair(f(*raw, **options), name)
        if not is_recording() or all(node is None for node in nodes):
            return xp.wrap(out)
        outs = out if isinstance(out, tuple) else (out,)
        for x in outs:
            if not xp.is_real_floating[x.dtype]:
                raise GradientError(f"real floating results of {name}", f"{x.dtype}",
                                    "compute what is not differentiable outside of it")
        shapes = tuple([getattr(x, "shape", None) for x in raw])
        node = CustomNode(name, nodes, shapes, tuple([(x.shape, x.dtype, x.device) for x in outs]), backward)
        if isinstance(out, tuple):
            return tuple([xp.Tensor(x, Output(node, i, len(out))) for i, x in enumerate(out)])
        return xp.Tensor(out, node)

    return wrapped


class CustomNode:
    """A call of a function with a custom gradient on the tape; its edges are its parents, None for constants."""

    __slots__ = ("backward", "edges", "name", "outputs", "sequence", "shapes")

    def __init__(self, name: str, nodes: tuple, shapes: tuple, outputs: tuple, backward: Callable[..., Any]) -> None:
        self.sequence = next_sequence()
        self.name, self.edges, self.shapes, self.outputs, self.backward = name, nodes, shapes, outputs, backward

    def pull(self, xp: Any, g: Any) -> list[tuple[Any, Any]]:
        """The gradients of the parents, checked."""
        if isinstance(g, list):
            g = tuple([xp.zeros(shape, dtype=dtype, device=device) if x is None else x
                       for x, (shape, dtype, device) in zip(g, self.outputs, strict=True)])
        gradients = self.backward(g)
        if not isinstance(gradients, (tuple, list)):
            gradients = (gradients,)
        if len(gradients) != len(self.edges):
            raise ArgumentError(f"{len(self.edges)} gradients from the backward of {self.name}, one per array",
                                f"{len(gradients)}", "return None for arrays that have none")
        for position, (gradient, shape) in enumerate(zip(gradients, self.shapes, strict=True)):
            if gradient is not None and self.edges[position] is not None:
                _check(gradient, shape, f"argument {position} of {self.name}")
        return [(node, x) for node, x in zip(self.edges, gradients, strict=True) if node is not None]

    def pull_recorded(self, namespace: Any, g: Any) -> list[tuple[Any, Any]]:
        """Raise: what backward does to raw arrays cannot be differentiated."""
        raise GradientError("functions that have gradients of gradients",
                            f"{self.name}, whose custom gradient is of first order only",
                            "write it with Array API functions where second order is wanted")

    def free(self) -> None:
        """Drop what backward keeps alive."""
        self.edges = self.backward = None  # type: ignore[assignment]


def _pair(result: Any, name: str) -> tuple[Any, Callable[..., Any]]:
    if not (isinstance(result, tuple) and len(result) == 2 and callable(result[1])):
        raise ArgumentError(f"(out, backward) from {name}", type(result).__name__, "return the result and a function")
    out, backward = result
    if any(isinstance(x, Tensor) for x in (out if isinstance(out, tuple) else (out,))):
        raise DTypeError(f"raw arrays from {name}", "a Tensor", "compute with the arrays it is given")
    return out, backward


def _check(gradient: Any, shape: tuple[int, ...], what: str) -> None:
    if isinstance(gradient, Tensor) or not hasattr(gradient, "shape"):
        raise DTypeError(f"a raw array as the gradient of {what}", type(gradient).__name__, "return an array")
    if gradient.shape != shape:
        raise ShapeError(f"a gradient of shape {shape} for {what}", f"{gradient.shape}",
                         "sum over the axes that were broadcast")
