"""What the standard asks of the namespace and of the array object, and what code of others makes of them."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from portable_nn.autodiff import Tensor
from tests.autodiff.calls import FFT, LINALG, F, X
from tests.autodiff.test_namespace import BINARY_DTYPES, NUMERIC, RAW, TNP, UNARY_DTYPES, same


def test_the_whole_standard_is_there_and_tested() -> None:
    strict = pytest.importorskip("array_api_strict")
    newer = {"isin", "broadcast_shapes"}
    names = {
        name for name in strict.__all__ if inspect.isfunction(getattr(strict, name)) and "strict_flags" not in name
    } - newer
    assert not {name for name in names if not hasattr(TNP, name)}
    assert not names - set(UNARY_DTYPES) - set(BINARY_DTYPES) - set(F) - {"__array_namespace_info__"}
    assert set(LINALG) == set(strict.linalg.__all__) and set(FFT) == set(strict.fft.__all__)
    for name in ("e", "inf", "nan", "newaxis", "pi", "bool", *NUMERIC):
        assert getattr(TNP, name) == getattr(RAW, name) or name == "nan"
    assert TNP.__array_api_version__ == "2024.12"


@pytest.mark.parametrize("extension", ["", "linalg", "fft"])
def test_signatures_are_the_standards(extension: str) -> None:
    strict = pytest.importorskip("array_api_strict")
    library, ours = (getattr(strict, extension), getattr(TNP, extension)) if extension else (strict, TNP)
    for name in library.__all__:
        theirs = getattr(library, name)
        if name in ("isin", "broadcast_shapes") or "strict" in name or not inspect.isfunction(theirs):
            continue
        expected, found = (inspect.signature(f).parameters for f in (theirs, getattr(ours, name)))
        assert list(found) == list(expected), name
        for key, parameter in expected.items():
            assert found[key].kind is parameter.kind, (name, key)
            if "UNDEF" not in str(parameter.default) and name != "expand_dims":
                same_default = found[key].default == parameter.default or found[key].default is parameter.default
                assert same_default, (name, key)


def test_inspection() -> None:
    info, raw = TNP.__array_namespace_info__(), RAW.__array_namespace_info__()
    assert info.capabilities() == raw.capabilities() and info.dtypes() == raw.dtypes()
    assert info.default_device() == "cpu" and info.default_dtypes() == raw.default_dtypes()


def test_array_object() -> None:
    x = Tensor(X)
    assert (x.dtype, x.shape, x.ndim, x.size, x.device) == (X.dtype, X.shape, 2, 12, "cpu")
    assert x.__array_namespace__() is TNP and x.__array_namespace__(api_version="2024.12") is TNP
    same(x.T, X.T)
    same(x.mT, X.T)
    same(x.to_device("cpu"), X)
    assert (bool(Tensor(np.asarray(True))), int(Tensor(np.asarray(3))), float(Tensor(np.asarray(2.5)))) == (
        True,
        3,
        2.5,
    )
    assert complex(Tensor(np.asarray(1 + 2j))) == 1 + 2j
    assert [10, 20, 30][Tensor(np.asarray(1))] == 20
    assert len(x) == 3 and [row.shape for row in x] == [(4,)] * 3
    with pytest.raises(TypeError):
        Tensor(np.asarray(1.5)).__index__()
    for convert in (bool, int, float, complex):
        with pytest.raises(TypeError):
            convert(x)
    same(TNP.from_dlpack(x), X)
    np.testing.assert_array_equal(np.from_dlpack(x), X)


def test_results_of_no_axes_are_arrays() -> None:
    """NumPy gives scalars there, which are no arrays of the standard."""
    x = Tensor(np.asarray([1.0, 2.0], dtype=np.float32), requires_grad=True)
    total = TNP.sum(x) * 2
    assert isinstance(total.data, np.ndarray) and total.dtype == np.float32 and total.item() == 6.0
    total.backward()
    np.testing.assert_array_equal(x.grad, np.asarray([2, 2], dtype=np.float32))


def test_scipy_and_array_api_extra_become_differentiable() -> None:
    pytest.importorskip("scipy", minversion="1.15")
    code = """
import numpy as np
from scipy.special import logsumexp
from portable_nn.autodiff import Tensor, gradcheck
x = np.random.default_rng(0).normal(size=(3, 4))
assert isinstance(logsumexp(Tensor(x, requires_grad=True), axis=1), Tensor)
assert gradcheck(lambda x: logsumexp(x, axis=1), x, order=2)
import array_api_extra as extra
assert gradcheck(lambda x: (extra.cov(x), extra.kron(x, x), extra.pad(x, 1)), x, order=2)
"""
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr
