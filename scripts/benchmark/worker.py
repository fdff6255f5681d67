"""One contender in a process of its own: reads commands as lines of JSON, answers each with a line of JSON.

    python -m benchmark.worker CONTENDER

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
    "ours": ("ours", "Ours", "eager"),
    "torch eager": ("torch_peer", "TorchPeer", "eager"),
    "torch compile": ("torch_peer", "TorchPeer", "compile"),
}


class Worker:
    """What a process can be asked to do; each public method is a command."""

    def __init__(self, contender: str, threads: int) -> None:
        module, name, self.mode = CONTENDERS[contender]
        self.module = importlib.import_module(f"benchmark.{module}")
        self.module.limit_threads(threads)
        self.make = getattr(self.module, name)
        self.position = 0

    def build(self, spec: dict[str, Any], device: str, precision: str) -> None:
        """Make the net, its optimiser and its batches, and run what has to be compiled or recorded first."""
        from benchmark.workloads import make_batches

        self.contender = self.make(spec, device, precision, self.mode)
        self.batches = make_batches(spec)
        for batch in self.batches[:3]:
            self.contender.step(self.contender.put(batch))
        self.contender.synchronize()

    def time(self, steps: int) -> float:
        """Seconds per step over so many, after one that is not counted, over batches that were never seen before."""
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


def main(contender: str, threads: int) -> None:
    answers = private_stdout()
    sys.path.insert(0, str(ROOT))
    if os.environ.get("PORTABLE_NN_BENCH_CORE"):
        sys.modules["numba"] = None  # type: ignore[assignment]  # its import fails, as where it is not installed
    worker: Any = None
    for line in sys.stdin:
        command, options = json.loads(line)
        try:
            if command == "start":
                worker = Worker(contender, threads)
                answer: Any = {"value": None}
            else:
                answer = {"value": getattr(worker, command)(**options)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}", "missing": isinstance(error, ImportError),
                      "where": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
