"""The backend fixture and its comparisons must themselves refuse what they promise to refuse."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import BACKENDS, Backend, Unavailable, assert_close, dtype_name, make_backends


@pytest.mark.parametrize("name", BACKENDS)
def test_the_backend_is_here(name: str) -> None:
    """One skip, with its reason, for all the tests that a missing backend leaves out."""
    try:
        assert make_backends(name)
    except Unavailable as reason:
        pytest.skip(f"no test ran on {name}: {reason}")


def test_asarray_places_and_keeps_values(backend: Backend, rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 4))
    placed = backend.asarray(x)
    assert dtype_name(placed.dtype) == ("float64" if backend.has_float64 else "float32")
    backend.assert_close(placed, x)
    backend.assert_close(backend.xp.sum(placed, axis=0), np.sum(x, axis=0))
    backend.assert_close(backend.asarray([1, 2], dtype="int32"), np.asarray([1, 2], dtype=np.int32))
    assert dtype_name(backend.asarray(x, dtype=backend.float_dtypes[0]).dtype) == "float32"


def test_integers_and_booleans(backend: Backend) -> None:
    assert dtype_name(backend.asarray([True, False]).dtype) == "bool"
    assert backend.asarray(np.arange(3)).dtype == backend.index_dtype


def test_read_only_refuses_writing() -> None:
    x = make_backends("readonly")[0].asarray(np.zeros(3))
    with pytest.raises(ValueError, match="read-only"):
        x += 1


@pytest.mark.parametrize("wrong", ["value", "shape", "dtype", "library", "device"])
def test_assert_close_refuses(backend: Backend, wrong: str) -> None:
    x = np.linspace(1, 2, 6).reshape(2, 3).astype(np.float32)
    actual = backend.asarray(x)
    if wrong == "value":
        actual = backend.asarray(x * np.float32(1.01))
    elif wrong == "shape":
        actual = backend.asarray(x[:1, :])
    elif wrong == "dtype":
        actual = backend.asarray(np.asarray([1, 2, 3]))
        x = np.asarray([1.0, 2.0, 3.0], dtype=np.float32)
    elif wrong == "library":
        actual = [1.0]
    elif wrong == "device":
        backend = Backend("elsewhere", backend.xp, object())
        with pytest.raises(AssertionError, match="device"):
            backend.assert_close(actual, x)
        return
    with pytest.raises(AssertionError):
        backend.assert_close(actual, x)


def test_assert_close_without_backend() -> None:
    assert_close(np.asarray([1.0, 2.0]), [1.0, 2.0])
    with pytest.raises(AssertionError):
        assert_close(np.asarray([1.0, 2.0]), [1.0, 2.1])
    with pytest.raises(AssertionError, match="dtype"):
        assert_close(np.asarray([1.0], dtype=np.float32), np.asarray([1.0]))


def test_assert_close_looks_inside_tensors(backend: Backend) -> None:
    from portable_nn.autodiff import Tensor

    x = np.linspace(1, 2, 3)
    tensor = Tensor(backend.asarray(x), requires_grad=True) * 2
    backend.assert_close(tensor, 2 * x)
    with pytest.raises(AssertionError):
        backend.assert_close(tensor, 3 * x)
    with pytest.raises(AssertionError, match="namespace"):
        Backend("elsewhere", np, backend.device).assert_close(tensor, 2 * x)


def test_asking_for_what_is_not_there_fails() -> None:
    missing = [name for name in ("cupy", "jax", "torch") if importlib.util.find_spec(name) is None]
    if not missing:
        pytest.skip("every library is installed")
    command = [sys.executable, "-m", "pytest", "--backend", missing[0], __file__, "-p", "no:cacheprovider"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert result.returncode == 4
    assert f"--backend {missing[0]}: {missing[0]} cannot be imported" in result.stderr
