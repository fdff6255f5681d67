"""Small models that the tests of this folder share."""

from __future__ import annotations

from typing import Any

from portable_nn import layers
from portable_nn.layers import initializers


class Counting(layers.Module):
    """A linear map that counts its training calls in a buffer, twice in each if asked."""

    def __init__(self, times: int = 1) -> None:
        self.times = times
        self.linear = layers.Linear(3, 3)
        self.register_buffer("count", (), initializers.zeros)

    def forward(self, x: Any) -> Any:
        for _ in range(self.times):
            self.update_buffer("count", self.count + 1)
        return self.linear(x) + self.count


class Tied(layers.Module):
    """Two uses of one weight: an embedding and, turned round, the layer that scores its rows."""

    def __init__(self) -> None:
        self.embedding = layers.Embedding(5, 3)
        self.output = layers.Linear(3, 5, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, indices: Any) -> Any:
        return self.output(self.embedding(indices))


class Twice(layers.Module):
    """One module that stands at two places."""

    def __init__(self) -> None:
        self.first = layers.Linear(3, 3)
        self.second = self.first

    def forward(self, x: Any) -> Any:
        return self.second(self.first(x))


def mlp(p: float = 0.5) -> layers.Sequential:
    return layers.Sequential(layers.Linear(3, 4), layers.ReLU(), layers.Dropout(p), layers.Linear(4, 3))
