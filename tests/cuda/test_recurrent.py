"""LSTM and GRU: one kernel for a whole sequence and one for each step, against the definition in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portable_nn as pnn
from portable_nn import functional, kernels
from portable_nn.autodiff import Tensor
from portable_nn.kernels import available
from tests.cuda.checks import DTYPES, host_dtype, read

GATES, STATES = {"lstm": 4, "gru": 3}, {"lstm": 2, "gru": 1}
#: Of the largest result: how far computing and storing in a dtype may be off over a few steps.
TOLERANCES = {"float64": 1e-12, "float32": 3e-6, "float16": 4e-3, "bfloat16": 3e-2}
#: The same for float32 whose products are rounded.
PRECISIONS = {"tf32": 2e-3, "float16": 2e-3, "bfloat16": 1.5e-2}
OPERATIONS = pytest.mark.parametrize("operation", ["lstm", "gru"])


@pytest.fixture(params=["sequence", "clusters", "steps"])
def way(request: pytest.FixtureRequest, gpu: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way through time, whatever the width says; float64 has no clusters, and takes steps for them."""
    if request.param == "clusters":
        request.getfixturevalue("clusters")
        return request.param
    available("cupy")
    from portable_nn.kernels.cupy import recurrent

    most = 0 if request.param == "steps" else 128
    monkeypatch.setattr(recurrent, "MOST_HIDDEN", dict.fromkeys("fdeE", most))
    monkeypatch.setattr(recurrent, "has_clusters", lambda device: False)
    return request.param


def make(operation: str, batch: int, steps: int, features: int, hidden: int, *, states: bool = True, bias: bool = True,
         lengths: list[int] | None = None, seed: int = 0) -> list[Any]:
    rng, width = np.random.default_rng(seed), GATES[operation] * hidden
    normal = rng.standard_normal
    return [normal((batch, steps, features)),
            *[normal((batch, hidden)) / 2 if states else None for _ in range(STATES[operation])],
            normal((width, features)) / np.sqrt(features), normal((width, hidden)) / np.sqrt(hidden),
            *[normal(width) / 4 if bias else None for _ in range(2)], None if lengths is None else np.asarray(lengths)]


def differentiate(operation: str, arrays: list[Any], weights: list[Any], reverse: bool) -> list[Any]:
    """The results, and the gradients of Σ weights · results by all floating arrays."""
    tensors = [Tensor(x, requires_grad=True) if x is not None and i < len(arrays) - 1 else x
               for i, x in enumerate(arrays)]
    out = getattr(functional, operation)(*tensors, reverse=reverse)
    used = [(y, w) for y, w in zip(out, weights, strict=True) if w is not None]
    total = sum(((y * w).sum() for y, w in used[1:]), (used[0][0] * used[0][1]).sum())
    total.backward()
    return [*(y.data for y in out), *(x.grad for x in tensors if isinstance(x, Tensor))]


def kernel(operation: str) -> Any:
    return [k for k in available("cupy") if k.operation == operation][-1]


def run(operation: str, arrays: list[Any], weights: list[Any], reverse: bool) -> list[Any]:
    """As `differentiate`, by the kernels themselves: NumPy's namespace, which the stand-in has, knows no bfloat16."""
    import cupy

    chosen = kernel(operation)
    assert chosen.supports(*arrays, reverse=reverse)
    out, saved = chosen.forward(*arrays, reverse=reverse)
    needs = tuple([x is not None for x in arrays[:-1]]) + (False,)
    gradients = chosen.backward(cupy, tuple(weights), saved, arrays[-5], needs)
    return [*out, *[g for g, needed in zip(gradients, needs, strict=True) if needed]]


def check(operation: str, arrays: list[Any], name: str, reverse: bool = False,
          parts: tuple[bool, ...] = (True,) * 3, tolerance: float | None = None) -> list[Any]:
    """Values and gradients on the device in a dtype, against the definition of the same numbers in float64."""
    import cupy

    rng = np.random.default_rng(1)
    (batch, steps, _), hidden = arrays[0].shape, arrays[-4].shape[1]
    shapes = [(batch, steps, hidden), *[(batch, hidden)] * STATES[operation]]
    weights = [rng.standard_normal(shape) if part else None for shape, part in zip(shapes, parts)]
    placed = [None if x is None else x.astype(host_dtype(name)) if x.dtype.kind == "f" else x
              for x in [*arrays, *weights]]
    exact = [x if x is None or x.dtype.kind == "i" else x.astype(np.float64) for x in placed]
    with kernels.disabled():
        expected = differentiate(operation, exact[:len(arrays)], exact[len(arrays):], reverse)
    on_device = [None if x is None else cupy.asarray(x) for x in placed]
    got = run(operation, on_device[:len(arrays)], on_device[len(arrays):], reverse)
    inferred = kernel(operation).infer(*on_device[:len(arrays)], reverse=reverse)
    for actual, wanted in zip([*got, *inferred], [*expected, *expected[:len(inferred)]], strict=True):
        assert actual.dtype == host_dtype(name)
        scale = max(float(np.max(np.abs(wanted))), 0.1)
        np.testing.assert_allclose(read(actual), wanted, rtol=0, atol=(tolerance or TOLERANCES[name]) * scale)
    return got


