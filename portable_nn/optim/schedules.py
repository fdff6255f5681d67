"""Learning-rate schedules: pure functions of the step number, so that a resumed run needs nothing but that number.

Pass one in place of the number: `AdamW(model.parameters(), lr=Cosine(1e-3))`. Called with the number of updates made so
far and the number planned (None outside `fit`), a schedule returns the learning rate of the next one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from portable_nn.backend.errors import ArgumentError

Schedule = Callable[[int, "int | None"], float]


def check_rate(lr: Any) -> None:
    """Raise ArgumentError unless `lr` is a learning rate."""
    if not isinstance(lr, Real) or not 0 <= float(lr) < math.inf:
        raise ArgumentError("a learning rate of 0 or more", f"lr={lr!r}", "pass for example lr=1e-3")


def _check_count(name: str, value: Any, least: int) -> None:
    if not isinstance(value, Integral) or value < least:
        raise ArgumentError(f"{name} of {least} or more updates", repr(value), "pass a whole number of updates")


@dataclass(frozen=True)
class Constant:
    """Always `lr`."""

    lr: float

    def __post_init__(self) -> None:
        check_rate(self.lr)

    def __call__(self, step: int, total: int | None) -> float:
        return self.lr


@dataclass(frozen=True)
class Step:
    """`lr` times `factor` once for every `every` steps gone."""

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        check_rate(self.lr)
        _check_count("every", self.every, 1)

    def __call__(self, step: int, total: int | None) -> float:
        return self.lr * self.factor ** (step // self.every)


@dataclass(frozen=True)
class Cosine:
    """From `lr` down to `final` along half a cosine over `steps`, then `final` (Loshchilov and Hutter, "SGDR", 2017).

    `steps` may be left out inside `fit`: the schedule then runs over the whole training.
    """

    lr: float
    steps: int | None = None
    final: float = 0.0

    def __post_init__(self) -> None:
        check_rate(self.lr)
        if self.steps is not None:
            _check_count("steps", self.steps, 1)

    def __call__(self, step: int, total: int | None) -> float:
        steps = self.steps if self.steps is not None else total
        if steps is None:
            raise ArgumentError("a number of steps for the cosine", "none planned",
                                "pass Cosine(lr, steps=…) outside fit, and where batches come from an iterable")
        share = min(step / max(steps, 1), 1.0)  # none are planned where the epochs are 0
        return self.final + (self.lr - self.final) * (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True)
class Warmup:
    """Linearly up over the first `steps`, then `schedule` (a schedule or a number), whose own clock starts there."""

    schedule: Schedule | float
    steps: int

    def __post_init__(self) -> None:
        if not callable(self.schedule):
            check_rate(self.schedule)
        _check_count("steps", self.steps, 0)

    def __call__(self, step: int, total: int | None) -> float:
        rest = None if total is None else max(total - self.steps, 0)
        if step >= self.steps:
            return self.schedule(step - self.steps, rest) if callable(self.schedule) else self.schedule
        peak = self.schedule(0, rest) if callable(self.schedule) else self.schedule
        return peak * (step + 1) / self.steps
