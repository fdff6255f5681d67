"""What Numba compiles: which calls it takes, how exact it is, that it is quick to load, and where it is kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special

from portable_nn import functional, kernels
from portable_nn.backend import Stream
from portable_nn.backend.random import words
from portable_nn.backend.special import erf

pytest.importorskip("numba")
from portable_nn.kernels.compiled import activations, common, elementary, jit, philox
from portable_nn.kernels.compiled.jit import OutVector, OutWords, Vector, Words, compiled, inline

ROOT = Path(__file__).resolve().parents[2]
LARGE = (300, 257)


@compiled
def exponentials(out: OutVector, x: Vector) -> None:
    for i in range(out.size):
        out[i] = elementary_exp(x[i])


@compiled
def normals(out: OutVector, x: Vector) -> None:
    for i in range(out.size):
        out[i] = normal(x[i])[0]


@compiled
def logarithms(out: OutVector, x: Vector) -> None:
    for i in range(out.size):
        out[i] = log1p_of_share(x[i])


@compiled
def draw(anything: Vector, out: OutWords, key: Words) -> None:
    fill(out, key, 5)


elementary_exp, normal, log1p_of_share, fill = (elementary.exp, elementary.normal, elementary.log1p_of_share,
                                                philox.fill)
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-38, -1e-38, 3e38, -3e38], dtype=np.float32)


def test_large_calls_alone_are_compiled() -> None:
    x = np.ones(LARGE, dtype=np.float32)
    assert kernels.explain("gelu", x, approximate="none") == "portable_nn.kernels.compiled.activations.gelu"
    for other in (x[:3], x.astype(np.float64), x.astype(">f4")):
        assert "compiled" not in kernels.explain("gelu", other, approximate="none")
    with kernels.disabled(generic=True):
        assert kernels.explain("gelu", x, approximate="none") == "generic gelu"


def test_small_calls_load_no_numba() -> None:
    code = ("import sys, numpy, portable_nn; from portable_nn import functional\n"
            "functional.gelu(numpy.ones((8, 64), dtype=numpy.float32), approximate='none')\n"
            "assert 'portable_nn.kernels.compiled' in sys.modules and 'numba' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_numba_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that is older than NumPy: NumPy does the work, and the user is told why, once."""
    x = np.ones(LARGE, dtype=np.float32)
    monkeypatch.setitem(sys.modules, "numba", None)
    common.works.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="Numba cannot be used"):
            assert "compiled" not in kernels.explain("gelu", x, approximate="none")
        assert "compiled" not in kernels.explain("relu", x)
    finally:
        common.works.cache_clear()


def ulps(actual: np.ndarray, exact: np.ndarray) -> float:
    """The largest error in units in the last place of the exact values, those too small for them left out."""
    normal_numbers = np.abs(exact) > np.finfo(np.float32).tiny
    error = np.abs(actual.astype(np.float64) - exact)[normal_numbers]
    return float(np.max(error / np.spacing(np.abs(exact[normal_numbers]).astype(np.float32))))


@pytest.mark.parametrize("function, exact, low, high, limit", [
    (exponentials, np.exp, -88, 88, 2), (activations.tanh_into, np.tanh, -12, 12, 2.5),
    (activations.sigmoid_into, scipy.special.expit, -87, 87, 3), (activations.erf_into, scipy.special.erf, -6, 6, 2),
    (logarithms, np.log1p, 0, 1, 2), (normals, scipy.special.ndtr, -2, 6, 6)])
def test_accuracy(function: Any, exact: Any, low: float, high: float, limit: float) -> None:
    x = np.concatenate([np.linspace(low, high, 400_001), np.geomspace(1e-30, 1, 10_001),
                        -np.geomspace(1e-30, 1, 10_001)[::-1] * (low < 0)]).astype(np.float32)
    out = np.empty_like(x)
    function(out, x)
    assert ulps(out, exact(x.astype(np.float64))) <= limit


@pytest.mark.parametrize("operation, options", [
    ("relu", {}), ("tanh", {}), ("sigmoid", {}), ("silu", {}), ("gelu", {"approximate": "none"}),
    ("gelu", {"approximate": "tanh"}), ("leaky_relu", {"negative_slope": 0.1}),
    ("softplus", {"beta": 2.0, "threshold": 20.0}), ("softmax", {"axis": -1}), ("log_softmax", {"axis": -1}),
    ("rms_norm", {"eps": 1e-6})])
@pytest.mark.usefixtures("compiled_takes_all")
def test_nan_and_infinities(operation: str, options: dict) -> None:
    """They come out as they do from the definition: compiled code must not suppose that there are none."""
    x = np.tile(SPECIAL[:, None], (1, 40))
    x[:, 1::2] = 0.5
    arrays = (x, None) if operation == "rms_norm" else (x,)
    with np.errstate(all="ignore"):
        assert "compiled" in kernels.explain(operation, *arrays, **options)
        actual = getattr(functional, operation)(*arrays, **options)
        with kernels.disabled():
            wanted = getattr(functional, operation)(*arrays, **options)
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(np.where(finite, 0, actual), np.where(finite, 0, wanted))
    np.testing.assert_allclose(actual[finite], wanted[finite], rtol=1e-5, atol=2e-38)


