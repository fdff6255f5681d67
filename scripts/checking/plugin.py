"""A plugin of pytest for scripts/gpu_check.py: a line of JSON for each test as it begins and as it ends.

So what a crash, a hang or the end of the time leaves behind is known. It is told by its environment where to write to
(GPU_CHECK_REPORT), which tests have had their turn (GPU_CHECK_DONE, a file of names), and which share of all tests this
process has (GPU_CHECK_SHARE, such as 0/4). After an error that no later call of CUDA in this process can recover from,
it ends the process: the rest runs in another one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

#: What CUDA says when the whole process is lost.
LOST = ("illegal memory access", "IllegalAddress", "misaligned address", "MisalignedAddress", "LaunchFailure",
        "unspecified launch failure", "IllegalInstruction", "illegal instruction", "device-side assert",
        "LaunchTimeout", "HardwareStackError", "InvalidPc", "InvalidAddressSpace", "ECCUncorrectable")


def _write(**line: Any) -> None:
    with Path(os.environ["GPU_CHECK_REPORT"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def in_turns(names: list[str]) -> list[int]:
    """An order that takes one test of every file, then the next one of each, so that what gets no turn is spread."""
    files: dict[str, int] = {}
    places = []
    for number, name in enumerate(names):
        file = name.split("::")[0]
        files[file] = files.get(file, -1) + 1
        places.append((files[file], number))
    return [number for _, number in sorted(places)]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    share, shares = map(int, os.environ.get("GPU_CHECK_SHARE", "0/1").split("/"))
    # Neighbours stay together: they use the same kernels.
    items[:] = items[len(items) * share // shares:len(items) * (share + 1) // shares]
    done = Path(os.environ["GPU_CHECK_DONE"])
    names = set(done.read_text(encoding="utf-8").splitlines()) if done.exists() else set()
    left = [item for item in items if item.nodeid not in names]
    if os.environ.get("GPU_CHECK_IN_TURNS"):
        left = [left[number] for number in in_turns([item.nodeid for item in left])]
    items[:] = left
    _write(left=len(left))


def pytest_runtest_logstart(nodeid: str, location: Any) -> None:
    _write(begins=nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        if report.failed:  # at once: what pytest prints at its end, a crash does not leave behind
            with Path(os.environ["GPU_CHECK_REPORT"]).with_suffix(".failures.txt").open("a", encoding="utf-8") as file:
                file.write(f"==== {report.nodeid}, {report.when}\n{report.longreprtext}\n\n")
        reason = str(getattr(report.longrepr, "reprcrash", None) and report.longrepr.reprcrash.message or "")
        _write(test=report.nodeid, outcome=report.outcome, seconds=round(report.duration, 2),
               reason=reason.strip().splitlines()[0][:200] if reason.strip() else "")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    yield
    if call.excinfo is not None and any(word in str(call.excinfo.value) for word in LOST):
        item.session.shouldstop = "CUDA is lost in this process"
