"""More learning-rate schedules: exponential, and one cycle up and down; see `schedules`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from portable_nn.backend.errors import ArgumentError
from portable_nn.optim.schedules import check_rate


@dataclass(frozen=True)
class Exponential:
    """`lr` times `factor` to the power of the share of `every` steps that have gone: smooth where `Step` jumps."""

    lr: float
    factor: float
    every: int = 1

    def __post_init__(self) -> None:
        check_rate(self.lr)
        if not (self.every >= 1 and self.factor > 0):
            raise ArgumentError("every of 1 step or more and a factor above 0", f"{self.every} and {self.factor}",
                                "pass for example Exponential(1e-3, 0.9, every=1000)")

    def __call__(self, step: int, total: int | None) -> float:
        return self.lr * self.factor ** (step / self.every)


@dataclass(frozen=True)
class OneCycle:
    """Up to `lr` and down again, each along half a cosine, within `steps`; then it stays where it ended.

    It starts at `lr / start_factor`, is at `lr` after the share `rise` of the steps, and ends at the start divided by
    `final_factor`. `steps` may be left out inside `fit`: the schedule then runs over the whole training. The numbers
    are those of `torch.optim.lr_scheduler.OneCycleLR`, after Smith and Topin, "Super-convergence", 2019; momentum is
    left alone.
    """

    lr: float
    steps: int | None = None
    rise: float = 0.3
    start_factor: float = 25.0
    final_factor: float = 1e4

    def __post_init__(self) -> None:
        check_rate(self.lr)
        if not (0 <= self.rise <= 1 and self.start_factor > 0 and self.final_factor > 0):
            raise ArgumentError("rise from 0 to 1 and factors above 0",
                                f"{self.rise}, {self.start_factor} and {self.final_factor}", "pass rise=0.3")

    def __call__(self, step: int, total: int | None) -> float:
        steps = self.steps if self.steps is not None else total
        if steps is None:
            raise ArgumentError("a number of steps for the cycle", "none planned",
                                "pass OneCycle(lr, steps=…) outside fit, and where batches come from an iterable")
        start = self.lr / self.start_factor
        top, last = self.rise * steps - 1, steps - 1  # the steps, counted from 0, at the peak and at the end
        if step <= top:
            return _along_cosine(start, self.lr, step / top if top > 0 else 1.0)
        return _along_cosine(self.lr, start / self.final_factor, (step - top) / (last - top) if last > top else 1.0)


def _along_cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