def test_erf_of_special_values() -> None:
    x = np.tile(SPECIAL, 10_000)
    np.testing.assert_array_equal(erf(x), scipy.special.erf(x))


def test_unaligned_and_big_endian_arrays() -> None:
    x = np.random.default_rng(0).standard_normal(LARGE).astype(np.float32)
    unaligned = np.frombuffer(b"\0" + x.tobytes(), dtype=np.uint8)[1:].view(np.float32).reshape(LARGE)
    expected = functional.layer_norm(x, x[0], x[1], eps=1e-5)
    np.testing.assert_array_equal(functional.layer_norm(unaligned, unaligned[0], unaligned[1], eps=1e-5), expected)
    np.testing.assert_allclose(functional.gelu(x.astype(">f4"), approximate="none"),
                               functional.gelu(x, approximate="none"), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("stream", [Stream(3, "a"), Stream(2**64 - 1, "b", step=7, call=2**63, rank=5)], ids=str)
def test_words_are_those_of_the_stream(stream: Stream) -> None:
    out = np.empty(40, dtype=np.uint64)
    draw(np.empty(0, dtype=np.float32), out, philox.key_of(stream))
    np.testing.assert_array_equal(out, words(stream, 40, 20))


def test_high_product_as_python() -> None:
    a, b = np.uint64(2**64 - 3), np.uint64(2**63 + 12345)
    assert philox.high_product(a, b) == int(a) * int(b) >> 64


def test_identity_sees_what_is_inlined() -> None:
    """The machine code on disk is only used for the very same instructions and literals, those of others included."""
    def outer(x: Vector) -> None:
        fill(x)

    def identity(value: Any) -> str:
        return jit.identity(types.FunctionType(outer.__code__, {"fill": value}))

    assert identity(inline(lambda x: x + 1.0)) == identity(inline(lambda x: x + 1.0))
    assert len({identity(value) for value in (inline(lambda x: x + 1.0), inline(lambda x: x + 2.0), 1.0, 2.0)}) == 4


def test_compiling_is_announced_once_and_quietly(capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "_spent", 0.0)
    monkeypatch.setattr(jit, "_PATIENCE", 1e-9)
    for _ in range(3):
        jit._report(0.5)
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "compiling" in captured.err


SCRIPT = """
import sys, numpy as np
from portable_nn import functional
from portable_nn.kernels.compiled import activations
x = np.linspace(-3, 3, 70000, dtype=np.float32)
np.testing.assert_array_equal(functional.relu(x), np.maximum(x, 0))
stats = activations.relu_into.made("f").stats
print(sum(stats.cache_hits.values()), stats.cache_path)
"""


def run_copy(tmp_path: Path, **environment: str) -> list[str]:
    """The number of functions loaded from disk, and the folder, in a process that uses a copy of the package."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    result = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, env={**variables, **environment}, check=True,
                            capture_output=True, text=True)
    return result.stdout.strip().split(" ", 1)


@pytest.mark.skipif(sys.platform == "win32", reason="the user's cache folder cannot be moved there")
def test_where_machine_code_is_kept(tmp_path: Path) -> None:
    """Beside the sources, or in the user's cache folder if they are read-only, or nowhere if that is too."""
    shutil.copytree(ROOT / "portable_nn", tmp_path / "portable_nn", ignore=shutil.ignore_patterns("__pycache__"))
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "caches"), "PYTHONPATH": str(tmp_path)}
    folder = tmp_path / "portable_nn" / "kernels" / "compiled" / "__pycache__"
    assert run_copy(tmp_path, **home) == ["0", str(folder)]
    assert run_copy(tmp_path, **home) == ["1", str(folder)]
    shutil.rmtree(folder)
    folder.touch()  # as unwritable as a folder can be made for root, too
    loaded, elsewhere = run_copy(tmp_path, **home)
    assert loaded == "0" and elsewhere.startswith(str(tmp_path)) and "compiled" not in Path(elsewhere).parts[-2]
    assert run_copy(tmp_path, **home) == ["1", elsewhere]
    (tmp_path / "file").touch()
    nowhere = {**home, "HOME": str(tmp_path / "file"), "XDG_CACHE_HOME": str(tmp_path / "file")}
    assert run_copy(tmp_path, **nowhere) == ["0", "None"]


def test_a_cache_that_numba_keeps_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    @compiled
    def double(out: OutVector, x: Vector) -> None:
        for i in range(out.size):
            out[i] = 2.0 * x[i]

    def uncached(function: Any, cache: bool = False, **options: Any) -> Any:
        return object() if cache else njit(function, **options)

    njit = numba.njit
    monkeypatch.setattr(numba, "njit", uncached)
    out = np.empty(3, dtype=np.float32)
    double(out, np.arange(3, dtype=np.float32))
    assert out.tolist() == [0, 2, 4]