@OPERATIONS
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("hidden", [1, 7, 16, 33])
def test_widths(way: str, operation: str, hidden: int, name: str) -> None:
    check(operation, make(operation, 3, 5, 4, hidden), name)


@OPERATIONS
@pytest.mark.parametrize("hidden", [64, 96])
def test_whole_widths(way: str, operation: str, hidden: int) -> None:
    for name in DTYPES[:2]:
        check(operation, make(operation, 2, 3, 5, hidden), name)


@OPERATIONS
def test_orders_of_threads(way: str, order: int, operation: str) -> None:
    check(operation, make(operation, 2, 4, 3, 12, lengths=[4, 2]), "float32")


@OPERATIONS
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [5, 0, 3, 1]])
@pytest.mark.parametrize("states", [False, True])
def test_options(way: str, operation: str, reverse: bool, lengths: list[int] | None, states: bool) -> None:
    arrays = make(operation, 4, 5, 3, 6, states=states, bias=states, lengths=lengths)
    check(operation, arrays, "float32", reverse)
    check(operation, arrays, "bfloat16" if "bfloat16" in DTYPES else "float16", reverse)
    for parts in ((True, False, False), (False, True, False), (False, False, True))[:1 + STATES[operation]]:
        check(operation, arrays, "float64", reverse, parts)


@OPERATIONS
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (1, 9, 2, 5), (5, 1, 2, 5)])
def test_one_row_and_one_step(way: str, operation: str, sizes: tuple[int, int, int, int]) -> None:
    check(operation, make(operation, *sizes), "float32")


@OPERATIONS
def test_padding_may_hold_anything(way: str, operation: str) -> None:
    """NaN beyond a row's length reaches neither results nor gradients; lengths beyond the steps mean all steps."""
    import cupy

    arrays = make(operation, 3, 4, 2, 5, lengths=[4, 1, 0])
    clean = check(operation, arrays, "float32")
    arrays[0][1, 1:], arrays[0][2] = np.nan, np.inf
    arrays[-1] = np.asarray([9, 1, 0])
    placed = [cupy.asarray(x.astype(np.float32) if x.dtype.kind == "f" else x) for x in arrays]
    rng, shapes = np.random.default_rng(1), [(3, 4, 5), *[(3, 5)] * STATES[operation]]
    weights = [cupy.asarray(rng.standard_normal(shape).astype(np.float32)) for shape in shapes]
    for actual, wanted in zip(run(operation, placed, weights, False), clean, strict=True):
        np.testing.assert_array_equal(actual.get(), wanted.get())


@OPERATIONS
def test_arrays_that_do_not_lie_in_a_row(way: str, operation: str) -> None:
    import cupy

    arrays = [x.astype(np.float32) for x in make(operation, 3, 4, 6, 5)[:-1]]
    plain = [cupy.asarray(x) for x in arrays]
    strided = [cupy.asarray(np.repeat(x, 2, axis=-1))[..., ::2] for x in arrays]
    function = getattr(functional, operation)
    results = (function(*given, None, reverse=False) for given in (strided, plain))
    for actual, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(actual.get(), wanted.get(), rtol=0, atol=1e-6)


