"""Prove on a GPU what can only be proved there: one command, any Python that has CuPy, pytest and the library's needs.

    python3 scripts/gpu_check.py [--quick] [--no-sanitizer] [--rehearse] [arguments of pytest]

1. Says what is here: versions, the GPU, helpers that are missing.
2. Runs every test that takes a backend on CuPy: layers, losses, optimisers, training and the examples' models, each
   kernel against its definition (values, gradients, second order, all dtypes), determinism, captured steps.
3. Runs the kernel tests under compute-sanitizer, memcheck and racecheck, if the tool is found.

Prints a table of what passed and exits with 1 if anything failed. `nox -s cuda` does the same.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
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
KERNEL_TESTS = ["tests/cuda", "-k", "not replayed and not captured"]


def describe() -> bool:
    """Print what is here; whether it is enough."""
    missing = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        print(f"missing: python3 -m pip install {' '.join(missing)}")
        return False
    try:
        cupy = importlib.import_module("cupy")
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # whatever it is, there is no GPU to check
        print(f'no GPU that CuPy can use: {error}\npython3 -m pip install "cupy-cuda13x[ctk]" (or cupy-cuda12x[ctk])')
        return False
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
    return count > 0


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


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the kernels alone, without the sanitizer")
    parser.add_argument("--no-sanitizer", action="store_true", help="leave compute-sanitizer out")
    parser.add_argument("--rehearse", action="store_true",
                        help="on the tests' stand-in for CuPy: tries this script, proves nothing of a GPU")
    options, rest = parser.parse_known_args(arguments)
    if options.rehearse:
        sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "cuda" / "stand_in")]
    if not describe():
        return 1
    backend = "cupy-emulated" if options.rehearse else "cupy"
    # One process: several would each hold a CUDA context and compile the same kernels.
    pytest = [sys.executable, "-m", "pytest", "-m", "backend", "--backend", backend, "-q"]
    results: list[tuple[str, str, float]] = []
    run("kernels", [*pytest, "tests/cuda", "tests/kernels", *rest], results)
    if not options.quick:
        run("the whole suite", [*pytest, "--ignore=tests/cuda", "--ignore=tests/kernels", *rest], results)
    skip = options.quick or options.no_sanitizer or options.rehearse
    tool = None if skip else sanitizer()
    for check in ("memcheck", "racecheck") if tool else ():
        # Without CuPy's pool every array is a piece of memory by itself, and a step beyond it is seen.
        run(f"compute-sanitizer {check}", [str(tool), "--tool", check, "--error-exitcode", "9", *pytest, *KERNEL_TESTS],
            results, PORTABLE_NN_PLAIN_ALLOCATOR="1")
    print("\n" + "\n".join(f"{name:28} {state:12} {seconds:7.0f} s" for name, state, seconds in results))
    if tool is None and not skip:
        print("compute-sanitizer was not found (it comes with the CUDA toolkit): memory and races were not checked")
    if options.rehearse:
        print("a rehearsal: no GPU ran anything")
    return int(any(state != "passed" for _, state, _ in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
