"""One contender in a process of its own: reads commands as lines of JSON, answers each with a line of JSON.

    python -m benchmark.worker CONTENDER THREADS [--core]

started by `processes.Process`, with the folder of this package on the path. What libraries print goes to stderr.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parents[2]
#: Contender -> (module, class, mode).
CONTENDERS = {
    "ours": ("ours", "Ours", "captured"),
    "ours eager": ("ours", "Ours", "eager"),
    "torch eager": ("torch_peer", "TorchPeer", "eager"),
    "torch compile": ("torch_peer", "TorchPeer", "compile"),
    "torch reduce-overhead": ("torch_peer", "TorchPeer", "reduce-overhead"),
    "torch captured": ("torch_peer", "TorchPeer", "captured"),
    "jax": ("jax_peer", "JaxPeer", "jit"),
    "scikit-learn": ("sklearn_peer", "SklearnPeer", "fit"),
}
#: Steps before anything is timed: they compile and record what has to be.
WARM_UP = 3
#: Batches of the data that `fit` goes through in an epoch.
EPOCH = 64


class Worker:
    """What a process can be asked to do; each public method is a command."""

    def __init__(self, contender: str, threads: int) -> None:
        module, name, self.mode = CONTENDERS[contender]
        self.module = importlib.import_module(f"benchmark.{module}")
        self.module.limit_threads(threads)
        self.make = getattr(self.module, name)
        self.threads, self.position = threads, 0

    def build(self, spec: dict[str, Any], device: str, precision: str) -> None:
        """Make the net, its optimiser and its batches, and run what has to be compiled or recorded first."""
        from benchmark.workloads import make_batches

        self.contender = self.make(spec, device, precision, self.mode)
        self.batches = make_batches(spec)
        self._run(WARM_UP)

    def _run(self, steps: int) -> None:
        for number in range(steps):
            self.contender.step(self.contender.put(self.batches[number % len(self.batches)]))
        self.contender.synchronize()

    def time(self, steps: int) -> float:
        """Seconds per step over so many, after one that is not counted, over copies of the batches made just now."""
        batches = [self.contender.put(batch) for batch in self.batches]
        step, count = self.contender.step, len(batches)
        step(batches[self.position % count])
        self.contender.synchronize()
        start = time.perf_counter()
        for number in range(self.position + 1, self.position + 1 + steps):
            step(batches[number % count])
        self.contender.synchronize()
        seconds = time.perf_counter() - start
        self.position += 1 + steps
        rest()
        return seconds / steps

    def time_fit(self, steps: int) -> float:
        """Seconds per step of a whole `fit` of a new net, over as many epochs as come next to so many steps."""
        import numpy as np

        from benchmark.workloads import make_batches

        parts = make_batches(self.contender.spec, EPOCH)
        x, y = (np.concatenate(arrays) for arrays in zip(*parts))
        epochs = max(1, round(steps / EPOCH))
        start = time.perf_counter()
        self.contender.fit(x, y, epochs)
        seconds = time.perf_counter() - start
        rest()
        return seconds / (epochs * EPOCH)

    def record(self, spec: dict[str, Any], device: str, weights: str, results: str, **options: Any) -> None:
        """The parity check's arrays of this contender, into a file."""
        from benchmark import parity

        parity.record(self.make, spec, device, Path(weights), Path(results), mode=self.mode, **options)

    def peak_memory(self, spec: dict[str, Any], device: str, precision: str) -> float | None:
        """Bytes at the peak of a few steps, above those after import and building. For a process of its own.

        What is there before is code, compiled or not, and what libraries keep for themselves: JAX compiles its step,
        the others run the steps of another such net first, whose memory is given back.
        """
        from benchmark import memory
        from benchmark.shapes import draw_weights
        from benchmark.workloads import make_batches, tiny

        ahead = hasattr(self.make, "compile")
        self.build(tiny(spec) if ahead else spec, device, precision)
        del self.contender
        self.module.release()
        memory.trim()
        self.contender, self.batches = self.make(spec, device, precision, self.mode), make_batches(spec)
        if ahead:
            self.contender.compile(self.contender.put(self.batches[0]))
        self.contender.load(draw_weights(spec, "float32"))  # zeros would not be in memory before they are written
        memory.trim()
        gauge: Any = memory if device == "cpu" else self.module
        before = gauge.level()
        self._run(WARM_UP)
        gauge.forget_peak()
        self._run(len(self.batches))
        peak = gauge.peak()
        return None if peak is None or before is None else peak - before

    def product_rate(self, device: str, precision: str) -> float:
        from benchmark.device import product_rate

        return product_rate(device, precision)

    def bandwidth(self, device: str, distinct: float) -> float:
        from benchmark.device import bandwidth

        return bandwidth(device, distinct, self.threads)

    def profile(self, steps: int) -> list[dict[str, Any]]:
        """Rows of `profiling.Profile.table`, of so many steps; nothing can be timed in this process afterwards."""
        from benchmark.profiling import Profile

        profile = Profile()
        profile.install(self.contender)
        batches = [self.contender.put(batch) for batch in self.batches]
        self.contender.step(batches[0])
        profile.clear()
        start = time.perf_counter()
        for number in range(steps):
            self.contender.step(batches[number % len(batches)])
        return profile.table(steps, time.perf_counter() - start)


def rest(limit: float = 0.5) -> None:
    """Wait until this process's idle threads sleep: while they spin, they are on the processor of whoever is next."""
    end = time.perf_counter() + limit
    while time.perf_counter() < end:
        used = time.process_time()
        time.sleep(0.002)
        if time.process_time() - used < 0.0005:
            return


def private_stdout() -> TextIO:
    """The pipe to the parent, kept from prints, which go to stderr."""
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return pipe


def main(contender: str, threads: int, core: bool) -> None:
    answers = private_stdout()
    sys.path.insert(0, str(ROOT))
    if core:
        sys.modules["numba"] = None  # type: ignore[assignment]  # its import fails, as where it is not installed
    worker: Any = None
    for line in sys.stdin:
        command, options = json.loads(line)
        try:
            if command == "start":
                worker, answer = Worker(contender, threads), {"value": None}
            else:
                answer = {"value": getattr(worker, command)(**options)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}", "missing": isinstance(error, ImportError),
                      "where": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), "--core" in sys.argv[3:])
