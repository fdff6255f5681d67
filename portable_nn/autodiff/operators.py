"""The Tensor type of each library, and Python's operators on it."""

from __future__ import annotations

from typing import Any

from portable_nn.autodiff.tensor import Tensor

_OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "pow", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or",
    "xor": "bitwise_xor", "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift",
}
_COMPARISONS = {
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
}


def make_tensor_type(namespace: Any) -> type[Tensor]:
    """The Tensor type of one library. Its constructor takes (data, node) and checks nothing: operations call it."""
    create = object.__new__

    def __new__(cls, data, node=None):
        self = create(cls)
        self._data = data
        self._node = node
        return self

    return type("Tensor", (Tensor,), {"__slots__": (), "__new__": __new__, "_namespace": namespace,
                                      "__module__": __name__})


def bind_operators(kind: type[Tensor], namespace: Any) -> None:
    """Make Python's operators on `kind` the functions of its namespace."""
    for operator, name in _OPERATORS.items():
        function = getattr(namespace, name)
        setattr(kind, f"__{operator}__", function)
        setattr(kind, f"__r{operator}__", _swapped(function))
        setattr(kind, f"__i{operator}__", function)  # x += y rebinds x; no values change in place
    for operator, name in _COMPARISONS.items():
        setattr(kind, f"__{operator}__", getattr(namespace, name))
    for operator, name in {"neg": "negative", "pos": "positive", "abs": "abs", "invert": "bitwise_invert"}.items():
        setattr(kind, f"__{operator}__", getattr(namespace, name))


def _swapped(function: Any) -> Any:
    return lambda self, other: function(other, self)
