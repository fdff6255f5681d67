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


def means_of_pairs() -> list[Call]:
    """The mean of each loss of pairs."""
    def make(target: bool, *shape: int) -> Callable[..., tuple]:
        return lambda rng: (np.asarray(3 * rng.standard_normal(shape)), np.asarray(
            rng.uniform(0, 1, shape) if target else rng.standard_normal(shape)))

    pairs = [("squared_error", False, {}), ("binary_cross_entropy_with_logits", True, {})]
    shapes = {name: shape for name, shape in SHAPES.items() if name != "empty"} | {"several blocks": (5, 1001)}
    found = [(f"mean_{name}", shape, make(target, *shapes[shape]), options)
             for name, target, options in pairs for shape in shapes]
    others = [call for call in [*residuals(), *probabilities()] if "empty" not in call[1]]
    return [*found, *((f"mean_{name}", case, value, options) for name, case, value, options in others)]


def mean_cross_entropies() -> list[Call]:
    """All options of the mean cross-entropy, together and one by one."""
    def make(*lead: int, classes: int = 6, weight: bool = False, samples: int = 0, ignored: int | None = None,
             dtype: str = "int64") -> Callable[..., tuple]:
        def arrays(rng: np.random.Generator) -> tuple:
            labels = np.asarray(rng.integers(0, classes, lead), dtype)
            if ignored is not None:
                labels = np.where(rng.uniform(size=lead) < 0.4, np.asarray(ignored, dtype), labels)
            return (2 * rng.standard_normal((*lead, classes)), labels, rng.uniform(0.5, 2, classes) if weight else None,
                    rng.uniform(0, 2, lead[:samples]) if samples else None)
        return arrays

    def options(ignore_index: int | None = None, label_smoothing: float = 0.0) -> dict[str, Any]:
        return {"ignore_index": ignore_index, "label_smoothing": label_smoothing}

    ways: dict[str, tuple[Callable[..., tuple], dict[str, Any]]] = {
        "none ignored": (make(5), options(-100)), "ignored": (make(7, ignored=-100), options(-100)),
        "ignored class": (make(7, ignored=2), options(2)),
        "uint8": (make(7, classes=4, ignored=255, dtype="uint8"), options(255)),
        "deep": (make(3, 4, ignored=-1), options(-1)), "smooth": (make(5), options(None, 0.1)),
        "weighted": (make(5, weight=True), options()), "samples": (make(5, samples=1), options()),
        "samples of sequences": (make(4, 3, samples=1), options()),
        "samples of tokens": (make(4, 3, samples=2), options()),
        "all": (make(6, 3, weight=True, samples=1, ignored=-100), options(-100, 0.2)),
        "all, wide": (make(5, 7, classes=70, weight=True, samples=2, ignored=3), options(3, 0.2)),
        "all, several blocks": (make(90, 9, weight=True, samples=1, ignored=-1), options(-1, 0.2)),
        "all, wide blocks": (make(3, classes=2100, weight=True, samples=1, ignored=-1), options(-1, 0.3))}
    return [("mean_cross_entropy", name, *way) for name, way in ways.items()]


CALLS = [*residuals(), *probabilities(), *nll(), *means_of_pairs(), *mean_cross_entropies()]
