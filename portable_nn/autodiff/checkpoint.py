"""Memory for time: keep only the inputs of a piece of a model, and run it again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

from portable_nn.autodiff.engine import Node, Output, enable_grad, is_recording, next_sequence, no_grad, run_backward
from portable_nn.autodiff.frame import current_frame, inside
from portable_nn.autodiff.replay import RootCalls
from portable_nn.autodiff.rules import Rule
from portable_nn.autodiff.tensor import Tensor
from portable_nn.autodiff.tree import leaves, map_leaves
from portable_nn.backend.errors import ArgumentError, GradientError
from portable_nn.backend.precision import compute_precision, computing_in

_PICK = Rule("", lambda xp, g, index: g[index])


def checkpoint(f: Callable[..., Any], *args: Any) -> Any:
    """Call a function or module without keeping what its gradient needs: that is computed again in the backward pass.

    Parameters
    ----------
    f : callable
        Must give the same result when run again. Random draws of modules are repeated, not drawn anew, and buffers
        are written by the first run alone.
    *args : arrays, or trees of them
        Tensors among them, Tensors that f closes over and the parameters of modules get their gradients. With raw
        arrays outside a recorded call nothing is recorded, and f is just called.

    Returns
    -------
    Whatever f returns; the real floating Tensors in it are on the tape.

    Raises
    ------
    GradientError
        In the backward pass: the second run gave other outputs than the first.

    Notes
    -----
    Chen et al., "Training deep nets with sublinear memory cost" (2016). One forward pass more, so a quarter to a half
    of the time more.
    """
    if not callable(f):
        raise ArgumentError("a function or module to call", f"{type(f).__name__}", "pass checkpoint(module, x)")
    frame = current_frame()
    inside_recorded_call = frame is not None and frame.recording
    if not is_recording() or not (inside_recorded_call or any(isinstance(x, Tensor) for x in leaves(args))):
        return f(*args)
    replica = None if frame is None else frame.replica()
    roots = RootCalls()
    with roots.listening(), no_grad():
        result = f(*args)
    wanted = [x for x in leaves(result) if _is_recordable(x)]
    if not wanted:
        return result
    node = CheckpointNode(f, args, replica, roots, tuple([x.shape for x in wanted]))
    count = len(wanted)
    nodes: Iterator[Any] = iter([node] if count == 1 else [Output(node, i, count) for i in range(count)])
    return map_leaves(lambda x: type(x)(x._data, next(nodes)) if _is_recordable(x) else x, result)


class CheckpointNode:
    """A checkpointed call on the tape: the function, its arguments, its precision, and where random draws stood."""

    __slots__ = ("args", "edges", "function", "precision", "replica", "roots", "sequence", "shapes")

    def __init__(self, function: Callable[..., Any], args: tuple, replica: Any, roots: RootCalls,
                 shapes: tuple) -> None:
        self.sequence = next_sequence()
        self.function, self.args, self.replica, self.roots, self.shapes = function, args, replica, roots, shapes
        self.precision = compute_precision()
        self.edges: Any = ()

    def pull(self, xp: Any, g: Any, *, create_graph: bool = False) -> list[tuple[Any, Any]]:
        """Run the function again, recorded, and go back through it to the nodes that were there before."""
        start = next_sequence()
        frame = None if self.replica is None else self.replica.replica()
        same = compute_precision() == self.precision
        with self.roots.repeating(), enable_grad(), inside(frame), (
                nullcontext() if same else computing_in(self.precision or "float32")):
            result = self.function(*self.args)
        outputs = [x for x in leaves(result) if _is_recordable(x)]
        if tuple([x.shape for x in outputs]) != self.shapes:
            raise GradientError(f"outputs of shapes {self.shapes} from the second run of a checkpointed function",
                                f"{[x.shape for x in outputs]}", "checkpoint functions that do the same every time")
        gradients = g if isinstance(g, list) else [g]
        pairs = [(x, gradient) for x, gradient in zip(outputs, gradients, strict=True)
                 if gradient is not None and x._node is not None]
        if not pairs:
            return []
        root = Node(tuple([(x._node, _PICK, (i,), None) for i, (x, _) in enumerate(pairs)]))
        found = run_backward(root, [gradient for _, gradient in pairs], xp, stop_before=start,
                             create_graph=create_graph)
        return list(found.items())

    def pull_recorded(self, namespace: Any, g: Any) -> list[tuple[Any, Any]]:
        """As `pull`, with the backward pass recorded as well."""
        return self.pull(namespace, g, create_graph=True)

    def free(self) -> None:
        """Drop the arguments and all that the function closes over."""
        self.edges = self.args = self.function = self.replica = None  # type: ignore[assignment]


def _is_recordable(x: Any) -> bool:
    return isinstance(x, Tensor) and x._namespace.is_real_floating[x.dtype]
