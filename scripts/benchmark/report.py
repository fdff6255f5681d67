"""What is printed: a line for each workload, and for scikit-learn's `fit` one more."""

from __future__ import annotations

from typing import Any

from benchmark.comparing import FITTERS, NOBODY
from benchmark.workloads import GOALS

HEADER = (f"{'':13s} {'ours':>9s} {'best peer':>9s} {'':21s} {'ratio':>6s} {'floor':>9s} {'close':>6s}"
          f"  {'peak: ours':>11s} {'torch':>7s}\n"
          f"{'':13s} {'ms':>9s} {'ms':>9s} {'':21s} {'':>6s} {'ms':>9s} {'':>6s}  {'MB':>11s} {'MB':>7s}")


def best(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The row of the fastest peer whose steps were timed."""
    timed = [row for row in rows if row["peer"] not in (*FITTERS, NOBODY)]
    return min(timed, key=lambda row: row["peer_ms"], default=None)


def line(rows: list[dict[str, Any]]) -> str:
    """One workload: ours, the best peer and its name, their ratio, the floor, how close we are to it, peak memory; on a
    GPU the precision and the goal too, and what misses it.

    The memory beside ours is PyTorch's eager: a compiler leaves behind what has nothing to do with a step.
    """
    if not rows:
        return "no peer"
    row = best(rows) or rows[0]
    eager = next((other for other in rows if other["peer"] == "torch eager"), row)
    text = (f"{row['workload']:13s} {row['ours_ms']:9.3f} {_number(row['peer_ms'], 3):>9s} {row['peer']:21s} "
            f"{_number(row['ratio'], 2):>6s} {row['floor_ms']:9.3f} {row['floor_ms'] / row['ours_ms']:6.0%}  "
            f"{_number(row['ours_peak_mb']):>11s} {_number(eager['peer_peak_mb']):>7s}")
    return text if row["device"] == "cpu" else f"{text}  {row['precision']:8s} {goals(row, eager)}"


def goals(row: dict[str, Any], eager: dict[str, Any]) -> str:
    """The goals of a workload on a GPU, and which are missed."""
    goal = GOALS[row["workload"]]
    ratio = row["ratio"] if row["ratio"] is not None else goal.best_ms / row["ours_ms"]
    beside = "" if row["ratio"] is not None else f", beside {goal.best_ms:.3f} ms on an H100 {ratio:.2f}"
    found = [f"goal {goal.ratio:.2f}{beside}{'' if ratio >= goal.ratio else ' MISSED'}"]
    if goal.share is not None:
        found.append(f"{row['rate_share']:.0%} of the products' rate, goal {goal.share:.0%}"
                     f"{'' if row['rate_share'] >= goal.share else ' MISSED'}")
    if row["ours_peak_mb"] and eager["peer_peak_mb"] and row["ours_peak_mb"] > eager["peer_peak_mb"]:
        found.append("memory above PyTorch's MISSED")
    return "; ".join(found)


def others(rows: list[dict[str, Any]], *, verbose: bool) -> list[str]:
    """A line for each peer whose `fit` was timed; with `verbose` for every peer."""
    return [f"  {'fit, ' if row['peer'] in FITTERS else ''}{row['peer']}: ours {row['ours_ms']:.3f} ms a step, theirs "
            f"{row['peer_ms']:.3f}, ratio {row['ratio']:.2f}, peak {_number(row['peer_peak_mb'])} MB"
            for row in rows if row["peer"] != NOBODY and (verbose or row["peer"] in FITTERS)]


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
