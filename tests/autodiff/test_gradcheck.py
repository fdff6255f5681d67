"""The checker: what it accepts, what it takes, and what it leaves behind."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from portable_nn.autodiff import Tensor, custom_gradient, gradcheck
from portable_nn.autodiff.engine import Leaf, Slot, next_sequence
from portable_nn.autodiff.namespace import tensor_namespace
from portable_nn.backend.errors import ArgumentError, DTypeError, GradientError
from tests.helpers import Backend


class Handle:
    """A parameter, as far as the autodiff room knows one."""

    def __init__(self, data: Any) -> None:
        self._data, self.slot, self.trainable = data, Slot("w"), True

    @property
    def data(self) -> Any:
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        self._data = value
        self.slot.version = next_sequence()

    @property
    def tensor(self) -> Any:
        namespace = Tensor(self._data)._namespace
        return namespace.Tensor(self._data, Leaf(self.slot, self._data.dtype) if self.trainable else None)


class Model:
    def __init__(self, w: Handle, wrong: float = 0.0) -> None:
        self.w, self.wrong = w, wrong

    def named_parameters(self) -> list[tuple[str, Handle]]:
        return [("w", self.w)]

    def __call__(self, x: Any) -> Any:
        w = self.w.tensor
        return x * w * w + w.detach() * self.wrong


class Pair(NamedTuple):
    first: Any
    second: Any


def test_inputs_of_every_kind(backend: Backend) -> None:
    if not backend.has_float64:
        pytest.skip("the device has no float64")
    x, y = backend.asarray([1.0, 2.0]), backend.asarray([3.0, -1.0])
    indices = backend.asarray(np.asarray([1, 0]))
    xp = tensor_namespace(backend.xp)
    assert gradcheck(lambda x: x * x, x, order=2)
    assert gradcheck(lambda x, i: xp.take(x, i, axis=0) * x, (x, indices), order=2)
    assert gradcheck(lambda p: (p.first * p.second, {"sum": p.first + p.second}), (Pair(x, y),), order=2)
    assert gradcheck(lambda d: d["a"][0] * d["b"], ({"a": [Tensor(x)], "b": y},))
    assert gradcheck(lambda w, x: w * x, (Handle(x), y), order=2)
    assert gradcheck(Model(Handle(x)), (y,), order=2)


def test_errors_name_the_input() -> None:
    wrong = custom_gradient(lambda x, y: (x * y, lambda g: (g * y, g * x * 1.001)))
    with pytest.raises(GradientError, match="input 1 that agrees"):
        gradcheck(wrong, (np.ones(3), np.ones(3)))
    with pytest.raises(GradientError, match=r"input 0\['b'\] that agrees"):
        gradcheck(lambda tree: wrong(tree["a"], tree["b"]), ({"a": np.ones(3), "b": np.ones(3)},))
    with pytest.raises(GradientError, match="parameter w that agrees"):
        gradcheck(Model(Handle(np.ones(2)), wrong=0.01), (np.ones(2),))


def test_only_second_order_is_wrong() -> None:
    def f(x: Any) -> Any:  # the derivative is right, but its own dependence on x is cut
        return x * x.detach() * 2 - x.detach() * x.detach()

    with pytest.raises(GradientError, match="second-order|gradient for"):
        gradcheck(f, np.asarray([1.0, 2.0]), order=2)


def test_float64_is_required() -> None:
    with pytest.raises(DTypeError, match="float64 for input 0"):
        gradcheck(lambda x: x, np.ones(2, dtype=np.float32))
    with pytest.raises(DTypeError, match="parameter w"):
        gradcheck(Model(Handle(np.ones(2, dtype=np.float32))), (np.ones(2),))
    with pytest.raises(DTypeError, match="none"):
        gradcheck(lambda x: x, np.arange(3))
    with pytest.raises(DTypeError, match="results"):
        gradcheck(lambda x: x > 0, np.ones(2))
    with pytest.raises(ArgumentError, match="order"):
        gradcheck(lambda x: x, np.ones(2), order=3)


def test_functions_that_change_are_found() -> None:
    calls = iter(range(100))
    with pytest.raises(GradientError, match="with and without recording"):
        gradcheck(lambda x: x * (1 + next(calls)), np.ones(2))


def test_parameters_and_gradients_are_left_as_they_were() -> None:
    w = Handle(np.asarray([1.0, 2.0]))
    before = w.data
    gradcheck(Model(w), (np.ones(2),), order=2)
    assert w.data is before and w.slot.gradient is None
    frozen = Handle(np.ones(2))
    frozen.trainable = False
    assert gradcheck(Model(frozen), (np.ones(2),))
