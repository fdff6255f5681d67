"""What is printed: a line for each workload, and for scikit-learn's `fit` one more."""

from __future__ import annotations

from typing import Any

from benchmark.comparing import FITTERS

HEADER = (f"{'':13s} {'ours':>9s} {'best peer':>9s} {'':21s} {'ratio':>6s} {'floor':>9s} {'close':>6s}"
          f"  {'peak: ours':>11s} {'torch':>7s}\n"
          f"{'':13s} {'ms':>9s} {'ms':>9s} {'':21s} {'':>6s} {'ms':>9s} {'':>6s}  {'MB':>11s} {'MB':>7s}")


def best(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The row of the fastest peer whose steps were timed."""
    timed = [row for row in rows if row["peer"] not in FITTERS]
    return min(timed, key=lambda row: row["peer_ms"], default=None)


def line(rows: list[dict[str, Any]]) -> str:
    """One workload: ours, the best peer and its name, their ratio, the floor, how close we are to it, peak memory.

    The memory beside ours is PyTorch's eager: a compiler leaves behind what has nothing to do with a step.
    """
    row = best(rows)
    if row is None:
        return f"{rows[0]['workload']:13s} no peer" if rows else "no peer"
    eager = next((other for other in rows if other["peer"] == "torch eager"), row)
    return (f"{row['workload']:13s} {row['ours_ms']:9.3f} {row['peer_ms']:9.3f} {row['peer']:21s} {row['ratio']:6.2f} "
            f"{row['floor_ms']:9.3f} {row['floor_ms'] / row['ours_ms']:6.0%}  {_number(row['ours_peak_mb']):>11s} "
            f"{_number(eager['peer_peak_mb']):>7s}")


def others(rows: list[dict[str, Any]], *, verbose: bool) -> list[str]:
    """A line for each peer whose `fit` was timed; with `verbose` for every peer."""
    return [f"  {'fit, ' if row['peer'] in FITTERS else ''}{row['peer']}: ours {row['ours_ms']:.3f} ms a step, theirs "
            f"{row['peer_ms']:.3f}, ratio {row['ratio']:.2f}, peak {_number(row['peer_peak_mb'])} MB"
            for row in rows if verbose or row["peer"] in FITTERS]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
