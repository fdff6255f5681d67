"""The parent's side of `worker`: processes with equal environments, on the same processors, asked in turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1]
#: These force NumPy's products onto kernels older than the processor has; they are left out for all contenders.
FORCED_KERNELS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NPROC",
            "NUMBA_NUM_THREADS")


class Missing(Exception):
    """What a contender needs is not installed."""


class Failed(Exception):
    """A contender raised; the message has its traceback."""


def environment(threads: int, device: str = "cpu", keep_forced: bool = False) -> dict[str, str]:
    """What a contender's process finds in its environment, the same for all.

    Pools keep their own ways of waiting for work, which a step may gain by: `worker.rest` waits until they sleep.
    """
    found = {name: value for name, value in os.environ.items() if keep_forced or name not in FORCED_KERNELS}
    found.update(dict.fromkeys(_THREADS, str(threads)))
    found.update(PYTHONPATH=str(FOLDER), JAX_PLATFORMS=device, XLA_PYTHON_CLIENT_PREALLOCATE="false")
    if device == "cpu" and threads == 1:
        found["XLA_FLAGS"] = found.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
    return found


def processors(threads: int) -> set[int] | None:
    """The last so many processors we may run on, or None where that cannot be told or there are not enough."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    return set(allowed[-threads:]) if len(allowed) >= threads else None


class Process:
    """A contender in a process of its own.

    Parameters
    ----------
    contender : str
        A name of `worker.CONTENDERS`.
    threads : int
        As many as BLAS and every other pool may use.
    core : bool
        Let the import of the compiled helper fail.
    **variables
        Of the environment, beside those that all contenders have.
    """

    def __init__(self, contender: str, threads: int, *, device: str = "cpu", keep_forced: bool = False,
                 core: bool = False, **variables: str) -> None:
        self.contender = contender
        command = [sys.executable, "-m", "benchmark.worker", contender, str(threads), *(["--core"] if core else [])]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8",
                                         env={**environment(threads, device, keep_forced), **variables})
        chosen = processors(threads) if device == "cpu" else None
        if chosen is not None:
            os.sched_setaffinity(self._process.pid, chosen)  # before its libraries count processors
        try:
            self.ask("start")
        except Exception:
            self.close()
            raise

    def ask(self, command: str, **options: Any) -> Any:
        """Have a command done, and wait for the answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([command, options]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"{self.contender} ended with code {self._process.wait()} at {command!r}")
        answer = json.loads(line)
        if "error" in answer:
            raise (Missing if answer["missing"] else Failed)(
                answer["error"] if answer["missing"] else f"{self.contender}, {command}:\n{answer['where']}")
        return answer["value"]

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()
