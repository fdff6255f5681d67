"""Functions with an exact signature, generated from its text: generic `*args, **kwargs` wrappers cost 2 µs more."""

from __future__ import annotations

from typing import Any

from portable_nn.autodiff import standard


class Signature:
    """The parts of a signature such as `take(x, indices, /, *, axis=None)`.

    Attributes
    ----------
    name, inner : str
        The function's name, and what stands between the parentheses.
    arrays, options : list of str
        The parameters that take arrays, and the others.
    passed : str
        How a wrapper that has all of them as variables passes them on.
    """

    def __init__(self, text: str) -> None:
        self.name, self.inner = split(text)
        parts = [part.strip() for part in self.inner.split(",")]
        names = [part.split("=")[0] for part in parts if part not in "/*"]
        positional_only = {part.split("=")[0] for part in parts[:parts.index("/")]} if "/" in parts else set()
        self.arrays = [n for n in names if n in standard.ARRAY_ARGUMENTS]
        self.options = [n for n in names if n not in standard.ARRAY_ARGUMENTS]
        keyword_only = set(names[[p for p in parts if p != "/"].index("*"):]) if "*" in parts else set()
        by_position = positional_only | (set(self.arrays) - keyword_only)
        self.passed = ", ".join(n if n in by_position else f"{n}={n}" for n in names)


def generate(text: str, function: Any, record: Any) -> Any:
    """A function with the signature `text` that calls `record(name, call, array names, arrays, options)`.

    `call(*arrays, **options)` is `function`, with each argument passed by position or by name as the signature wants.
    """
    s = Signature(text)
    source = (f"def call({', '.join(s.arrays + s.options)}):\n    return function({s.passed})\n"
              f"def {s.name}({s.inner}):\n"
              f"    return record({s.name!r}, call, {tuple(s.arrays)!r}, ({''.join(f'{n}, ' for n in s.arrays)}), "
              f"{{{', '.join(f'{n!r}: {n}' for n in s.options)}}})\n")
    return _compile(s.name, source, {"function": function, "record": record})


def generate_direct(text: str, scope: dict[str, Any], rules: dict[str, Any]) -> Any:
    """As `generate`, for a function of one result whose arrays all have rules: it records by itself, 2 µs faster.

    `scope` holds what the template names: T, function, unwrap, is_recording, make_node and check.
    """
    s = Signature(text)
    lines = [f"def {s.name}({s.inner}):"]
    for x in s.arrays:
        lines += [f"    if type({x}) is T:", f"        node_{x} = {x}._node", f"        {x} = {x}._data",
                  "    else:", f"        node_{x} = None", f"        {x} = unwrap({x})"]
    constant = " and ".join(f"node_{x} is None" for x in s.arrays)
    lines += [f"    out = function({s.passed})", f"    if {constant} or not is_recording():", "        return T(out)"]
    if len(s.arrays) > 1 or "dtype" in s.options:
        lines += ["    check(out)"]
    edges = []
    for x in s.arrays:
        meaning = {"shape": f"{x}.shape", "dtype": f"{x}.dtype"}
        saved = "".join(f"{meaning.get(n, n)}, " for n in rules[x].names)
        edges.append(f"(node_{x}, rule_{x}, ({saved}), {x}.shape)")
    if len(edges) == 1:
        lines += [f"    return T(out, make_node(({edges[0]},)))"]
    else:
        lines += [f"    edges = ({', '.join(edges)})",
                  "    return T(out, make_node(tuple([edge for edge in edges if edge[0] is not None])))"]
    return _compile(s.name, "\n".join(lines) + "\n", {**scope, **{f"rule_{x}": rules[x] for x in s.arrays}})


def _compile(name: str, source: str, scope: dict[str, Any]) -> Any:
    exec(source, scope)  # as namedtuple does: the signature is data
    return named(scope[name], name)


def split(text: str) -> tuple[str, str]:
    """The name and the parameters of a signature."""
    name, _, inner = text.partition("(")
    return name, inner[:-1]


def named(function: Any, name: str) -> Any:
    """The function, under a name of its own for tracebacks and `repr`."""
    function.__name__ = function.__qualname__ = name
    return function
