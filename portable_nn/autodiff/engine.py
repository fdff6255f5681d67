"""The tape: nodes that remember how a value was made, and the backward pass that walks them.

A node saves raw arrays, never Tensors, so a graph holds no reference cycles and is freed by reference counting.
Backward pops nodes from a heap, latest first, so it needs no recursion however deep the graph is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from heapq import heappop as pop
from heapq import heappush as push
from heapq import heappushpop as pushpop
from typing import Any

from portable_nn.autodiff.row_sparse import Unwritten, written
from portable_nn.backend.errors import GradientError

next_sequence = itertools.count(1).__next__
_recording: ContextVar[bool] = ContextVar("portable_nn_recording", default=True)
#: Whether operations on Tensors are being recorded in this context.
is_recording = _recording.get


@contextmanager
def no_grad() -> Iterator[None]:
    """Within this context nothing is recorded: operations on Tensors give constant Tensors."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


@contextmanager
def enable_grad() -> Iterator[None]:
    """Record again inside a `no_grad` context; used where a forward pass is recomputed."""
    token = _recording.set(True)
    try:
        yield
    finally:
        _recording.reset(token)


class Node:
    """One recorded operation; its edges say what each input's gradient is made of.

    Attributes
    ----------
    sequence : int
        Position on the tape. A node's inputs always have smaller numbers.
    edges : tuple of (parent, rule, saved, shape), or None once freed
        `rule.function(xp, g, *saved)` is the gradient for the parent. Where `shape` is not None the input was
        broadcast, and the gradient is summed back to that shape.
    """

    __slots__ = ("edges", "sequence")

    def __init__(self, edges: tuple) -> None:
        self.sequence = next_sequence()
        self.edges: Any = edges

    def pull(self, xp: Any, g: Any) -> list[tuple[Any, Any]]:
        """The gradients that g, the gradient of this node's value, implies for its parents."""
        gradients = []
        for parent, rule, saved, shape in self.edges:
            gradient = rule.function(xp, g, *saved)
            gradients.append((parent, gradient if shape is None else unbroadcast(xp, gradient, shape)))
        return gradients

    def pull_recorded(self, namespace: Any, g: Any) -> list[tuple[Any, Any]]:
        """As `pull`, but over Tensors, so that the gradient itself can be differentiated.

        Saved inputs and outputs are tied back to the graph by the names that the rules give them.
        """
        parents = {rule.argument: parent for parent, rule, _, _ in self.edges}
        parents["out"] = self
        gradients = []
        for parent, rule, saved, shape in self.edges:
            linked = [namespace.link(value, parents[name]) if name in parents else value
                      for name, value in zip(rule.names, saved, strict=True)]
            gradient = rule.function(namespace, g, *linked)
            gradients.append((parent, gradient if shape is None else unbroadcast(namespace, gradient, shape)))
        return gradients

    def free(self) -> None:
        """Drop the saved arrays; a later pass over this node raises."""
        self.edges = None


class Leaf:
    """Where gradients end: the graph's side of a Tensor made with `requires_grad=True` or of a Parameter.

    `slot` keeps the accumulated gradient. A node that was recorded before the values changed must not be walked any
    more: its sequence number is then below the slot's version.
    """

    __slots__ = ("dtype", "sequence", "slot")

    def __init__(self, slot: Slot, dtype: Any) -> None:
        self.sequence = next_sequence()
        self.slot, self.dtype = slot, dtype


class Slot:
    """The gradient accumulated for one leaf, and a weak reference to its optimiser.

    Attributes
    ----------
    version : int
        The place on the tape where the values last changed: 0, or what `next_sequence()` was then.
    """

    __slots__ = ("gradient", "name", "owner", "version")

    def __init__(self, name: str = "") -> None:
        self.gradient: Any = None
        self.version = 0
        self.name = name
        self.owner: Any = None

    def read(self) -> Any:
        """The gradient, written down from now on."""
        if isinstance(self.gradient, Unwritten):
            self.gradient = self.gradient.dense()
        return self.gradient


def unbroadcast(xp: Any, g: Any, shape: tuple[int, ...]) -> Any:
    """Sum g down to `shape`: the gradient of broadcasting."""
    if g.shape == shape:
        return g
    extra = g.ndim - len(shape)
    if extra < 0:  # g itself is smaller, as when a rule returns a broadcastable gradient
        return xp.broadcast_to(g, shape)
    axes = tuple(range(extra)) + tuple(
        axis + extra for axis, length in enumerate(shape) if length == 1 and g.shape[axis + extra] != 1)
    if axes:
        g = xp.sum(g, axis=axes, keepdims=True)
    if extra:
        g = xp.reshape(g, shape)
    return g if g.shape == shape else xp.broadcast_to(g, shape)


