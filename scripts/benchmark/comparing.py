"""One workload beside each of its peers: parity once, time in turns, peak memory in processes of their own."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmark.parity import TOLERANCE, differences
from benchmark.processes import Failed, Missing, Process
from benchmark.shapes import operations, traffic
from benchmark.timing import Comparison, alone, compare
from benchmark.workloads import WORKLOADS, for_parity, precision_of

PEERS = {"cpu": ("torch eager", "torch compile", "jax", "scikit-learn"),
         "cuda": ("torch eager", "torch reduce-overhead", "torch captured", "jax")}
#: Whose whole `fit` is timed, not single steps.
FITTERS = ("scikit-learn",)
#: Stands for a peer where none could be run.
NOBODY = "nobody"
#: GNU's allocator then gives freed memory back at once, so that what is in memory is what is in use.
RETURNED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
#: Adam's eps where a peer adds it elsewhere than we do: next to nothing, for the parity check.
_PARITY_EPS = {"scikit-learn": 1e-300}


class Bench:
    """What all workloads of a run share: options, and what the machine can do.

    Attributes
    ----------
    skipped : dict
        Peer -> why it was not measured.
    problems : list of str
        Parity checks that failed, and workloads that we could not run.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.skipped: dict[str, str] = {}
        self.problems: list[str] = []
        self._rates: dict[str, float] = {}

    def process(self, contender: str, **variables: str) -> Process:
        """A contender's process; with --eager our own is one that captures nothing."""
        core = self.options.core and contender == "ours"
        contender = "ours eager" if self.options.eager and contender == "ours" else contender
        return Process(contender, self.options.threads, device=self.options.device, core=core,
                       keep_forced=self.options.keep_openblas, **variables)

    def setting(self, spec: dict[str, Any]) -> dict[str, Any]:
        return {"spec": spec, "device": self.options.device, "precision": self.precision(spec)}

    def precision(self, spec: dict[str, Any]) -> str:
        return self.options.precision or precision_of(spec, self.options.device)

    def peers(self, name: str) -> list[str]:
        """The peers of a workload that were asked for and are there."""
        chosen = self.options.peer or PEERS[self.options.device]
        mlp = WORKLOADS[name]["kind"] == "mlp"
        return [peer for peer in chosen if peer not in self.skipped and (mlp or peer not in FITTERS)]

    @contextmanager
    def tolerant(self, peer: str) -> Iterator[None]:
        """Within this context a peer that is missing is noted, and one that fails is reported."""
        try:
            yield
        except Missing as error:
            self.skipped[peer] = str(error)
            print(f"{peer} is left out: {error}", flush=True)
        except Failed as error:
            print(f"{peer} failed: {str(error).strip().splitlines()[-1]}", flush=True)

    def floor(self, spec: dict[str, Any]) -> float:
        """Seconds that a step takes at the rate of this machine's products or at that of its memory."""
        setting, moved, precision = {"device": self.options.device}, traffic(spec), self.precision(spec)
        with self.process("ours", **({"CUPY_TF32": "1"} if precision == "tf32" else {})) as process:
            if precision not in self._rates:
                self._rates[precision] = process.ask("product_rate", precision=precision, **setting)
            speed = process.ask("bandwidth", distinct=moved / 2, **setting)
        return max(operations(spec) / self._rates[precision], moved / speed)

    def check(self, name: str) -> str:
        """Compare with each peer in float64; returns a line that says how far they differ at most."""
        spec, found = for_parity(name), []
        with tempfile.TemporaryDirectory() as folder:
            weights, results = Path(folder, "weights.npz"), Path(folder, "ours.npz")
            self._record("ours", spec, weights, results, {})
            for peer in self.peers(name):
                ours, options = results, {}
                if peer in _PARITY_EPS:
                    ours, options = Path(folder, f"ours {peer}.npz"), {"eps": _PARITY_EPS[peer]}
                    self._record("ours", spec, weights, ours, options)
                with self.tolerant(peer):
                    theirs = Path(folder, f"{peer}.npz")
                    self._record(peer, spec, weights, theirs, options)
                    by_kind = differences(ours, theirs)
                    found.append(f"{peer} {max(by_kind.values()):.0e}")
                    if max(by_kind.values()) > TOLERANCE:
                        self.problems.append(f"{name} and {peer}: {by_kind}")
        fewer = f", batch {spec['batch']}" if spec["batch"] != WORKLOADS[name]["batch"] else ""
        return f"{name}: differs in float64{fewer} by {', '.join(found)}"

    def _record(self, contender: str, spec: dict[str, Any], weights: Path, results: Path,
                options: dict[str, Any]) -> None:
        with self.process(contender) as process:
            process.ask("record", spec=spec, weights=str(weights), results=str(results),
                        device=self.options.device, **options)

    def times(self, name: str) -> dict[str, Comparison]:
        """A comparison with each peer; where there is none, our own time beside NOBODY's."""
        spec = WORKLOADS[name]
        found: dict[str, Comparison] = {}
        with self.process("ours") as ours:
            ours.ask("build", **self.setting(spec))
            for name_of_peer in self.peers(name):
                with self.tolerant(name_of_peer), self.process(name_of_peer) as peer:
                    peer.ask("build", **self.setting(spec))
                    command = "time_fit" if name_of_peer in FITTERS else "time"
                    found[name_of_peer] = compare(ours, peer, self.options.seconds, command)
            return found or {NOBODY: alone(ours, self.options.seconds)}

    def peak(self, contender: str, spec: dict[str, Any]) -> float | None:
        """Bytes at the peak of a step above those after import and building, or None where that is not known."""
        with self.tolerant(contender), self.process(contender, **RETURNED) as process:
            return process.ask("peak_memory", **self.setting(spec))
        return None

    def rows(self, name: str) -> list[dict[str, Any]]:
        """What the JSON holds: one row for each peer."""
        spec = WORKLOADS[name]
        floor, compared = self.floor(spec), self.times(name)
        wanted = "memory" not in self.options.skip
        ours_peak = self.peak("ours", spec) if wanted else None
        precision, unmeasured = self.precision(spec), FITTERS if wanted else compared
        return [{"workload": name, "device": self.options.device, "precision": precision,
                 "threads": self.options.threads, "ours_ms": 1e3 * found.ours, "peer": peer,
                 "peer_ms": None if peer == NOBODY else 1e3 * found.peer,
                 "ratio": None if peer == NOBODY else found.ratio,
                 "floor_ms": 1e3 * floor, "rate_share": operations(spec) / found.ours / self._rates[precision],
                 "ours_peak_mb": megabytes(ours_peak),
                 "peer_peak_mb": None if peer in (*unmeasured, NOBODY) else megabytes(self.peak(peer, spec))}
                for peer, found in compared.items()]


def megabytes(count: float | None) -> float | None:
    return None if count is None else count / 1e6
