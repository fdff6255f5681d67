"""How a fused operation is made: a definition, a generic forward and backward pair, and kernels registered beside them.

The definition is short, composed Array API code, and is what the operation means. The generic pair computes the same
with one node on the tape. Kernels do it faster on one library. All three are held to each other by one shared test.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from portable_nn.autodiff.engine import Output, is_recording, next_sequence, run_backward
from portable_nn.backend.namespace import array_namespace
from portable_nn.kernels import registry


class Fused:
    """An operation recorded as one node.

    Parameters
    ----------
    name : str
        The name under which kernels are registered.
    definition : callable
        `definition(*arrays, **options) -> out`: its positional-only parameters are the arrays (None where optional), its
        keyword-only parameters the options.
    forward : callable, optional
        `forward(*arrays, **options) -> (out, saved)`; `saved` is whatever backward wants to keep.
    backward : callable, optional
        `backward(xp, g, …) -> tuple of gradients`, one per array, None for those that have none. After xp and g it
        names what it needs: arrays and options by their own names, `out`, `saved`, and `needs`, a tuple of bools
        that says which arrays' gradients are wanted. Nothing else is kept alive. One that does without
        `saved` is Array API code over values still on the tape, so it is recorded itself for second order;
        for one that uses `saved` the definition is run again instead.

    Without a forward and backward pair the definition itself is recorded, unless a kernel takes the call.
    """

    def __init__(self, name: str, definition: Callable[..., Any], forward: Callable[..., Any] | None = None,
                 backward: Callable[..., Any] | None = None) -> None:
        self.name, self.definition, self.forward, self.backward = name, definition, forward, backward
        parameters = inspect.signature(definition).parameters.values()
        self.arguments = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_ONLY)
        self.recordable = backward is not None and "saved" not in _names(backward)
        self.kept = _names(backward) if self.recordable else self.arguments
        self.__doc__ = definition.__doc__

    def __call__(self, *arrays: Any, **options: Any) -> Any:
        xp = array_namespace(*arrays)
        if not hasattr(xp, "record_operation"):
            return self._run(xp, arrays, options)
        raw = tuple(map(xp.unwrap, arrays))
        parents = tuple(x._node if type(x) is xp.Tensor else None for x in arrays)
        if not is_recording() or not any(parent is not None for parent in parents):
            return xp.wrap(self._run(xp.raw, raw, options))
        kernel = registry.find(self.name, xp.raw, raw, options)
        if kernel is None and self.forward is None:
            return self.definition(*arrays, **options)
        forward, backward = (self.forward, self.backward) if kernel is None else (kernel.forward, kernel.backward)
        out, saved = forward(*raw, **options)
        known = {**options, **dict(zip(self.arguments, raw, strict=True)), "out": out, "saved": saved,
                 "needs": tuple(parent is not None for parent in parents)}
        values = tuple([known[name] for name in _names(backward)])
        kept = values if kernel is None and self.recordable else tuple([known[name] for name in self.kept])
        node = FusedNode(self, parents, backward, values, kept, options)
        if isinstance(out, tuple):
            return tuple(xp.Tensor(x, Output(node, i, len(out))) for i, x in enumerate(out))
        return xp.Tensor(out, node)

    def _run(self, xp: Any, arrays: tuple, options: dict) -> Any:
        """The result alone, over raw arrays."""
        kernel = registry.find(self.name, xp, arrays, options)
        if kernel is not None:
            return kernel.infer(*arrays, **options) if kernel.infer is not None else kernel.forward(*arrays, **options)[0]
        return self.definition(*arrays, **options) if self.forward is None else self.forward(*arrays, **options)[0]


class FusedNode:
    """A fused operation on the tape; its edges are its parents, None for arrays without a gradient."""

    __slots__ = ("backward", "edges", "fused", "kept", "options", "sequence", "values")

    def __init__(self, fused: Fused, parents: tuple, backward: Callable[..., Any], values: tuple, kept: tuple,
                 options: dict) -> None:
        self.sequence = next_sequence()
        self.fused, self.edges, self.backward = fused, parents, backward
        self.values, self.kept, self.options = values, kept, options

    def pull(self, xp: Any, g: Any) -> list[tuple[Any, Any]]:
        """The gradients of the parents, by the forward's own backward."""
        gradients = self.backward(xp, g, *self.values)
        return [(p, x) for p, x in zip(self.edges, gradients, strict=True) if p is not None]

    def pull_recorded(self, namespace: Any, g: Any) -> list[tuple[Any, Any]]:
        """The gradients as Tensors on the tape: the generic backward recorded, or the definition differentiated."""
        fused = self.fused
        parents = dict(zip(fused.arguments, self.edges, strict=True))
        if fused.recordable:
            parents["out"] = self
            linked = [namespace.link(value, parents.get(name)) if hasattr(value, "dtype") else value
                      for name, value in zip(fused.kept, self.kept, strict=True)]
            gradients = fused.backward(namespace, g, *linked)  # type: ignore[misc]
            return [(p, x) for p, x in zip(self.edges, gradients, strict=True) if p is not None]
        arrays = [namespace.link(value, parents[name]) for name, value in zip(fused.arguments, self.kept, strict=True)]
        return _differentiate(namespace, fused.definition(*arrays, **self.options), g, [p for p in self.edges if p is not None])

    def free(self) -> None:
        """Drop what was saved."""
        self.edges = self.values = self.kept = None


def _differentiate(namespace: Any, out: Any, g: Any, parents: list) -> list[tuple[Any, Any]]:
    """Gradients of a recorded result with respect to `parents`, recorded too."""
    if isinstance(out, tuple):
        pairs = [(x, gx) for x, gx in zip(out, g, strict=True) if gx is not None and x._node is not None]
        total = sum((namespace.sum(x * gx) for x, gx in pairs[1:]), namespace.sum(pairs[0][0] * pairs[0][1]))
        out, g = total, namespace.ones_like(total)
    found = run_backward(out._node, g, namespace, wanted=parents, create_graph=True)
    return [(parent, found.get(parent)) for parent in dict.fromkeys(parents)]


def _names(backward: Callable[..., Any] | None) -> tuple[str, ...]:
    """What a backward asks for after xp and g."""
    return () if backward is None else backward.__code__.co_varnames[2:backward.__code__.co_argcount]


def fused(name: str, *, definition: Callable[..., Any], forward: Callable[..., Any] | None = None,
          backward: Callable[..., Any] | None = None) -> Fused:
    """Make a fused operation; see `Fused`."""
    return Fused(name, definition, forward, backward)