def run_backward(root: Any, g: Any, xp: Any, *, wanted: Iterable[Any] = (), stop_before: int = 0,
                 create_graph: bool = False) -> dict[Any, Any]:
    """Propagate g, the gradient of `root`, and return the gradient of each leaf and wanted node it reaches.

    Parameters
    ----------
    xp : namespace
        The raw namespace of g, or with `create_graph` the Tensor namespace.
    wanted : nodes
        Nodes to stop at and return.
    stop_before : int
        Nodes with a smaller sequence number belong to an outer graph: they are returned, not walked.
    create_graph : bool
        Record the pass itself, and keep the graph. Otherwise each node is freed once used.
    """
    wanted = frozenset(wanted)
    bounded = bool(wanted) or stop_before > 0
    pending: dict[Any, Any] = {root: g}
    results: dict[Any, Any] = {}
    heap: list[tuple[int, Any]] = []
    node = root
    while node is not None:
        g = pending.pop(node)
        pulled: Any = ()
        if type(node) is Leaf:
            results[node] = _in_its_dtype(node, g, xp)
        elif bounded and (node in wanted or node.sequence < stop_before):
            results[node] = g
        elif type(node) is Output:
            _deposit(node, g, pending, heap)
        elif node.edges is None:
            _refuse_freed()
        elif create_graph:
            pulled = node.pull_recorded(xp, g)
        else:
            pulled = node.pull(xp, g)
            node.free()
        following = _hand_on(node, pulled, pending, results, heap, xp, create_graph or bounded) if pulled else None
        node = (pushpop(heap, (-following.sequence, following))[1] if following is not None
                else pop(heap)[1] if heap else None)
    return results


def _hand_on(node: Any, pulled: Iterable[tuple[Any, Any]], pending: dict, results: dict, heap: list,
             xp: Any, seen: bool) -> Any:
    """Add the gradients that a node gave to those of its parents; new ones enter the heap, but for the first.

    It is mostly the next node, and then it need not enter. Where sums are not `seen`, as results or on a tape, two may
    be left to the parent to add.
    """
    following = None
    for parent, gradient in pulled:
        if parent is None or gradient is None:
            continue
        if type(parent) is Leaf:
            if node.sequence < parent.slot.version:
                _refuse_stale(parent.slot.name)
            if gradient.dtype is not parent.dtype:
                gradient = _in_its_dtype(parent, gradient, xp)
            results[parent] = results[parent] + gradient if parent in results else gradient
        elif parent in pending:
            known = pending[parent]
            paired = type(parent) is Output and not seen and _adds_up(parent, known)
            pending[parent] = Pair(known, gradient) if paired else known + gradient
        else:
            pending[parent] = gradient
            if following is None:
                following = parent
            else:
                push(heap, (-parent.sequence, parent))
    return following


class Pair:
    """The gradients of one value from two of its uses, for a node that adds them up as it reads them."""

    __slots__ = ("first", "second")

    def __init__(self, first: Any, second: Any) -> None:
        self.first, self.second = first, second

    def __add__(self, other: Any) -> Any:
        return self.first + self.second + other


def _adds_up(output: Any, known: Any) -> bool:
    """Whether an output's node takes a second gradient beside the one that is known."""
    return type(known) is not Pair and getattr(output.node, "adds_up", False)


def _in_its_dtype(leaf: Leaf, g: Any, xp: Any) -> Any:
    """The gradient of a leaf, cast back if it met a wider dtype on its way."""
    return g if g.dtype == leaf.dtype else xp.astype(written(g), leaf.dtype)


def _refuse_stale(name: str) -> None:
    raise GradientError("a backward pass over the parameter values of its forward pass",
                        f"parameter {name!r} changed by an optimiser step in between",
                        "call backward on every loss first, then step; or run the forward pass again")


def _refuse_freed() -> None:
    raise GradientError("a graph that is still there", "a second backward pass over a graph already freed",
                        "add the losses and call backward once, or run the forward pass again")


class Output:
    """One output of a node that has several; it hands its gradient to the node at its own place."""

    __slots__ = ("count", "index", "node", "sequence")

    def __init__(self, node: Any, index: int, count: int) -> None:
        self.sequence = next_sequence()
        self.node, self.index, self.count = node, index, count


def _deposit(output: Output, g: Any, pending: dict[Any, Any], heap: list) -> None:
    gradients = pending.get(output.node)
    if gradients is None:
        gradients = pending[output.node] = [None] * output.count
        push(heap, (-output.node.sequence, output.node))
    known = gradients[output.index]
    gradients[output.index] = g if known is None else known + g
