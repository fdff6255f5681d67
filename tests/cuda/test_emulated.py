"""Without a GPU: the CUDA kernels in the emulator, through a stand-in for CuPy, in a process of their own.

This proves the logic of kernels, dispatch, layers and optimisers. It does not prove that a GPU agrees, nor any speed.
`pytest --backend cupy-emulated` runs more: everything that takes a backend.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cuda.emulation.build import missing
from tests.helpers import Unavailable, make_backends

ROOT = Path(__file__).parents[2]
#: Two choices of a few minutes each, which two workers share.
SELECTIONS = {"kernels": ["tests/cuda"],
              "the rest": ["tests/kernels/test_agreement.py", "tests/layers", "tests/optim", "tests/training"]}


@pytest.mark.slow
@pytest.mark.parametrize("selection", SELECTIONS.values(), ids=SELECTIONS)
def test_on_the_stand_in(selection: list[str]) -> None:
    if reason := missing():
        pytest.skip(reason)
    try:
        make_backends("cupy")
        pytest.skip("a GPU is here: `nox -s cuda` runs the same on it")
    except Unavailable:
        pass
    command = [sys.executable, "-m", "pytest", "--backend", "cupy-emulated", "-m", "backend", "-q",
               "-p", "no:cacheprovider", *selection]
    environment = {**os.environ, "PYTEST_ADDOPTS": "", "PYTEST_XDIST_WORKER": ""}
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, env=environment)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
