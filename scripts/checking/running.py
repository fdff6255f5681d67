"""How scripts/gpu_check.py runs commands and tests: with a limit of time and a log each, and on after failures."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
#: A test that says nothing for so many seconds is taken to hang. Kernels are compiled within them.
PATIENCE = 240.0


class Result(NamedTuple):
    """What became of a part: its name, "passed", "FAILED …" or "left out …", its seconds, and the tests that failed."""

    name: str
    state: str
    seconds: float
    failures: tuple[str, ...] = ()


def search_path(*folders: Path) -> str:
    """Where a script finds the checkout, some folders, and what this process was told of."""
    return os.pathsep.join([str(ROOT), *map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])


class Runner:
    """Runs commands and keeps their results.

    Parameters
    ----------
    logs : Path
        A folder, which is made.
    end : float
        The moment of `time.monotonic` when all is to be over.
    environment : dict
        Beside this process's.
    """

    def __init__(self, logs: Path, end: float, environment: dict[str, str]) -> None:
        self.logs, self.end, self.environment = logs, end, environment
        self.results: list[Result] = []
        logs.mkdir(parents=True, exist_ok=True)

    def left(self, limit: float) -> float:
        """The seconds that something with a limit may take now."""
        return min(limit, self.end - time.monotonic())

    def add(self, name: str, state: str, seconds: float = 0.0, failures: tuple[str, ...] = ()) -> None:
        self.results.append(Result(name, state, seconds, failures))
        print(f"--> {name}: {state} ({seconds:.0f} s)", flush=True)

    def command(self, name: str, command: list[str], limit: float, *, tail: int = 0, **environment: str) -> str:
        """Run a command, which passes if it ends with 0 in time; returns its state. Shows `tail` lines of its log."""
        allowed, start = self.left(limit), time.monotonic()
        if allowed < 5:
            self.add(name, "left out: no time was left")
            return "left out"
        print(f"\n==> {name}, {allowed:.0f} s at most: {' '.join(command)}", flush=True)
        with self.log(name) as log:
            status = self._wait(self._start(command, log, environment), allowed)
        if tail or status != 0:
            lines = self.log_path(name).read_text(encoding="utf-8", errors="replace").splitlines()
            print("\n".join(lines[-(tail or 20):]), flush=True)
        state = "passed" if status == 0 else "FAILED: it took too long" if status is None else f"FAILED ({status})"
        self.add(name, state if status == 0 else f"{state}, see {self.log_path(name)}", time.monotonic() - start)
        return state

    def log_path(self, name: str) -> Path:
        return self.logs / ("".join(c if c.isalnum() else "_" for c in name) + ".log")

    def log(self, name: str) -> IO[str]:
        return self.log_path(name).open("w", encoding="utf-8")

    def _start(self, command: list[str], log: Any, environment: dict[str, str]) -> subprocess.Popen:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
                                env={**os.environ, **self.environment, **environment}, start_new_session=True)

    def _wait(self, process: subprocess.Popen, allowed: float, looks: Callable[[], bool] = lambda: True) -> int | None:
        """The status a process ends with; None if it was ended: for time, or because `looks` says it hangs."""
        end = time.monotonic() + allowed
        try:
            while process.poll() is None and time.monotonic() < end and looks():
                time.sleep(0.2)
            return process.poll()
        finally:
            if process.poll() is None:
                kill(process)
                process.wait()

    def tests(self, name: str, arguments: list[str], limit: float, *, prefix: list[str] | None = None,
              in_turns: bool = False, shares: int = 1, **environment: str) -> None:
        """Run tests, a crash or a hang of one of them notwithstanding, in so many processes at a time."""
        allowed, start = self.left(limit), time.monotonic()
        if allowed < 10:
            self.add(name, "left out: no time was left")
            return
        command = [*(prefix or []), sys.executable, "-m", "pytest", "-p", "scripts.checking.plugin", "-q", "--tb=short",
                   "-p", "no:cacheprovider", *arguments]
        print(f"\n==> {name}, {allowed:.0f} s at most, {shares} at a time: {' '.join(command)}", flush=True)
        environment |= {"PYTHONPATH": search_path()} | ({"GPU_CHECK_IN_TURNS": "1"} if in_turns else {})
        with ThreadPoolExecutor(shares) as pool:
            found = list(pool.map(lambda i: self._share(name, command, start + allowed, (i, shares), environment),
                                  range(shares)))
        known, status = Tests(), max((status for _, status in found), key=abs)
        for part, _ in found:
            known.outcomes |= part.outcomes
            known.asked += part.asked
        failures = self.logs / f"{name}.failures.txt"
        texts = [file.read_text(encoding="utf-8") for file in sorted(self.logs.glob(f"{name}.*.failures.txt"))]
        failures.write_text("".join(texts), encoding="utf-8")
        self.add(name, known.state(status, failures if texts else self.log_path(name)), time.monotonic() - start,
                 known.failures())

    def _share(self, name: str, command: list[str], end: float, share: tuple[int, int],
               environment: dict[str, str]) -> tuple[Tests, int]:
        """One share of some tests, in as many processes after each other as it takes; what came of them, and the status
        of the last."""
        own = f"{name}.{share[0]}"
        report, done, failures = (self.logs / f"{own}.{kind}" for kind in ("jsonl", "done", "failures.txt"))
        for file in (report, done, failures):
            file.unlink(missing_ok=True)
        environment = {**environment, "GPU_CHECK_REPORT": str(report), "GPU_CHECK_DONE": str(done),
                       "GPU_CHECK_SHARE": f"{share[0]}/{share[1]}"}
        known, last = Tests(), [time.monotonic()]

        def looks() -> bool:
            if known.read(report):
                last[0] = time.monotonic()
            return time.monotonic() - last[0] < PATIENCE

        with self.log(name if share[1] == 1 else own) as log:
            while True:
                before, last[0] = len(known.outcomes), time.monotonic()
                found = self._wait(self._start(command, log, environment), end - time.monotonic(), looks)
                known.read(report)
                late = time.monotonic() >= end - 1
                if known.running is not None and not late:
                    known.outcomes[known.running] = ("failed", "it hung" if found is None else f"it crashed ({found})")
                    known.running = None
                done.write_text("\n".join(known.outcomes), encoding="utf-8")
                if late or known.left <= len(known.outcomes) - before or len(known.outcomes) == before:
                    return known, found if found is not None else -1


class Tests:
    """What a report of `plugin` says so far."""

    def __init__(self) -> None:
        self.outcomes: dict[str, tuple[str, str]] = {}
        self.running: str | None = None
        self.left = self._place = self.asked = 0

    def read(self, report: Path) -> bool:
        """Take in what has come; whether anything has."""
        if not report.exists():
            return False
        with report.open(encoding="utf-8") as file:
            file.seek(self._place)
            text = file.read()
            lines = text[:text.rfind("\n") + 1].splitlines()
            self._place += len(text[:text.rfind("\n") + 1].encode())
        for line in map(json.loads, lines):
            if "left" in line:
                self.left = line["left"]
                self.asked = max(self.asked, self.left)
            elif "begins" in line:
                self.running = line["begins"]
            else:
                if self.outcomes.get(line["test"], ("passed", ""))[0] != "failed":
                    self.outcomes[line["test"]] = line["outcome"], line["reason"]
                self.running = None
        return bool(lines)

    def failures(self) -> tuple[str, ...]:
        return tuple(f"{name}: {reason}" for name, (outcome, reason) in self.outcomes.items() if outcome == "failed")

    def state(self, status: int, log: Path) -> str:
        kinds = [outcome for outcome, _ in self.outcomes.values()]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("passed", "failed", "skipped") if kind in kinds)
        missing = self.asked - len(self.outcomes)
        counts += f", {missing} had no turn" if missing > 0 else ""
        if "failed" in kinds or "passed" not in kinds or (missing <= 0 and status not in (0, 1)):
            return f"FAILED: {counts or 'no test ran'}, see {log}"
        return f"passed: {counts}"


def kill(process: subprocess.Popen) -> None:
    """End a process and all that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
