"""One command for each habit: `nox` runs the tests, the linter and the types; `nox --list` names the rest."""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: One version each, so that every machine sees the same complaints.
RUFF, MYPY = "ruff==0.17.6", "mypy==2.4.1"
TORCH = "torch==2.13.0"
#: Only scikit-learn asks for SciPy; this is the oldest that was built for NumPy 2.2.
OLDEST_SCIPY = "scipy==1.15.0"
#: Two workers share the cores better than BLAS threads do on arrays as small as those of the tests.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
WORKERS = str(min(4, os.cpu_count() or 1))

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["tests", "lint", "types"]
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False


def install(session: nox.Session, *requirements: str) -> None:
    """Install into the session's environment, or do nothing if it holds the same already."""
    if not session.virtualenv.is_sandboxed:
        session.log("no environment of its own: using what is installed")
        return
    stamp = Path(session.virtualenv.location) / "installed"
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + repr(requirements).encode()).hexdigest()
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        session.log("unchanged: %s", " ".join(requirements))
        return
    session.install(*requirements)
    stamp.write_text(wanted, encoding="utf-8")


def oldest(requirement: str) -> str:
    """The requirement with its lower bound made exact: `numpy>=2.0` gives `numpy==2.0`."""
    return requirement.replace(">=", "==")


def run_tests(session: nox.Session, *options: str) -> None:
    """A worker that has nothing left takes over what waits behind another's long tests."""
    session.run("python", "-m", "pytest", "-n", WORKERS, "--dist", "worksteal", *options, *session.posargs,
                env=ONE_THREAD)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests on the Python that runs nox."""
    install(session, "-e", ".[examples,test]")
    run_tests(session, "-m", "not parity")


@nox.session(name="tests-all", python=["3.11", "3.12", "3.13", "3.14"])
def tests_all(session: nox.Session) -> None:
    """All tests on each Python that is found."""
    install(session, "-e", ".[examples,test]")
    run_tests(session, "-m", "not parity")


@nox.session(python="3.11")
def minimum(session: nox.Session) -> None:
    """All tests with exactly the oldest versions that pyproject.toml allows."""
    extras = PROJECT["optional-dependencies"]
    requirements = [*PROJECT["dependencies"], *extras["examples"], *extras["fast"], *extras["test"]]
    install(session, "-e", ".", OLDEST_SCIPY, *map(oldest, requirements))
    run_tests(session, "-m", "not parity")


@nox.session
def fast(session: nox.Session) -> None:
    """What the extra [fast] compiles, held to its definitions; `tests` runs without it."""
    install(session, "-e", ".[fast,test]")
    run_tests(session, "tests/kernels", "tests/layers", "--backend", "numpy", "--backend", "readonly")


@nox.session
@nox.parametrize("backend", [nox.param(name, id=name) for name in ("numpy", "readonly", "strict", "torch", "jax")])
def backends(session: nox.Session, backend: str) -> None:
    """The tests that take a backend, on one alone: `nox -s "backends(strict)"`."""
    guest = {"torch": [TORCH], "jax": ["jax"]}.get(backend, [])
    install(session, "-e", ".[examples,test]", *guest)
    run_tests(session, "-m", "backend", "--backend", backend)


@nox.session(python="3.11")
def parity(session: nox.Session) -> None:
    """Outputs, gradients and optimiser steps against PyTorch, which this session alone installs."""
    install(session, "-e", ".[test]", TORCH)
    run_tests(session, "-m", "parity")


@nox.session(venv_params=["--system-site-packages"])
def cuda(session: nox.Session) -> None:
    """Everything that only a GPU can prove (scripts/gpu_check.py), on a CuPy that is here or fits nvidia-smi."""
    install(session, "-e", ".[test]")
    present = session.run("python", "-c", "import cupy; print(cupy.__version__)", silent=True, success_codes=[0, 1])
    if not re.match(r"\d+\.\d+", str(present)):
        extra = session.run("python", "-c", "from portable_nn.cli import cuda_extra; print(cuda_extra())", silent=True)
        extra = str(extra).strip()
        if extra == "None":
            session.error("nvidia-smi reports no GPU with CUDA 12 or newer, and no CuPy is installed")
        session.install("-e", f".[test,{extra}]")
    session.run("python", "scripts/gpu_check.py", *session.posargs)


@nox.session(python="3.11")
def cuda_compile(session: nox.Session) -> None:
    """Every CUDA source through NVRTC of CUDA 13 and 12, which need no GPU (150 MB of wheels)."""
    install(session, "-e", ".[test]", "nvidia-cuda-nvrtc>=13,<14", "nvidia-cuda-nvrtc-cu12")
    run_tests(session, "tests/cuda/test_compiles.py")


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, and the repository's own checks."""
    install(session, RUFF)
    session.run("ruff", "check", ".")
    for check in ("check_imports", "check_device_kwarg", "sizes"):
        session.run("python", f"scripts/{check}.py")


@nox.session
def types(session: nox.Session) -> None:
    """mypy over the package."""
    install(session, MYPY)
    session.run("mypy")


@nox.session
def examples(session: nox.Session) -> None:
    """Each example for a few seconds."""
    install(session, "-e", ".[examples]")
    for example in sorted((ROOT / "examples").glob("*.py")):
        session.run("python", str(example.relative_to(ROOT)), "--smoke", *session.posargs)


@nox.session(python="3.11")
def bench(session: nox.Session) -> None:
    """Training steps beside PyTorch's, JAX's and scikit-learn's: `nox -s bench -- --threads 2`."""
    install(session, "-e", ".[fast]", TORCH, "jax")
    session.run("python", "scripts/bench.py", *session.posargs)
