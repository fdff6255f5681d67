"""linear on CuPy in every dtype, with and without cublasLt's bias, in lower precision, and in a thread of its own."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest

from portable_nn import Tensor, functional
from portable_nn.backend.precision import rounded
from portable_nn.functional.products import precision
from tests.cuda.checks import DTYPES, assert_rounded, host_dtype, place, read
from tests.cuda.test_rows import kernel, run

_erf = np.vectorize(math.erf, otypes=[float])
#: Value, and slope by what went in.
FORMULAS: dict[str | None, Any] = {
    None: (lambda z: z, np.ones_like), "relu": (lambda z: np.where(z <= 0, 0, z), lambda z: (z > 0) * 1.0),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "gelu": (lambda z: z * (1 + _erf(z / math.sqrt(2))) / 2,
             lambda z: (1 + _erf(z / math.sqrt(2))) / 2 + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi))}
SHAPES = [((3,), 5, 4), ((1,), 4, 8), ((2, 3), 8, 16), ((70,), 3, 33), ((40,), 16, 260), ((0,), 3, 2), ((3,), 0, 2),
          ((), 4, 3)]


@pytest.fixture(params=[True, False], ids=["bias in cublasLt", "bias in a kernel"])
def lt(request: pytest.FixtureRequest, gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        from portable_nn.kernels.cupy import blaslt

        monkeypatch.setattr(blaslt, "biased_product", lambda *arguments: None)


@pytest.mark.parametrize("activation", FORMULAS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_linear(gpu: Any, lt: None, shape: tuple, activation: str | None, rng: np.random.Generator) -> None:
    """The value and all gradients; in half precision z is rounded before f, as in the definition."""
    (lead, inner, outer), (f, slope) = shape, FORMULAS[activation]
    for name in DTYPES:
        x, x64 = place(rng.standard_normal((*lead, inner)), name)
        w, w64 = place(rng.standard_normal((outer, inner)), name, 1)
        b, b64 = place(rng.standard_normal(outer), name, 3 if outer == 33 else 0)
        g, g64 = place(rng.standard_normal((*lead, outer)), name)
        z = x64 @ w64.T + b64
        out, g_x, g_w, g_b = run("linear", (x, w, b), g, (True, True, True), activation=activation)
        d = g64 * ((read(out) > 0) if activation == "relu" else slope(z))  # rounding may have moved z past 0
        flat, rows = d.reshape(math.prod(lead), outer), x64.reshape(math.prod(lead), inner)
        coarse = {"float16": 2**-9, "bfloat16": 2**-6}.get(name, 0.0)  # what rounding in between leaves
        terms = 4 * inner + 4
        for actual, wanted, amount in ((out, f(z), terms),
                                       (g_x, d @ w64, terms * outer),
                                       (g_w, flat.T @ rows, terms * 70),
                                       (g_b, flat.sum(0), terms * 70)):
            assert actual.dtype == host_dtype(name) and actual.shape == wanted.shape
            if coarse:
                scale = 4 * float(np.max(np.abs(wanted), initial=0)) + 4
                np.testing.assert_allclose(read(actual), wanted, rtol=0, atol=coarse * scale)
            else:
                assert_rounded(actual, wanted, name, terms=amount)


@pytest.mark.parametrize("activation", FORMULAS)
def test_views_and_parts(gpu: Any, lt: None, activation: str | None, rng: np.random.Generator) -> None:
    """Transposed and part views, a repeated cotangent, no bias, and gradients of some arguments alone."""
    import cupy

    f, slope = FORMULAS[activation]
    x, x64 = place(rng.standard_normal((6, 9)), "float32")
    w, w64 = place(rng.standard_normal((6, 5)), "float32")
    x, w, x64, w64 = x.T[1:8], w.T[::2], x64.T[1:8], w64.T[::2]
    g = cupy.broadcast_to(cupy.full((), 0.5, dtype="f"), (7, 3))
    z = x64 @ w64.T
    for needs in ((True, False, False), (False, True, False)):
        out, g_x, g_w, g_b = run("linear", (x, w, None), g, needs, activation=activation)
        np.testing.assert_allclose(read(out), f(z), atol=1e-5)
        assert g_b is None and (g_x is None) != (g_w is None)
        wanted = (0.5 * slope(z)) @ w64 if needs[0] else (0.5 * slope(z)).T @ x64
        np.testing.assert_allclose(read(g_x if needs[0] else g_w), wanted, atol=1e-5)


def test_cublaslt_takes_the_bias(gpu: Any) -> None:
    lt = pytest.importorskip("nvmath.bindings.cublasLt")
    if not hasattr(lt, "products"):
        pytest.skip("the stand-in alone counts")
    import cupy

    x, w, b = (cupy.ones(shape, dtype="f") for shape in ((5, 4), (3, 4), (3,)))
    functional.linear(x, w, b, activation="relu")  # once more, to see what it makes of NaN
    lt.products.clear()
    functional.linear(x, w, b, activation="relu")
    functional.linear(x, w, None, activation="relu")
    functional.linear(x, w, b, activation="gelu")
    assert lt.products == [(3, 5, 4, 68, 6), (3, 5, 4, 68, 4)]
    lt.unknown.add(70)
    try:
        double = functional.linear(*(a.astype("d") for a in (x, w, b)), activation=None)
    finally:
        lt.unknown.clear()
    assert read(double).tolist() == [[5.0] * 3] * 5 and len(lt.products) == 2


@pytest.mark.parametrize("name", ["tf32", "bfloat16", "float16"])
def test_precision(gpu: Any, name: str, rng: np.random.Generator) -> None:
    """Parameters and gradients are float32, a half result is stored as such, a half x has a half gradient; the gradient
    computes as the forward did, wherever it runs."""
    from portable_nn.kernels.cupy import blas

    if not blas.usable():
        pytest.skip("products are CuPy's")
    (x, x64), (w, w64), (b, b64) = (place(rng.standard_normal(shape), "float32")
                                    for shape in ((9, 20), (13, 20), (13,)))
    g, g64 = place(rng.standard_normal((9, 13)), "float32")
    near = {key: np.asarray(rounded(value.astype("f"), name), float)
            for key, value in (("x", x64), ("w", w64), ("b", b64), ("g", g64))}
    stored = "float32" if name == "tf32" else name
    for kind in {"float32", stored}:
        tensors = [Tensor(a, requires_grad=True) for a in (x.astype(host_dtype(kind)), w, b)]
        with precision(name):
            out = functional.linear(*tensors, activation=None)
        assert out.dtype == host_dtype(stored)
        bias, g_z = (b64, g64) if name == "tf32" else (near["b"], near["g"])
        out.backward(g.astype(host_dtype(stored)))
        slack = 4e-2 if name == "tf32" else 3e-5  # the tensor cores may cut TF32 off, or round it
        for actual, wanted, dtype in ((out.data, near["x"] @ near["w"].T + bias, stored),
                                      (tensors[0].grad, near["g"] @ near["w"], kind),
                                      (tensors[1].grad, near["g"].T @ near["x"], "float32"),
                                      (tensors[2].grad, g_z.sum(0), "float32")):
            assert actual.dtype == host_dtype(dtype)
            room = slack + (0 if dtype == "float32" else 2.0 ** (-8 if name == "bfloat16" else -11) * np.abs(wanted))
            assert np.all(np.abs(read(actual) - wanted) <= room)
        assert np.max(np.abs(read(out.data) - (x64 @ w64.T + b64))) > 1e-5


@pytest.mark.parametrize("activation", FORMULAS)
@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_stored_in_half(gpu: Any, lt: None, name: str, activation: str | None, rng: np.random.Generator) -> None:
    """Values and gradients of every activation, with float32 x and half x, with a bias and without."""
    f, slope = FORMULAS[activation]
    near = 2.0 ** (-7 if name == "bfloat16" else -10)
    for kind, with_bias, rows in (("float32", True, 70), (name, True, 3), (name, False, 300), (name, True, 0)):
        x, x64 = place(rng.standard_normal((rows, 2, 24)), kind)
        (w, w64), (b, b64) = (place(rng.standard_normal(shape) / 5, "float32") for shape in ((16, 24), (16,)))
        g, g64 = place(rng.standard_normal((rows, 2, 16)), name)
        tensors = [Tensor(a, requires_grad=True) for a in (x, w, b)]
        with precision(name):
            out = functional.linear(*tensors[:2], tensors[2] if with_bias else None, activation=activation)
        out.backward(g)
        z = x64 @ w64.T + (b64 if with_bias else 0)
        d = g64 * ((read(out.data) > 0) if activation == "relu" else slope(z))  # rounding may have moved z past 0
        found = [out.data, tensors[0].grad, tensors[1].grad] + ([tensors[2].grad] if with_bias else [])
        wanted = [f(z), d @ w64, d.reshape(-1, 16).T @ x64.reshape(-1, 24), d.sum((0, 1))][:len(found)]
        for actual, exact, dtype in zip(found, wanted, (name, kind, "float32", "float32")):
            assert actual.dtype == host_dtype(dtype) and actual.shape == exact.shape
            np.testing.assert_allclose(read(actual), exact, atol=8 * near * np.max(np.abs(exact), initial=1))


@pytest.mark.parametrize("name", ["float32", "tf32", "bfloat16", "float16"])
def test_sums_on_the_way(gpu: Any, name: str, rng: np.random.Generator) -> None:
    """cublasLt sums the cotangent while it multiplies, over few rows; a kernel does over many, or where it cannot."""
    lt = pytest.importorskip("nvmath.bindings.cublasLt")
    if not hasattr(lt, "products"):
        pytest.skip("the stand-in alone counts")
    for rows, summed in ((40, True), (1000, False)):
        x, w, b = (Tensor(place(rng.standard_normal(shape), "float32")[0], requires_grad=True)
                   for shape in ((rows, 16), (8, 16), (8,)))
        with precision(name):
            out = functional.linear(x, w, b, activation=None)
        g, g64 = place(rng.standard_normal((rows, 8)), out.dtype.name)
        lt.products.clear()
        out.backward(g)
        assert ((16, 8, rows, 77 if name == "tf32" else 68, 512) in lt.products) == summed
        np.testing.assert_allclose(read(b.grad), g64.sum(0), atol=1e-3)
        assert b.grad.dtype == w.grad.dtype == "float32"


def test_nan_stays_nan(gpu: Any, lt: None) -> None:
    import cupy

    x = cupy.asarray(np.asarray([[np.nan, 1], [1, 1]], np.float32))
    w, b = cupy.ones((3, 2), dtype="f"), cupy.ones(3, dtype="f")
    for activation in FORMULAS:
        out = read(functional.linear(x, w, b, activation=activation))
        assert np.isnan(out[0]).all() and not np.isnan(out[1]).any()


def test_cublaslts_relu_is_taken_only_if_it_keeps_nan(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lt = pytest.importorskip("nvmath.bindings.cublasLt")
    if not hasattr(lt, "products"):
        pytest.skip("the stand-in alone can do otherwise")
    from portable_nn.kernels.cupy import blaslt

    for keeps in (True, False):
        monkeypatch.setattr(lt, "keeps_nan", keeps)
        monkeypatch.setattr(blaslt, "_local", threading.local())
        for name in DTYPES:
            (x, _), (w, _), (b, _) = (place(np.ones(shape), name) for shape in ((2, 8), (8, 8), (8,)))
            x[0, 0] = np.nan
            for _ in range(2):
                lt.products.clear()
                out = read(functional.linear(x, w, b, activation="relu"))
                assert np.isnan(out[0]).all() and (out[1] == 9).all()
            assert [product[4] for product in lt.products] == ([6] if keeps else [])


def test_is_chosen(gpu: Any) -> None:
    assert kernel("linear").name == "portable_nn.kernels.cupy.linear.forward"
