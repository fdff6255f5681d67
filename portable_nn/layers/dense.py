"""Runs of Linear layers and their activations inside a Sequential, computed as one operation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from portable_nn import functional
from portable_nn.autodiff.frame import current_frame
from portable_nn.backend.errors import PortableNNError
from portable_nn.layers.activations import ReLU, Sigmoid, Tanh
from portable_nn.layers.linear import Linear

#: Layers that `functional.linear` computes with the product, and what it calls them.
_ACTIVATIONS: dict[type, str] = {ReLU: "relu", Sigmoid: "sigmoid", Tanh: "tanh"}


def _methods() -> tuple:
    return Linear.__call__, Linear.forward, ReLU.forward, Sigmoid.forward, Tanh.forward


#: What a run stands in for; somebody who replaces one of them, to watch all layers for example, wants to see it called.
_METHODS = _methods()


class Dense:
    """Linear layers, with the activations behind them, that follow each other; called in place of them."""

    def __init__(self) -> None:
        self.modules: list[Any] = []
        self.handles: list[Any] = []
        self.activations: tuple[str | None, ...] = ()

    def add(self, module: Any) -> bool:
        """Take one more layer, if it can be computed here."""
        if "forward" in module.__dict__:
            return False
        if type(module) is Linear and _has_its_own(module):
            self.handles += [module._parameters["weight"], module._parameters.get("bias")]
            self.activations += (None,)
        elif type(module) in _ACTIVATIONS and self.activations and self.activations[-1] is None:
            self.activations = (*self.activations[:-1], _ACTIVATIONS[type(module)])
        else:
            return False
        self.modules.append(module)
        return True

    def __call__(self, x: Any) -> Any:
        if _methods() != _METHODS:
            return self._one_by_one(x)
        parameter = current_frame().parameter  # type: ignore[union-attr]
        values = [None if handle is None else parameter(handle) for handle in self.handles]
        try:
            return functional.stack(x, *values, activations=self.activations)
        except PortableNNError:
            return self._one_by_one(x)  # says which of them it is

    def _one_by_one(self, x: Any) -> Any:
        for module in self.modules:
            x = module(x)
        return x


def _has_its_own(linear: Any) -> bool:
    """Whether weight and bias are the layer's parameters, and not what somebody has put in their place."""
    other = linear.__dict__.keys() | linear._buffers.keys()
    return ("weight" in linear._parameters and "weight" not in other
            and ("bias" not in other or linear.__dict__.get("bias", other) is None))


def merged(modules: Iterable[Any]) -> list[Any]:
    """The modules, with each run that a `Dense` can take as one."""
    steps: list[Any] = []
    for module in modules:
        if steps and isinstance(steps[-1], Dense) and steps[-1].add(module):
            continue
        run = Dense()
        steps.append(run if run.add(module) else module)
    return steps
