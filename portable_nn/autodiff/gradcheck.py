"""Check gradients against differences: <v, J u> by moving the inputs along u, <Jᵀ v, u> by the backward pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from portable_nn.autodiff.engine import Leaf, Node, enable_grad, no_grad, run_backward
from portable_nn.autodiff.replay import RootCalls
from portable_nn.autodiff.row_sparse import RowSparse, Unwritten
from portable_nn.autodiff.rules import Rule
from portable_nn.autodiff.tensor import Tensor
from portable_nn.autodiff.tree import leaves, map_leaves
from portable_nn.backend.devices import to_numpy
from portable_nn.backend.errors import ArgumentError, DTypeError, GradientError
from portable_nn.backend.libraries import dtype_name
from portable_nn.backend.namespace import array_namespace, is_array
from portable_nn.backend.random import Stream, normal

_PICK = Rule("", lambda xp, g, index: g[index])
_DIRECTIONS = 2


def gradcheck(f: Callable[..., Any], inputs: Any, *, order: int = 1, seed: int = 0, eps: float = 1e-4,
              rtol: float = 1e-5, atol: float = 1e-8) -> bool:
    """Check the gradients of a function or module by an adjoint test in float64.

    For random u and v the derivative of <v, f> along u is estimated by central differences of two widths, which
    leaves an error of eps⁴, and compared with <Jᵀ v, u>, once per input, so that the message can name it.

    Parameters
    ----------
    f : callable
        Takes arrays or trees of them and returns an array or a tree. A module's parameters are checked as well.
    inputs : array, or tuple of the arguments
        float64 arrays, Tensors or Parameters, or trees of them; integer and boolean arrays are passed on as they are.
    order : int
        1 checks the gradient, 2 also the gradient of the gradient.
    seed : int
        Of the random directions and cotangents.
    eps : float
        Scale of the steps along a direction whose elements are standard normal numbers.
    rtol, atol : float
        Allowed difference, relative to the larger figure and absolute.

    Returns
    -------
    bool
        True. Random draws and buffers of modules are left as they were.

    Raises
    ------
    GradientError
        A gradient is wrong; the message names the input and both figures.
    DTypeError
        An input or parameter is floating but not float64, or none is.

    Examples
    --------
    >>> import numpy as np
    >>> gradcheck(lambda x: x * x, np.asarray([1.0, -2.0]), order=2)
    True
    """
    if order not in (1, 2):
        raise ArgumentError("order 1 or 2", repr(order), "check order 2 of the gradient function for higher orders")
    with RootCalls().repeating():
        check = _Check(f, inputs if type(inputs) is tuple else (inputs,), seed)
        check.compare_values(rtol)
        for k in range(1, order + 1):
            check.compare(k, eps, rtol, atol)
    return True


class _Check:
    """The function as one of a list of raw arrays (its inputs, then its parameters), at one point."""

    def __init__(self, f: Callable[..., Any], arguments: tuple, seed: int) -> None:
        self.f, self.arguments, self.seed = f, arguments, seed
        self.names: list[str] = []
        self.values: list[Any] = []
        self.handles: list[Any] = []
        named = [*_named_leaves(arguments), *(("parameter " + name, p) for name, p in getattr(f, "named_parameters",
                                                                                              list)())]
        for name, x in named:
            if hasattr(x, "slot") and not x.trainable:
                continue
            if _is_variable(x, name) and not any(x is handle for handle in self.handles if handle is not None):
                self.names.append(name)
                self.values.append(x.data if hasattr(x, "slot") or isinstance(x, Tensor) else x)
                self.handles.append(x if hasattr(x, "slot") else None)
        if not self.values:
            raise DTypeError("float64 inputs or parameters", "none",
                             "cast them, for example with xp.astype(x, xp.float64)")
        self.xp = array_namespace(*self.values)
        self.cotangents = [self.draw(f"cotangent {i}", x) for i, x in enumerate(self.outputs(self.values))]
        if not self.cotangents:
            raise DTypeError("a function with real floating results", "one without", "return what is to be checked")

    def draw(self, name: str, like: Any) -> Any:
        stream = Stream(self.seed, f"gradcheck {name}")
        return normal(stream, like.shape, 0.0, 1.0, dtype=like.dtype, xp=self.xp, device=getattr(like, "device", None))

    def call(self, values: list[Any], *, record: bool) -> tuple[list[Tensor], list[Any]]:
        """The results of f at `values`, and the node of each value."""
        nodes: list[Any] = []
        tensors = iter([x for x, handle in zip(values, self.handles) if handle is None])

        def replace(x: Any) -> Any:
            if not (hasattr(x, "slot") and not x.trainable) and _is_variable(x, "input"):
                if hasattr(x, "slot"):
                    return x.tensor
                tensor = Tensor(next(tensors), requires_grad=record)
                nodes.append(tensor._node)
                return tensor
            return Tensor(x) if is_array(x) and not isinstance(x, Tensor) else x

        with enable_grad() if record else no_grad():
            result = self.f(*map_leaves(replace, self.arguments))
        found = iter(nodes)
        sources = [next(found) if handle is None else handle.slot for handle in self.handles]
        return [x for x in leaves(result) if _is_result(x)], sources

    @contextmanager
    def parameters_at(self, values: list[Any]) -> Iterator[None]:
        """Give the parameters among the variables these values for a while."""
        moved = [(handle, handle.data, value) for handle, value in zip(self.handles, values)
                 if handle is not None and value is not handle.data]
        try:
            for handle, _, value in moved:
                handle.data = value
            yield
        finally:
            for handle, before, _ in moved:
                handle.data = before

    def outputs(self, values: list[Any]) -> list[Any]:
        with self.parameters_at(values):
            return [x._data for x in self.call(values, record=False)[0]]

    def gradients(self, values: list[Any], cotangents: list[Any], *, create_graph: bool = False) -> tuple[list[Any],
                                                                                                          list[Any]]:
        """Jᵀ v for each value, and the sources; Tensors with `create_graph`."""
        with self.parameters_at(values):
            results, sources = self.call(values, record=True)
            pairs = [(x._node, v) for x, v in zip(results, cotangents) if x._node is not None]
            xp = results[0]._namespace if create_graph else self.xp
            return _pull(xp, pairs, sources, values, create_graph=create_graph), sources

    def scalar(self, k: int, values: list[Any]) -> float:
        """<v, f> for order 1; for order 2 <w, Jᵀ v>, whose variables are the values and then v."""
        if k == 1:
            return _dot(self.xp, self.cotangents, self.outputs(values))
        count = len(self.values)
        gradients, _ = self.gradients(values[:count], values[count:])
        return _dot(self.xp, self.weights(), gradients)

    def weights(self) -> list[Any]:
        return [self.draw(f"weight {i}", x) for i, x in enumerate(self.values)]

    def analytic(self, k: int) -> tuple[list[str], list[Any], list[Any]]:
        """The names of the variables, their values, and the gradients of `scalar`."""
        if k == 1:
            return self.names, self.values, self.gradients(self.values, self.cotangents)[0]
        cotangents = [Tensor(v, requires_grad=True) for v in self.cotangents]
        first, sources = self.gradients(self.values, cotangents, create_graph=True)
        pairs = [(x._node, w) for x, w in zip(first, self.weights()) if isinstance(x, Tensor) and x._node is not None]
        values = [*self.values, *self.cotangents]
        names = [*self.names, *(f"the gradient of output {i}" for i in range(len(cotangents)))]
        return names, values, _pull(self.xp, pairs, [*sources, *(v._node for v in cotangents)], values)

    def compare_values(self, rtol: float) -> None:
        """Recorded or not, f must give the same values: kernels may differ between the two."""
        plain = _dot(self.xp, self.cotangents, self.outputs(self.values))
        recorded = _dot(self.xp, self.cotangents, [x._data for x in self.call(self.values, record=True)[0]])
        if not math.isclose(plain, recorded, rel_tol=rtol, abs_tol=rtol):
            raise GradientError("the same results with and without recording",
                                f"<v, f> = {recorded:.10g} and {plain:.10g}",
                                "check that f is deterministic, and that its forward equals its definition")

    def compare(self, k: int, eps: float, rtol: float, atol: float) -> None:
        names, values, gradients = self.analytic(k)
        for i, (name, gradient) in enumerate(zip(names, gradients, strict=True)):
            for j in range(_DIRECTIONS):
                u = self.draw(f"direction {k} {i} {j}", values[i])
                parts = gradient * u
                analytic = _dot(self.xp, [gradient], [u])
                numeric = self.difference(k, values, i, u, eps)
                scale = max(abs(analytic), abs(numeric), math.sqrt(_dot(self.xp, [parts], [parts])))
                if not abs(analytic - numeric) <= atol + rtol * scale:
                    kind = "gradient" if k == 1 else "second-order gradient"
                    off = abs(analytic - numeric)
                    raise GradientError(
                        f"a {kind} for {name} that agrees with the differences' {numeric:.10g}",
                        f"{analytic:.10g} along the same direction (off by {off:.3g}, {off / (scale or 1):.3g} of it)",
                        "correct the gradient rule; at a kink of the function choose another point")

    def difference(self, k: int, values: list[Any], i: int, u: Any, eps: float) -> float:
        """The derivative of `scalar` along u in value i, by Richardson's extrapolation of central differences."""
        def central(h: float) -> float:
            ends = [self.scalar(k, [*values[:i], values[i] + u * step, *values[i + 1:]]) for step in (h, -h)]
            return (ends[0] - ends[1]) / (2 * h)

        return (4 * central(eps / 2) - central(eps)) / 3


