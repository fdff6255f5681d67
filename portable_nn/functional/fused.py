"""How a fused operation is made: a definition, a generic forward and backward pair, and kernels registered beside them.

The definition is short, composed Array API code, and is what the operation means. The generic pair computes the same
with one node on the tape. Kernels do it faster on one library. All three are held to each other by one shared test.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, NamedTuple

from portable_nn.autodiff.engine import Output, is_recording, next_sequence, run_backward
from portable_nn.backend.namespace import array_namespace, check_one_device, has_devices
from portable_nn.kernels import registry

_create = object.__new__  # skips the constructor, which is a quarter of what a small call costs here
_data, _node = attrgetter("_data"), attrgetter("_node")
_COMMON = ("saved", "needs")


class Plan(NamedTuple):
    """What the types of the arguments decide: `tensor` is the Tensor type among them or None, `alike` whether all are
    Tensors, `placed` whether devices must be compared."""

    namespace: Any
    tensor: Any
    alike: bool
    placed: bool
    kernels: list[registry.Kernel]


class Fused:
    """An operation recorded as one node.

    Parameters
    ----------
    name : str
        The name under which kernels are registered.
    definition : callable
        `definition(*arrays, **options) -> out`: its positional-only parameters are the arrays (None where optional),
        its keyword-only parameters the options.
    forward : callable, optional
        `forward(*arrays, **options) -> (out, saved)`; `saved` is whatever backward wants to keep. Left out, it is the
        definition, with nothing saved.
    backward : callable, optional
        `backward(xp, g, …) -> tuple of gradients`, one per array, None for those that have none. After xp and g it
        names what it needs: arrays and options by their own names, `out`, `saved`, `needs`, a tuple of bools that says
        which arrays' gradients are wanted, and `parents`, their nodes: a Leaf's gradient may be `Unwritten`. Nothing
        else is kept alive. One that does without
        `saved` is Array API code over values still on the tape, so it is recorded itself for second order;
        for one that uses `saved` the definition is run again instead. It runs at most once over what was saved, so
        a kernel may work in buffers that its forward made and gave to nobody else.
    needs_out : callable, optional
        `needs_out(**options)` says whether backward will look at the `out` that it names. If not, it is given None, and
        the result is not kept alive.
    check : callable, optional
        `check(*arrays, **options)` raises where shapes or dtypes do not fit. It sees raw arrays, on every call.

    Without a backward the definition itself is recorded, unless a kernel takes the call.
    """

    def __init__(self, name: str, definition: Callable[..., Any], forward: Callable[..., Any] | None = None,
                 backward: Callable[..., Any] | None = None, check: Callable[..., None] | None = None,
                 needs_out: Callable[..., bool] | None = None) -> None:
        self.name, self.definition, self.forward, self.backward = name, definition, forward, backward
        self.check, self.needs_out = check, needs_out
        if backward is not None and forward is None:
            self.forward = lambda *arrays, **options: (definition(*arrays, **options), None)
        parameters = inspect.signature(definition).parameters.values()
        self.arguments = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_ONLY)
        self.asked = registry.asked_names(backward)
        self.recordable = backward is not None and "saved" not in self.asked
        kept = self.asked if self.recordable else self.arguments
        self.keeps = tuple(argument in kept for argument in self.arguments)
        self.keeps_all = all(self.keeps)
        self.keeps_out = "out" in kept
        self._plans: dict[tuple, Plan] = {}
        registry.declare(name, "definition" if backward is None else "generic")

    def __call__(self, *arrays: Any, **options: Any) -> Any:
        plan = self._plans.get(tuple(map(type, arrays))) or self._plan(arrays)
        T, raw = plan.tensor, arrays
        if plan.alike:
            raw, parents = tuple(map(_data, arrays)), tuple(map(_node, arrays))
        elif T is not None:
            raw = tuple([x._data if type(x) is T else x for x in arrays])
            parents = tuple([x._node if type(x) is T else None for x in arrays])
        if plan.placed:
            check_one_device(raw)
        if self.check is not None:
            self.check(*raw, **options)
        if T is None:
            return self._run(plan, raw, options)
        needs = tuple(map(bool, parents))  # nodes are true
        if not (True in needs and is_recording()):
            return plan.namespace.wrap(self._run(plan, raw, options))
        kernel = self._choose(plan, raw, options)
        if kernel is not None and kernel.backward is not None:
            forward, backward, asked = kernel.forward, kernel.backward, kernel.asked
        elif self.backward is None or self.forward is None or registry.forced() == "definition":
            return self.definition(*arrays, **options)
        else:
            forward, backward, asked = self.forward, _in_own_dtypes(self.backward, plan, raw), self.asked
        out, saved = forward(*raw, **options)
        kept_out = out if self.needs_out is None or self.needs_out(**options) else None
        values = (saved, needs)
        if asked != _COMMON:
            known = dict(options, out=kept_out, saved=saved, needs=needs, parents=parents)
            known.update(zip(self.arguments, raw))
            values = tuple([known[name] for name in asked])
        node = _create(FusedNode)
        node.sequence, node.fused, node.edges, node.backward = next_sequence(), self, parents, backward
        node.values, node.options, node.out = values, options, kept_out if self.keeps_out else None
        node.kept = raw if self.keeps_all else tuple([x if keep else None for x, keep in zip(raw, self.keeps)])
        if isinstance(out, tuple):
            return tuple([T(x, Output(node, i, len(out))) for i, x in enumerate(out)])
        result = _create(T)
        result._data, result._node = out, node
        return result

    def _plan(self, arrays: tuple) -> Plan:
        """Look up what the types of the arrays decide, and remember it."""
        array_namespace(arrays[0])  # refuses None, which is for the optional ones alone
        xp = array_namespace(*arrays)
        tensor = xp.Tensor if hasattr(xp, "record_operation") else None
        alike = tensor is not None and all(type(x) is tensor for x in arrays)
        kernels = registry.loaded_entries(self.name, xp if tensor is None else xp.raw)
        plan = Plan(xp, tensor, alike, has_devices(xp), kernels)
        kinds = tuple(map(type, arrays))
        if not any(hasattr(kind, "__jax_array__") for kind in kinds):  # values of one type come from several traces
            self._plans[kinds] = plan
        return plan

    def _choose(self, plan: Plan, arrays: tuple, options: dict) -> registry.Kernel | None:
        """The last registered kernel that supports the call."""
        if registry.forced() is None:
            for kernel in reversed(plan.kernels):
                if kernel.supports(*arrays, **options):
                    return kernel
        return None

    def _run(self, plan: Plan, arrays: tuple, options: dict) -> Any:
        """The result alone, over raw arrays."""
        kernel = self._choose(plan, arrays, options)
        if kernel is not None and kernel.infer is not None:
            return kernel.infer(*arrays, **options)
        if kernel is not None:
            return kernel.forward(*arrays, **options)[0]
        if self.forward is None or registry.forced() == "definition":
            return self.definition(*arrays, **options)
        return self.forward(*arrays, **options)[0]


class FusedNode:
    """A fused operation on the tape.

    Attributes
    ----------
    edges : tuple
        The parents, None for arrays without a gradient.
    values : tuple
        What `backward` is called with after xp and g.
    kept, out
        For second order: the arguments (None for those that it does without), and the result if it needs that.
    """

    __slots__ = ("backward", "edges", "fused", "kept", "options", "out", "sequence", "values")
    fused: Fused
    edges: Any
    backward: Callable[..., Any]
    values: Any
    kept: Any
    out: Any
    options: dict
    sequence: int

    @property
    def adds_up(self) -> bool:
        """Whether the backward takes two gradients of a result (`engine.Pair`): it has an attribute of this name."""
        return hasattr(self.backward, "adds_up")

    def pull(self, xp: Any, g: Any) -> Iterable[tuple[Any, Any]]:
        """The gradients of the parents, by the forward's own backward; it alone holds what was saved, so that a kernel
        whose forward saved a list can empty it and let go of each array once used."""
        edges, values = self.edges, self.values
        self.free()
        return zip(edges, self.backward(xp, g, *values), strict=True)

    def pull_recorded(self, namespace: Any, g: Any) -> list[tuple[Any, Any]]:
        """The gradients as Tensors on the tape: the generic backward recorded, or the definition differentiated."""
        fused = self.fused
        arrays = [namespace.link(x, parent) for x, parent in zip(self.kept, self.edges, strict=True)]
        if fused.recordable:
            needs = tuple([parent is not None for parent in self.edges])
            known = dict(self.options, out=namespace.link(self.out, self), needs=needs)
            known.update(zip(fused.arguments, arrays))
            gradients = fused.backward(namespace, g, *[known[name] for name in fused.asked])  # type: ignore[misc]
            return [pair for pair in zip(self.edges, gradients, strict=True) if pair[0] is not None]
        out = fused.definition(*arrays, **self.options)
        return _differentiate(namespace, out, g, [p for p in self.edges if p is not None])

    def free(self) -> None:
        """Drop what was saved."""
        self.edges = self.values = self.kept = self.out = None


def _in_own_dtypes(backward: Callable[..., Any], plan: Plan, arrays: tuple) -> Callable[..., Any]:
    """The backward, whose gradients are cast to the dtypes of their arrays where half precision may meet float32."""
    if not plan.namespace.mixes_dtypes:
        return backward
    dtypes = [getattr(x, "dtype", None) for x in arrays]

    def run(xp: Any, g: Any, *values: Any) -> tuple:
        return tuple([g if g is None or g.dtype == dtype else xp.astype(g, dtype)
                      for g, dtype in zip(backward(xp, g, *values), dtypes, strict=True)])

    return run


def _differentiate(namespace: Any, out: Any, g: Any, parents: list) -> list[tuple[Any, Any]]:
    """Gradients of a recorded result with respect to `parents`, recorded too."""
    if isinstance(out, tuple):
        pairs = [(x, gx) for x, gx in zip(out, g, strict=True) if gx is not None and x._node is not None]
        total = sum((namespace.sum(x * gx) for x, gx in pairs[1:]), namespace.sum(pairs[0][0] * pairs[0][1]))
        out, g = total, namespace.ones_like(total)
    found = run_backward(out._node, g, namespace, wanted=parents, create_graph=True)
    return [(parent, found.get(parent)) for parent in dict.fromkeys(parents)]


def fused(name: str, *, definition: Callable[..., Any], forward: Callable[..., Any] | None = None,
          backward: Callable[..., Any] | None = None, check: Callable[..., None] | None = None,
          needs_out: Callable[..., bool] | None = None) -> Fused:
    """Make a fused operation; see `Fused`."""
    return Fused(name, definition, forward, backward, check, needs_out)
