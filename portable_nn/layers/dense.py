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
        if type(module) is Linear:
            self.handles += [module._parameters["weight"], module._parameters.get("bias")]
            self.activations += (None,)
        elif type(module) in _ACTIVATIONS and self.activations and self.activations[-1] is None:
            self.activations = (*self.activations[:-1], _ACTIVATIONS[type(module)])
        else:
            return False
        self.modules.append(module)
        return True

    def __call__(self, x: Any) -> Any:
        parameter = current_frame().parameter  # type: ignore[union-attr]
        values = [None if handle is None else parameter(handle) for handle in self.handles]
        try:
            return functional.stack(x, *values, activations=self.activations)
        except PortableNNError:  # the layers one by one say which of them it is
            for module in self.modules:
                x = module(x)
            return x


def merged(modules: Iterable[Any]) -> list[Any]:
    """The modules, with each run that a `Dense` can take as one."""
    steps: list[Any] = []
    for module in modules:
        if steps and isinstance(steps[-1], Dense) and steps[-1].add(module):
            continue
        run = Dense()
        steps.append(run if run.add(module) else module)
    return steps