def _pull(xp: Any, pairs: list, sources: list[Any], values: list[Any], *, create_graph: bool = False) -> list[Any]:
    """The gradients of Σ <v, node> for each source, a leaf or a parameter's slot; zeros if unreached."""
    found: dict[Any, Any] = {}
    if pairs:
        root = Node(tuple([(node, _PICK, (i,), None) for i, (node, _) in enumerate(pairs)]))
        found = run_backward(root, [v for _, v in pairs], xp, create_graph=create_graph)
    gradients = []
    for source, value in zip(sources, values, strict=True):
        parts = [g.dense() if isinstance(g, (RowSparse, Unwritten)) else g for node, g in found.items()
                 if node is source or (type(node) is Leaf and node.slot is source)]
        gradients.append(sum(parts[1:], parts[0]) if parts else array_namespace(value).zeros_like(value))
    return gradients


def _dot(xp: Any, first: list[Any], second: list[Any]) -> float:
    return math.fsum(float(to_numpy(xp.sum(x * y))) for x, y in zip(first, second, strict=True))


def _is_result(x: Any) -> bool:
    return isinstance(x, Tensor) and x._namespace.is_real_floating[x.dtype]


def _is_variable(x: Any, name: str) -> bool:
    """Whether x is to be checked: real floating arrays are, and must then be float64."""
    data = x.data if hasattr(x, "slot") or isinstance(x, Tensor) else x
    if not is_array(data) or array_namespace(data).isdtype(data.dtype, ("bool", "integral")):
        return False
    if dtype_name(data.dtype) != "float64":
        raise DTypeError(f"float64 for {name}", f"{data.dtype}",
                         "cast inputs with xp.astype(x, xp.float64), and a model with model.to(dtype='float64')")
    return True


def _named_leaves(tree: Any, name: str = "input") -> Iterator[tuple[str, Any]]:
    """Leaves with the places they have in the arguments, in the order of `leaves`."""
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, (list, tuple)) else None
    if children is not None:
        for key, child in children:
            yield from _named_leaves(child, f"{name} {key}" if name == "input" else f"{name}[{key!r}]")
    elif tree is not None:
        yield name, tree
