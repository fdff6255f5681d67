"""Functions with an exact signature, generated from its text: generic `*args, **kwargs` wrappers cost 2 µs more."""

from __future__ import annotations

from typing import Any

from portable_nn.autodiff import standard


def generate(text: str, function: Any, record: Any) -> Any:
    """A function with the signature `text` that calls `record(name, call, array names, arrays, options)`.

    `call(*arrays, **options)` is `function`, with each argument passed by position or by name as the signature wants
    it.
    """
    name, inner = split(text)
    parts = [part.strip() for part in inner.split(",")]
    names = [part.split("=")[0] for part in parts if part not in "/*"]
    positional_only = {part.split("=")[0] for part in parts[:parts.index("/")]} if "/" in parts else set()
    arrays = [n for n in names if n in standard.ARRAY_ARGUMENTS]
    options = [n for n in names if n not in standard.ARRAY_ARGUMENTS]
    keyword_only = set(names[[p for p in parts if p != "/"].index("*"):]) if "*" in parts else set()
    by_position = positional_only | (set(arrays) - keyword_only)
    passed = ", ".join(n if n in by_position else f"{n}={n}" for n in names)
    source = (f"def call({', '.join(arrays + options)}):\n    return function({passed})\n"
              f"def {name}({inner}):\n"
              f"    return record({name!r}, call, {tuple(arrays)!r}, ({''.join(f'{n}, ' for n in arrays)}), "
              f"{{{', '.join(f'{n!r}: {n}' for n in options)}}})\n")
    scope: dict[str, Any] = {"function": function, "record": record}
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
