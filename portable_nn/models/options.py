"""What the constructors of models refuse, so that a mistake, or a damaged configuration file, is named at once."""

from __future__ import annotations

from typing import Any

from portable_nn import layers
from portable_nn.backend.errors import ArgumentError
from portable_nn.layers import Module

#: What `activation=` may name.
ACTIVATIONS: dict[str, type[Module]] = {"relu": layers.ReLU, "gelu": layers.GELU, "tanh": layers.Tanh,
                                        "sigmoid": layers.Sigmoid}
#: What `pooling=` may name.
POOLING: dict[str, Any] = {"max": layers.GlobalMaxPool1d, "mean": layers.GlobalAvgPool1d}


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


def make_pool(name: str) -> Module:
    """The pooling over time of this name, for (B, T, D)."""
    if name not in POOLING:
        raise ArgumentError(f"pooling among {sorted(POOLING)}", repr(name), "name one of these")
    return POOLING[name](axis=1)
