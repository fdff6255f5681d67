"""scripts/gpu_check.py says what is missing, and fails, where there is no GPU; crashes and hangs do not end it."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import Unavailable, make_backends

ROOT = Path(__file__).parents[2]


def test_without_a_gpu_it_fails_and_says_what_to_install() -> None:
    try:
        make_backends("cupy")
        pytest.skip("a GPU is here")
    except Unavailable:
        pass
    command = [sys.executable, "scripts/gpu_check.py"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 1
    assert "no GPU that CuPy can use" in result.stdout or "missing: " in result.stdout
    assert "pip install" in result.stdout


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("scripts.checking.running")


TESTS = """
import os, time, pytest
def test_passes(): pass
def test_fails(): assert 1 == 2
def test_crashes(): os._exit(3)
def test_loses_the_gpu(): raise RuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")
def test_hangs(): time.sleep(60)
@pytest.mark.skip
def test_is_skipped(): pass
def test_comes_last(): pass
"""


def test_tests_go_on_after_crashes_and_hangs(running: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "PATIENCE", 4.0)
    (tmp_path / "test_some.py").write_text(TESTS, encoding="utf-8")
    runner = running.Runner(tmp_path / "logs", time.monotonic() + 100, {})
    runner.tests("part", [str(tmp_path / "test_some.py"), "--rootdir", str(tmp_path)], 60.0)
    result, = runner.results
    assert result.state.startswith("FAILED: 2 passed, 4 failed, 1 skipped, see ")
    assert [failure.split("::")[1] for failure in result.failures] == [
        "test_fails: assert 1 == 2", "test_crashes: it crashed (3)",
        "test_loses_the_gpu: RuntimeError: cudaErrorIllegalAddress: an illegal memory access was encountered",
        "test_hangs: it hung"]


def test_several_at_a_time_run_everything_once(running: Any, tmp_path: Path) -> None:
    for i in range(3):
        source = "import pytest\n@pytest.mark.parametrize('n', range(7))\ndef test_some(n): assert n != 5\n"
        (tmp_path / f"test_{i}.py").write_text(source, encoding="utf-8")
    runner = running.Runner(tmp_path / "logs", time.monotonic() + 100, {})
    runner.tests("part", [str(tmp_path), "--rootdir", str(tmp_path)], 60.0, shares=4)
    assert runner.results[0].state.startswith("FAILED: 18 passed, 3 failed, see ")
    assert sorted(name.split("::")[1] for name in runner.results[0].failures) == ["test_some[5]: assert 5 != 5"] * 3
    assert (tmp_path / "logs" / "part.failures.txt").read_text(encoding="utf-8").count("====") == 3


def test_time_that_is_over_is_no_failure_of_a_test(running: Any, tmp_path: Path) -> None:
    source = "import time\ndef test_quick(): pass\ndef test_slow(): time.sleep(60)\ndef test_late(): pass\n"
    (tmp_path / "test_some.py").write_text(source, encoding="utf-8")
    runner = running.Runner(tmp_path / "logs", time.monotonic() + 100, {})
    runner.tests("part", [str(tmp_path / "test_some.py"), "--rootdir", str(tmp_path)], 10.0)
    assert runner.results[0].state == "passed: 1 passed, 2 had no turn"
    assert runner.command("command", [sys.executable, "-c", "import time; time.sleep(60)"], 5.5) == (
        "FAILED: it took too long")
    assert runner.command("other", [sys.executable, "-c", "print(7)"], 20, tail=1) == "passed"
    assert running.Runner(tmp_path / "logs", time.monotonic(), {}).command("late", ["true"], 5.0) == "left out"


def test_files_take_turns(running: Any) -> None:
    from scripts.checking import plugin

    assert plugin.in_turns(["a::1", "a::2", "a::3", "b::1", "c::1", "c::2"]) == [0, 3, 4, 1, 5, 2]
