"""Calls of the losses beside cross-entropy, as arguments of the `Case` of `tests/functional/cases.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Call = tuple[str, str, Callable[..., tuple], dict[str, Any]]
SHAPES = {"odd": (3, 5), "one": (1,), "number": (), "empty": (0, 2), "blocks": (5, 7001)}


def residuals() -> list[Call]:
    def make(shape: tuple) -> Callable[..., tuple]:
        return lambda rng: (np.asarray(3 * rng.standard_normal(shape)), np.asarray(rng.standard_normal(shape)))

    kinds = {"absolute_error": [{}], "huber_error": [{"delta": 1.0}, {"delta": 0.3}], "quantile_error":
             [{"quantile": 0.5}, {"quantile": 0.9}]}
    return [(name, f"{shape} {''.join(map(str, options.values()))}", make(SHAPES[shape]), options)
            for name, variants in kinds.items() for options in variants for shape in SHAPES]


def probabilities() -> list[Call]:
    def make(shape: tuple) -> Callable[..., tuple]:
        return lambda rng: (np.asarray(rng.uniform(0.05, 0.95, shape)), np.asarray(rng.uniform(0, 1, shape)))

    return [("binary_cross_entropy", name, make(shape), {}) for name, shape in SHAPES.items()]


def nll() -> list[Call]:
    def make(*lead: int, classes: int = 6, weight: bool = False, dtype: str = "int64") -> Callable[..., tuple]:
        return lambda rng: (-rng.uniform(0.1, 3, (*lead, classes)), np.asarray(rng.integers(0, classes, lead), dtype),
                            rng.uniform(0.5, 2, classes) if weight else None)

    arguments = {"rows": make(5), "deep": make(2, 3, weight=True), "weighted": make(5, weight=True), "vector": make(),
                 "vector, weighted": make(weight=True), "uint8": make(5, classes=200, dtype="uint8"),
                 "empty": make(0, weight=True), "one class": make(3, classes=1), "blocks": make(700, classes=65)}
    return [("nll", name, value, {}) for name, value in arguments.items()]


CALLS = [*residuals(), *probabilities(), *nll()]