@pytest.fixture
def clusters(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters for every width, and so few at once that a batch of some size is taken 16 rows at a time."""
    available("cupy")
    from portable_nn.kernels.cupy import recurrent

    if not recurrent.has_clusters(0):
        pytest.skip("this GPU has no clusters")
    monkeypatch.setattr(recurrent, "MOST_HIDDEN", dict.fromkeys("fdeE", 0))
    monkeypatch.setattr(recurrent, "CLUSTERS", {4: 2, 8: 1})


@OPERATIONS
@pytest.mark.parametrize("hidden", [1, 33, 101, 128, 200, 256])
def test_clusters(clusters: None, operation: str, hidden: int) -> None:
    for name in ("float32", *DTYPES[2:]):
        check(operation, make(operation, {33: 18, 200: 9}.get(hidden, 3), 3, 4, hidden), name)


@OPERATIONS
def test_quick_functions(way: str, operation: str) -> None:
    """Where products may be rounded."""
    with pnn.precision("tf32"):
        check(operation, make(operation, 3, 5, 4, 9, lengths=[5, 0, 3]), "float32", tolerance=PRECISIONS["tf32"])


@OPERATIONS
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("hidden", [5, 72, 144])
def test_precisions_of_clusters(clusters: None, operation: str, hidden: int, precision: str) -> None:
    """Products by tensor cores."""
    with pnn.precision(precision):
        check(operation, make(operation, 11, 4, 3, hidden), "float32", tolerance=PRECISIONS[precision])


@OPERATIONS
@pytest.mark.parametrize("precision", ["float32", "tf32"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [5, 0, 3, 1, 5, 5, 2, 4, 0, 3]])
def test_options_of_clusters(clusters: None, order: int, operation: str, reverse: bool, lengths: list[int] | None,
                             precision: str) -> None:
    arrays = make(operation, 10, 5, 3, 40, states=reverse, bias=reverse, lengths=lengths)
    with pnn.precision(precision):
        check(operation, arrays, "float32", reverse, tolerance=PRECISIONS.get(precision))


@OPERATIONS
def test_twice_the_same(way: str, operation: str) -> None:
    first, second = (check(operation, make(operation, 4, 6, 3, 8, lengths=[6, 2, 0, 5]), "float32") for _ in range(2))
    for x, y in zip(first, second, strict=True):
        np.testing.assert_array_equal(x.get(), y.get())


@OPERATIONS
def test_recorded(way: str, operation: str) -> None:
    """A graph of forward and backward, replayed, gives what the calls themselves give, and follows its inputs."""
    import cupy

    from portable_nn.kernels.cupy import blas

    if not blas.usable():
        pytest.skip("CuPy's own products cannot be recorded")
    arrays = [cupy.asarray(x.astype(np.float32)) for x in make(operation, 3, 4, 2, 5)[:-1]] + [None]
    weights = [cupy.ones((3, 4, 5), dtype="f"), *[None] * STATES[operation]]
    stream, pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
    cupy.cuda.Device().synchronize()
    with cupy.cuda.using_allocator(pool.malloc), stream:
        for _ in range(2):
            run(operation, arrays, weights, False)
        stream.begin_capture()
        out = run(operation, arrays, weights, False)
        graph = stream.end_capture()
        arrays[0] *= 2
        expected = [x.get() for x in run(operation, arrays, weights, False)]
        for _ in range(2):
            graph.launch(stream)
        stream.synchronize()
        for actual, wanted in zip(out, expected, strict=True):
            np.testing.assert_array_equal(actual.get(), wanted)


@OPERATIONS
def test_launches(gpu: Any, operation: str) -> None:
    """A sequence is one launch, its way back another, the gradients of both biases a third; the rest are products."""
    import cupy

    if not hasattr(cupy, "is_stand_in"):
        pytest.skip("launches are counted by the stand-in")
    from cupy._raw import launches

    for hidden, way in ((64, "sequence"), (97, "cluster")):
        arrays = [cupy.asarray(x.astype(np.float32)) for x in make(operation, 2, 3, 2, hidden)[:-1]] + [None]
        launches.clear()
        run(operation, arrays, [None, cupy.ones((2, hidden), dtype="f"), *[None] * (STATES[operation] - 1)], False)
        assert [launch[0] for launch in launches] == [f"{operation}_{way}", f"{operation}_{way}_back", "sum_biases"]


@OPERATIONS
def test_the_width_decides(gpu: Any, operation: str) -> None:
    """What fits into registers takes one launch, whatever the number of steps."""
    import cupy

    if not hasattr(cupy, "is_stand_in"):
        pytest.skip("launches are counted by the stand-in")
    from cupy._raw import launches

    for name, hidden in (("float32", 96), ("float32", 97), ("float64", 64), ("float64", 65), ("float16", 97)):
        arrays = [None if x is None else cupy.asarray(x.astype(name)) for x in make(operation, 1, 3, 2, hidden)[:-1]]
        launches.clear()
        getattr(functional, operation)(*arrays, None, reverse=False)
        names = [launch[0] for launch in launches if operation in launch[0]]
        assert names == ([f"{operation}_sequence"] if hidden in (64, 96) else [f"{operation}_cluster"] if hidden == 97
                         else [f"{operation}_step"] * 3)
