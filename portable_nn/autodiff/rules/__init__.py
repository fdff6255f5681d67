"""The table of gradient rules, one short function per argument of each function of the Array API standard.

A rule is `function(xp, g, *names)`: xp is the namespace to compute in, g the gradient of the result. What else it needs
it asks for by name, and only that is saved: an argument (`x`, `x1`, `x2`, …), the result `out`, an option (`axis`, …),
or the `shape` or `dtype` of the argument it differentiates. Rules are Array API code themselves, so running one over
Tensors gives the gradient of the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from portable_nn.backend.errors import GradientError


class Rule:
    """How the gradient of a result becomes the gradient of one argument."""

    __slots__ = ("argument", "function", "names")

    def __init__(self, argument: str, function: Callable[..., Any]) -> None:
        code = function.__code__
        self.argument = argument
        self.function = function
        self.names = code.co_varnames[2:code.co_argcount]

    def in_own_dtype(self) -> Rule:
        """The rule whose gradient is cast to the dtype of the argument, where others beside it have another."""
        if "dtype" in self.names:
            return self

        def function(xp, g, *saved):
            gradient, dtype = self.function(xp, g, *saved[:-1]), saved[-1]
            return gradient if gradient.dtype == dtype else xp.astype(gradient, dtype)

        rule = Rule(self.argument, function)
        rule.names = (*self.names, "dtype")
        return rule


#: function name -> argument name -> rule. An argument without a rule raises when it is recorded.
RULES: dict[str, dict[str, Rule]] = {}

#: function name -> how it is made of other functions when it is recorded: `function(namespace, *arrays, **options)`.
COMPOSED: dict[str, Callable[..., Any]] = {}

#: Functions whose results are booleans, integers or facts about dtypes: they have no gradient and give constants.
DISCRETE = frozenset({
    "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "isfinite", "isinf", "isnan", "signbit",
    "logical_and", "logical_or", "logical_xor", "logical_not", "argmax", "argmin", "argsort", "searchsorted", "nonzero",
    "count_nonzero", "all", "any", "zeros_like", "ones_like", "empty_like", "full_like", "result_type", "can_cast",
    "matrix_rank",
})


def define_rule(name: str, **functions: Callable[..., Any]) -> None:
    """Enter the rules of one function, by argument name."""
    RULES[name] = {argument: Rule(argument, function) for argument, function in functions.items()}


def define_composition(function: Callable[..., Any]) -> Callable[..., Any]:
    """Enter a function, under its own name, as made of other functions of the standard, which need rules instead."""
    COMPOSED[function.__name__] = function
    return function


def load_rules() -> None:
    """Import every family of rules; called once, before the first Tensor namespace is built."""
    from portable_nn.autodiff.rules import (  # noqa: F401
        compositions,
        decompositions,
        elementwise,
        indexing,
        linalg,
        reductions,
        shape,
    )


def refuse(name: str, argument: str) -> NoReturn:
    """Raise: a value on the tape met a function without a rule."""
    raise GradientError("a function with a gradient rule", f"{name}, argument {argument!r}",
                        "detach the Tensor if its gradient is not wanted, or write the function with "
                        "portable_nn.custom_gradient")


def refuse_dtype(name: str, dtype: Any) -> NoReturn:
    """Raise: a value on the tape was about to become complex or discrete."""
    raise GradientError("a real floating result of a recorded function", f"{dtype} from {name}",
                        "gradients here are real: detach the Tensor first, or keep to real floating dtypes")
