"""What the constructors of models refuse, so that a mistake, or a damaged configuration file, is named at once."""

from __future__ import annotations

from typing import Any

from portable_nn import layers
from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.namespace import array_namespace
from portable_nn.layers import Module

#: What `activation=` may name.
ACTIVATIONS: dict[str, type[Module]] = {"relu": layers.ReLU, "gelu": layers.GELU, "tanh": layers.Tanh,
                                        "sigmoid": layers.Sigmoid}
#: What `pooling=` may name.
POOLING = ("max", "mean", "both")


def positive(name: str, value: Any) -> int:
    """Return a positive integer as it is; ArgumentError for anything else."""
    if type(value) is not int or value < 1:
        raise ArgumentError(f"{name} as a positive integer", repr(value), f"pass for example {name}=8")
    return value


def make_activation(name: str) -> Module:
    """The activation of this name as a layer."""
    if name not in ACTIVATIONS:
        raise ArgumentError(f"an activation among {sorted(ACTIVATIONS)}", repr(name), "name one of these")
    return ACTIVATIONS[name]()


class Pooling(Module):
    """The largest value of each feature over time, its mean, or both side by side; steps that are hidden do not count.

    Shape
    -----
    x (B, T, D) or (B, D, T), hidden (B, T) -> (B, D), or (B, 2 D) for "both"

    Parameters
    ----------
    name : "max", "mean" or "both"
    axis : int
        Of time: 1 or 2.
    """

    def __init__(self, name: str, axis: int = 1) -> None:
        if name not in POOLING:
            raise ArgumentError(f"pooling among {POOLING}", repr(name), "name one of these")
        self.count = 1 + (name == "both")
        self.pools = layers.ModuleList(kind(axis) for key, kind in (("max", layers.GlobalMaxPool1d),
                                                                    ("mean", layers.GlobalAvgPool1d))
                                       if name in (key, "both"))

    def forward(self, x: Any, hidden: Any) -> Any:
        pooled = [pool(x, mask=hidden) for pool in self.pools]
        return pooled[0] if len(pooled) == 1 else array_namespace(x).concat(pooled, axis=1)
