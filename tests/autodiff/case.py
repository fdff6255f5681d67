"""What a row of the table of gradient checks is, and the inputs it takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Case(NamedTuple):
    """`function(xp, *arrays)` and `inputs(rng) -> tuple of NumPy arrays`."""

    name: str
    function: Callable[..., Any]
    inputs: Callable[[np.random.Generator], tuple]


def normal(*shapes: tuple[int, ...], low: float | None = None, high: float = 1.0) -> Callable[..., tuple]:
    """Standard normal arrays, or uniform ones between `low` and `high`."""

    def inputs(rng: np.random.Generator) -> tuple:
        if low is None:
            return tuple(rng.normal(size=shape) for shape in shapes)
        return tuple(rng.uniform(low, high, size=shape) for shape in shapes)

    return inputs


def distinct(*shape: int) -> Callable[..., tuple]:
    """Values in random order, at least 0.1 apart, none near 0."""

    def inputs(rng: np.random.Generator) -> tuple:
        size = math.prod(shape)
        return ((rng.permutation(size) - size / 2 + 0.25).reshape(shape) / 2 + rng.uniform(0, 0.1, size=shape),)

    return inputs


def spread(count: int, *shape: int) -> Callable[..., tuple]:
    """Well-conditioned matrices: random ones plus 3 on the diagonal."""
    return lambda rng: tuple(
        rng.normal(size=shape) * 0.5 + 3 * np.eye(*shape[-2:]) * np.arange(1, shape[-1] + 1) for _ in range(count)
    )


def method(name: str, **options: Any) -> Callable[..., Any]:
    return lambda xp, *arrays: getattr(xp, name)(*arrays, **options)


def linalg(name: str, **options: Any) -> Callable[..., Any]:
    return lambda xp, *arrays: getattr(xp.linalg, name)(*arrays, **options)


def symmetric(xp: Any, x: Any) -> Any:
    return x + xp.matrix_transpose(x)
