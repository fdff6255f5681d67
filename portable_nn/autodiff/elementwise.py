"""The recording functions of one and of two arrays that work element by element: a step runs these most.

Each is made from a template, with what its rules save written into it. Calling a constructor for the node and for the
Tensor, or a function that picks what to save, would make a small operation cost half as much again.
"""

from __future__ import annotations

from typing import Any

from portable_nn.autodiff.engine import Node, is_recording, next_sequence
from portable_nn.autodiff.rules import DISCRETE, refuse, refuse_dtype
from portable_nn.autodiff.signatures import named

_REAL_SCALARS = frozenset({bool, int, float})

_UNARY = """
def function(x, /):
    if type(x) is not T:
        return T(raw(unwrap(x)))
    out = raw(x._data)
    node = x._node
    if node is None or not is_recording():
        return T(out)
    made = create(Node)
    made.sequence = next_sequence()
    made.edges = ((node, rule, {saved}, None),)
    result = create(T)
    result._data = out
    result._node = made
    return result
"""

_BINARY = """
def function(x1, x2, /):
    node1 = node2 = None
    if type(x1) is T:
        node1 = x1._node
        x1 = x1._data
    elif type(x1) not in scalars:
        x1 = unwrap(x1)
    if type(x2) is T:
        node2 = x2._node
        x2 = x2._data
    elif type(x2) not in scalars:
        x2 = unwrap(x2)
    out = raw(x1, x2)
    if node1 is None:
        if node2 is None or not is_recording():
            return T(out)
        edges = ((node2, rule2, {saved2}, one_sided(x2, x1, out)),)
    elif not is_recording():
        return T(out)
    elif node2 is None:
        edges = ((node1, rule1, {saved1}, one_sided(x1, x2, out)),)
    else:
        shape1 = x1.shape
        shape2 = x2.shape
        if shape1 == shape2:
            edges = ((node1, rule1, {saved1}, None), (node2, rule2, {saved2}, None))
        else:
            edges = ((node1, rule1, {saved1}, shape1), (node2, rule2, {saved2}, shape2))
    made = create(Node)
    made.sequence = next_sequence()
    made.edges = edges
    result = create(T)
    result._data = out
    result._node = made
    return result
"""

_CONSTANT = """
def function(x1, x2, /):
    return T(raw(unwrap(x1), unwrap(x2)))
"""


def make_unary(namespace: Any, name: str) -> Any:
    """The function of one array called `name`."""
    rule = namespace.rules(name).get("x")
    scope = _scope(namespace, name)
    if name in DISCRETE:
        scope["is_recording"] = bool  # bool() is False: the results are constants
    elif rule is None:
        scope["is_recording"] = lambda: is_recording() and refuse(name, "x")
    return _compile(_UNARY, name, {**scope, "rule": rule}, saved=rule)


def make_binary(namespace: Any, name: str) -> Any:
    """The function of two arrays called `name`."""
    rules = namespace.rules(name)
    scope = _scope(namespace, name)
    if not rules and name in DISCRETE:
        return _compile(_CONSTANT, name, scope)
    if not rules:
        scope["is_recording"] = lambda: is_recording() and refuse(name, "x1 or x2")
    rule1, rule2 = rules.get("x1"), rules.get("x2")
    is_real_floating = namespace.is_real_floating

    def one_sided(x: Any, constant: Any, out: Any) -> Any:
        """The shape of x where it was broadcast; raises where the constant made the result complex."""
        if type(constant) in _REAL_SCALARS:
            return None
        if not is_real_floating[out.dtype]:
            refuse_dtype(name, out.dtype)
        return None if x.shape == out.shape else x.shape

    scope.update(rule1=rule1, rule2=rule2, one_sided=one_sided)
    return _compile(_BINARY, name, scope, saved1=rule1, saved2=rule2)


def _scope(namespace: Any, name: str) -> dict[str, Any]:
    return {"T": namespace.Tensor, "raw": getattr(namespace.raw, name), "unwrap": namespace.unwrap,
            "create": object.__new__,
            "Node": Node, "is_recording": is_recording, "next_sequence": next_sequence, "scalars": _REAL_SCALARS}


def _compile(template: str, name: str, scope: dict[str, Any], **rules: Any) -> Any:
    """The template's function, with the tuple of what each rule saves filled in."""
    saved = {}
    for key, rule in rules.items():
        x = "x._data" if key == "saved" else rule and rule.argument  # of one array it is still the Tensor
        names = [f"{x}.dtype" if n == "dtype" else x if n == "x" else n for n in rule.names] if rule else []
        saved[key] = f"({''.join(f'{n}, ' for n in names)})"
    exec(template.format(**saved), scope)
    return named(scope["function"], name)
