"""Two contenders in turn, until the median is stable."""

from __future__ import annotations

import statistics
import time
from typing import NamedTuple

from benchmark.processes import Process

#: A turn takes about so long, seconds: long beside the clock and the change of processes, short beside the machine's
#: moods.
TURN = 0.05
FEWEST, MOST = 7, 201
#: The standard error of the median ratio at which it counts as stable.
STABLE = 0.005


class Comparison(NamedTuple):
    """Median seconds per step of both, and how far the ratio may be off, as a share of it."""

    ours: float
    peer: float
    error: float
    pairs: int

    @property
    def ratio(self) -> float:
        """Above 1: ours is faster."""
        return self.peer / self.ours


def compare(ours: Process, peer: Process, seconds: float, command: str = "time") -> Comparison:
    """Take turns, ours, theirs, ours, theirs, until the median ratio is stable or the seconds are over.

    `command` is what a turn asks for: "time", or "time_fit" for whole trainings.
    """
    steps = [max(1, round(TURN / min(process.ask(command, steps=1) for _ in range(2)))) for process in (ours, peer)]
    pairs: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while len(pairs) < FEWEST or (time.perf_counter() < end and len(pairs) < MOST and error_of(pairs) > STABLE):
        pairs.append((ours.ask(command, steps=steps[0]), peer.ask(command, steps=steps[1])))
    return Comparison(statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs),
                      error_of(pairs), len(pairs))


def alone(ours: Process, seconds: float) -> Comparison:
    """Our own turns for so long, with nobody's in between."""
    steps = max(1, round(TURN / min(ours.ask("time", steps=1) for _ in range(2))))
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < FEWEST or (time.perf_counter() < end and len(times) < MOST):
        times.append(ours.ask("time", steps=steps))
    return Comparison(statistics.median(times), float("nan"), float("nan"), len(times))


def error_of(pairs: list[tuple[float, float]]) -> float:
    """The standard error of the median of the ratios, as a share: 1.25 σ / √n, with σ from the quartiles."""
    ratios = [b / a for a, b in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return 1.25 * (high - low) / 1.35 / len(ratios) ** 0.5 / middle
