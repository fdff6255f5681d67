"""What one recorded operation costs, beside PyTorch's, and what the import costs beside NumPy's.

The chain `x = tanh(x * w + b)` over 4×4 float32 arrays is nearly all overhead. Both libraries take turns in one
process, on one thread, and the median round of each is reported, so that a busy machine slows both alike.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
LENGTH, ROUNDS = 100, 30
OPERATIONS = 3  # multiply, add, tanh


def ours(length: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Forward alone, and forward with backward, of the chain over Tensors."""
    from portable_nn import Tensor, array_namespace

    x, w, b = (Tensor(array, requires_grad=True) for array in arrays())
    tanh = array_namespace(x).tanh
    return _pair(x, w, b, tanh, length)


def theirs(length: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The same in PyTorch, on one thread."""
    import torch

    torch.set_num_threads(1)
    x, w, b = (torch.tensor(array, requires_grad=True) for array in arrays())
    return _pair(x, w, b, torch.tanh, length)


def arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((4, 4)).astype(np.float32) for _ in range(3)]


def _pair(x: Any, w: Any, b: Any, tanh: Callable[[Any], Any],
          length: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    def forward() -> Any:
        y = x
        for _ in range(length):
            y = tanh(y * w + b)
        return y

    def both() -> None:
        forward().sum().backward()
        x.grad = w.grad = b.grad = None

    return forward, both


def median_times(functions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each function over rounds in which they take turns."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def import_seconds(code: str, runs: int = 7) -> float:
    """The least time of `code` over fresh interpreters that have imported NumPy."""
    timed = f"import time, numpy; start = time.perf_counter(); {code}; print(time.perf_counter() - start)"
    command = [sys.executable, "-c", timed]
    return min(float(subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout)
               for _ in range(runs))


def first_forward() -> str:
    return ("import portable_nn; model = portable_nn.layers.Linear(4, 4);"
            " model(numpy.zeros((2, 4), dtype=numpy.float32))")


def measure() -> dict[str, float]:
    """The figures by name; PyTorch's are left out where it is not installed."""
    functions = dict(zip(("ours forward", "ours both"), ours(LENGTH), strict=True))
    with contextlib.suppress(ImportError):
        functions |= dict(zip(("torch forward", "torch both"), theirs(LENGTH), strict=True))
    seconds = median_times(functions, ROUNDS)
    figures = {f"{name}, µs an operation": 1e6 * value / (OPERATIONS * LENGTH) for name, value in seconds.items()}
    if "torch both" in seconds:
        figures["forward, PyTorch ÷ ours"] = seconds["torch forward"] / seconds["ours forward"]
        figures["forward and backward, PyTorch ÷ ours"] = seconds["torch both"] / seconds["ours both"]
    figures["import portable_nn over import numpy, s"] = import_seconds("import portable_nn")
    figures["first forward over import numpy, s"] = import_seconds(first_forward())
    return figures


def run(file: Path | None) -> None:
    """Print the figures, and write them to a file if one is given."""
    sys.path.insert(0, str(ROOT))
    os.environ["OMP_NUM_THREADS"] = "1"
    figures = measure()
    for name, value in figures.items():
        print(f"{name:42s} {value:8.3f}")
    if file is not None:
        file.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
