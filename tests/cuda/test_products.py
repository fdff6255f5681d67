"""Matrix products through cuBLAS: every layout, batch, dtype and precision, and what happens without nvmath-python."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import portable_nn as pnn
from portable_nn.backend import notices
from portable_nn.backend.namespace import array_namespace
from portable_nn.backend.precision import rounded
from portable_nn.functional.products import precision
from tests.cuda.checks import DTYPES, assert_rounded, place, read

SIZES = st.sampled_from([1, 1, 2, 3, 5, 8])
QUIET = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))


@st.composite
def views(draw: Any, shape: tuple[int, ...], broadcast: bool = True) -> Any:
    """How an array of this shape lies in memory: a larger one of axes in some order, and what is taken of it."""
    order = draw(st.permutations(range(len(shape))))
    kinds = ["all", "all", "all", "part", "every second"] + (["one"] if broadcast else [])
    return order, [draw(st.sampled_from(kinds)) for _ in shape], draw(st.integers(0, 3))


def lay(x: np.ndarray, how: Any, dtype: str) -> tuple[Any, np.ndarray]:
    """x on the device as a view, and its values there in float64."""
    import cupy

    order, taken, shift = how
    sizes = {"all": lambda n: n, "part": lambda n: n + 3, "every second": lambda n: 2 * n, "one": lambda n: 1}
    take = {"all": slice(None), "part": slice(1, -2), "every second": slice(None, None, 2), "one": slice(None)}
    x = x.copy()
    for axis, kind in enumerate(taken):
        if kind == "one":
            x[...] = np.take(x, [0], axis=axis)
    whole = [sizes[taken[axis]](x.shape[axis]) for axis in order]
    placed, _ = place(np.zeros(whole), dtype, shift)
    view = cupy.transpose(placed, np.argsort(order).tolist())[tuple(take[kind] for kind in taken)]
    exact, values = place(x[tuple(slice(0, 1) if kind == "one" else slice(None) for kind in taken)], dtype)
    view[...] = exact
    return cupy.broadcast_to(view, x.shape), np.broadcast_to(values, x.shape)


def check(x1: Any, x2: Any, a: np.ndarray, b: np.ndarray, dtype: str) -> None:
    expected = a @ b
    assert_rounded(array_namespace(x1).matmul(x1, x2), np.asarray(expected), dtype,
                   terms=4 * float(np.max(np.abs(a) @ np.abs(b), initial=0)))


@QUIET
@given(st.data())
def test_layouts(gpu: Any, data: Any) -> None:
    """Views of every kind, repeated values, axes in front that broadcast, vectors."""
    draw = data.draw
    m, k, n = draw(SIZES), draw(SIZES), draw(SIZES)
    lead = tuple(draw(st.lists(st.sampled_from([1, 2, 3]), max_size=2)))
    shapes = [(m, k), (k, n)]
    for i in range(2):
        own = lead[draw(st.integers(0, len(lead))):]
        shapes[i] = (*[draw(st.sampled_from([1, size])) for size in own], *shapes[i])
    shapes[0] = shapes[0] if draw(st.booleans()) or len(shapes[0]) > 2 or m > 1 else (k,)
    shapes[1] = shapes[1] if draw(st.booleans()) or len(shapes[1]) > 2 or n > 1 else (k,)
    rng, dtype = np.random.default_rng(draw(st.integers(0, 9))), draw(st.sampled_from(DTYPES))
    (x1, a), (x2, b) = (lay(rng.standard_normal(shape), draw(views(shape)), dtype) for shape in shapes)
    check(x1, x2, a, b, dtype)


@pytest.mark.parametrize("shapes", [((0, 3), (3, 2)), ((2, 0), (0, 3)), ((4, 2, 0), (0, 3)), ((2, 3), (3, 0)),
                                    ((0, 2, 3), (3, 4)), ((0,), (0,)), ((3, 0), (0,)), ((0, 2, 3), (0, 3, 4))])
def test_empty(gpu: Any, shapes: tuple) -> None:
    for dtype in DTYPES:
        (x1, a), (x2, b) = (place(np.ones(shape), dtype) for shape in shapes)
        check(x1, x2, a, b, dtype)


def test_no_copies(gpu: Any) -> None:
    """Transposed and part views go to cuBLAS as they lie, rows of a batch as one matrix."""
    cublas = pytest.importorskip("nvmath.bindings.cublas")
    if not hasattr(cublas, "products"):
        pytest.skip("the stand-in alone counts them")
    import cupy

    x, weight = cupy.ones((2, 3, 4), dtype="f"), cupy.ones((5, 4), dtype="f")
    batch = cupy.ones((2, 7, 4), dtype="f")
    xp = array_namespace(x)
    xp.matmul(x, weight.T), cublas.products.clear()
    before = cupy.get_default_memory_pool().used_bytes()
    results = [xp.matmul(x, weight.T), xp.matmul(x[..., 1:3], weight[:, 1:3].T),
               xp.matmul(x, cupy.swapaxes(batch, 1, 2)), xp.matmul(cupy.swapaxes(x, 1, 2), x)]
    after = cupy.get_default_memory_pool().used_bytes()
    assert cublas.products == [(1, 0, 5, 6, 4, 1, 68), (1, 0, 5, 6, 2, 1, 68),
                               (1, 0, 7, 3, 4, 2, 68), (0, 1, 4, 4, 3, 2, 68)]
    assert after - before == sum(-(-r.nbytes // 512) * 512 for r in results)


def test_mixed_dtypes_and_others(gpu: Any, rng: np.random.Generator) -> None:
    import cupy

    x32, x64 = (cupy.asarray(rng.standard_normal((3, 3)).astype(dtype)) for dtype in ("float32", "float64"))
    xp = array_namespace(x32)
    assert xp.matmul(x32, x64).dtype == "float64"
    integers = cupy.arange(9).reshape(3, 3)
    np.testing.assert_array_equal(xp.matmul(integers, integers).get(), integers.get() @ integers.get())
    for bad in (lambda: xp.matmul(x32, x32[:2]), lambda: xp.matmul(x32, x32[0, 0]),
                lambda: xp.matmul(cupy.ones((2, 3, 3)), cupy.ones((3, 3, 3)))):
        with pytest.raises(ValueError):
            bad()


@pytest.mark.parametrize("axes", [0, 1, 2, ((0, 2), (2, 1)), ((-1,), (-2,))])
def test_tensordot(gpu: Any, axes: Any, rng: np.random.Generator) -> None:
    shapes = {0: ((2, 3), (4,)), 1: ((2, 3), (3, 4)), 2: ((5, 2, 3), (2, 3, 4))}.get(
        axes if isinstance(axes, int) else -1, ((2, 3, 4), (3, 4, 2)))
    if axes == ((-1,), (-2,)):
        shapes = ((2, 3, 4), (3, 4, 2))
    (x1, a), (x2, b) = (place(rng.standard_normal(shape), "float64") for shape in shapes)
    xp = array_namespace(x1)
    np.testing.assert_allclose(read(xp.tensordot(x1, x2, axes=axes)), np.tensordot(a, b, axes=axes), rtol=1e-12)
    np.testing.assert_allclose(read(xp.linalg.tensordot(x1, x2, axes=axes)), np.tensordot(a, b, axes=axes), rtol=1e-12)


def test_vecdot_and_outer(gpu: Any, rng: np.random.Generator) -> None:
    for dtype in DTYPES:
        (x1, a), (x2, b) = (place(rng.standard_normal((4, 3)), dtype) for _ in range(2))
        xp = array_namespace(x1)
        assert_rounded(xp.vecdot(x1, x2, axis=0), np.sum(a * b, axis=0), dtype, terms=4)
        assert_rounded(xp.vecdot(x1, x2[:1]), np.sum(a * b[:1], axis=1), dtype, terms=4)
        assert_rounded(xp.linalg.outer(x1[0], x2[:, 0]), np.outer(a[0], b[:, 0]), dtype)
    with pytest.raises(ValueError):
        xp.vecdot(x1, x2[:, :2])


@pytest.mark.parametrize("name", ["tf32", "bfloat16", "float16"])
def test_precision(gpu: Any, name: str, rng: np.random.Generator) -> None:
    """The product of rounded arguments, for every layout; float64 and emulation are left alone."""
    if not usable():
        pytest.skip("products are CuPy's")
    for turned in (False, True):
        (x1, a), (x2, b) = (place(rng.standard_normal(shape), "float32") for shape in ((2, 9, 20), (13, 20)))
        xp = array_namespace(x1)
        right, b = (x2.T, b.T) if turned else (xp.asarray(x2.T, copy=True), b.T)
        exact = np.asarray(rounded(a.astype("f"), name), float) @ np.asarray(rounded(b.astype("f"), name), float)
        with precision(name):
            out = xp.matmul(x1, right)
            double = xp.matmul(x1.astype("float64"), right.astype("float64"))
        assert out.dtype == "float32"
        slack = 2e-3 if name == "tf32" else 1e-5  # the tensor cores may cut TF32 off, or round it
        np.testing.assert_allclose(read(out), exact, atol=slack * 20, rtol=0)
        assert np.max(np.abs(read(out) - a @ b)) > 1e-5
        np.testing.assert_allclose(read(double), a @ b, rtol=1e-12)
        with precision(name, emulate=True):
            np.testing.assert_allclose(read(xp.matmul(x1, right)), a @ b, atol=1e-5)


def usable() -> bool:
    from portable_nn.kernels.cupy import blas

    return blas.usable()


def test_recorded(gpu: Any, rng: np.random.Generator) -> None:
    """The tape's products and their gradients go the same way."""
    x1, x2 = (pnn.Tensor(gpu.asarray(rng.standard_normal(shape).astype("f")), requires_grad=True)
              for shape in ((2, 3, 4), (4, 5)))
    pnn.array_namespace(x1).sum(x1 @ x2).backward()
    ones = np.ones((2, 3, 5))
    np.testing.assert_allclose(read(x1.grad), ones @ read(x2.data).T, rtol=1e-5)
    np.testing.assert_allclose(read(x2.grad), np.einsum("bik,bij->kj", read(x1.data), ones), rtol=1e-5)


