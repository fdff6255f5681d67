"""`import portable_nn` is cheap: it loads no library that only some users need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ["cupy", "scipy", "sklearn", "pandas", "matplotlib", "torch", "jax", "safetensors", "tqdm", "nvmath", "numba"]


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after running `code`."""
    code += "; import json, sys; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT,
                            check=True)
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_import_loads_nothing_heavy() -> None:
    assert loaded_by("import portable_nn").isdisjoint(HEAVY)


def test_the_check_sees_a_heavy_module() -> None:
    pytest.importorskip("scipy")
    assert "scipy" in loaded_by("import scipy")


def seconds(code: str, runs: int = 5) -> float:
    """The least time of several fresh interpreters: the machine's other work only ever adds to it."""
    timed = f"import time; start = time.perf_counter(); {code}; print(time.perf_counter() - start)"
    return min(float(subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, cwd=ROOT,
                                    check=True).stdout) for _ in range(runs))


def test_import_takes_little_more_than_numpy() -> None:
    assert seconds("import numpy; start = time.perf_counter(); import portable_nn") <= 0.15
