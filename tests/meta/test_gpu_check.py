"""scripts/gpu_check.py says what is missing, and fails, where there is no GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
