"""How a step's time and memory grow when the batch, the time or the width doubles, ours and a peer's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmark.comparing import Bench
from benchmark.timing import compare
from benchmark.workloads import WORKLOADS, doubled


class Cost(NamedTuple):
    """Seconds and bytes of a step, ours and the peer's; None where it could not be measured."""

    ours: float
    peer: float
    ours_peak: float | None
    peer_peak: float | None


def cost(bench: Bench, spec: dict[str, Any], peer_name: str) -> Cost:
    with bench.process("ours") as ours, bench.process(peer_name) as peer:
        for process in (ours, peer):
            process.ask("build", **bench.setting(spec))
        found = compare(ours, peer, bench.options.seconds)
    wanted = "memory" not in bench.options.skip
    return Cost(found.ours, found.peer, *(bench.peak(name, spec) if wanted else None for name in ("ours", peer_name)))


def lines(bench: Bench, name: str, peer_name: str = "torch eager") -> Iterator[str]:
    """`encoder, batch doubled: time x 1.95 (torch eager x 1.99), memory x 1.99 (x 1.98)`, for each size that can be."""
    base = cost(bench, WORKLOADS[name], peer_name)
    for what, spec in doubled(WORKLOADS[name]).items():
        grown = cost(bench, spec, peer_name)
        factors = [_factor(a, b) for a, b in zip(grown, base)]
        yield (f"{name}, {what} doubled: time × {factors[0]} ({peer_name} × {factors[1]}), "
               f"memory × {factors[2]} (× {factors[3]})")


def _factor(grown: float | None, base: float | None) -> str:
    return "–" if not grown or not base else f"{grown / base:.2f}"