def test_threads_streams_and_devices_have_their_own(gpu: Any) -> None:
    import cupy

    if not usable():
        pytest.skip("products are CuPy's")
    from portable_nn.kernels.cupy import blas

    found = [blas.handle()]
    thread = threading.Thread(target=lambda: found.append(blas.handle()))
    thread.start(), thread.join()
    assert found[0] is blas.handle() and found[0].number != found[1].number
    with cupy.cuda.Stream(non_blocking=True):
        x = cupy.ones((2, 2), dtype="f")
        assert read(array_namespace(x).matmul(x, x)).tolist() == [[2, 2], [2, 2]]
    if cupy.cuda.runtime.getDeviceCount() > 1:
        with cupy.cuda.Device(1):
            x = cupy.ones((2, 2), dtype="f")
            assert blas.handle() is not found[0]
            assert read(array_namespace(x).matmul(x, x)).tolist() == [[2, 2], [2, 2]]


def test_recorded_in_a_graph(gpu: Any, rng: np.random.Generator) -> None:
    """Products into memory that replays find again, the inputs changed in between."""
    import cupy

    if not usable():
        pytest.skip("products are CuPy's")
    x, weight = (cupy.asarray(rng.standard_normal(shape).astype("f")) for shape in ((2, 3, 4), (5, 4)))
    xp, stream = array_namespace(x), cupy.cuda.Stream(non_blocking=True)
    expected = xp.matmul(x * 2, weight.T)
    cupy.cuda.get_current_stream().synchronize()
    with stream:
        for _ in range(2):
            xp.matmul(x, weight.T)
        stream.begin_capture()
        out = xp.matmul(x, weight.T)
        graph = stream.end_capture()
        x *= 2
        graph.launch(stream)
        stream.synchronize()
    np.testing.assert_array_equal(out.get(), expected.get())


def test_without_nvmath(gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                        rng: np.random.Generator) -> None:
    """CuPy's own products, and one line that says so; steps are not captured."""
    from portable_nn.kernels.cupy import blas, graphs

    reason = "nvmath-python is not installed; pip install it"
    monkeypatch.setattr(blas, "obstacle", lambda: reason)
    monkeypatch.setattr(graphs, "requirements", [lambda: reason])
    monkeypatch.setattr(notices, "_told", set())
    for dtype in DTYPES:
        (x1, a), (x2, b) = (place(rng.standard_normal(shape), dtype) for shape in ((2, 3, 4), (4, 5)))
        check(x1, x2, a, b, dtype)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "products are CuPy's" in lines[0] and "pip install" in lines[0]
    assert graphs.Graphs.obstacle() == reason
