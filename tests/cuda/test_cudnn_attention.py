"""attention through cuDNN against the definition: dtypes, layouts, causal or not, captured, and when it is taken."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from portable_nn import Tensor, functional, kernels
from portable_nn.backend import Stream, notices
from portable_nn.functional.products import precision
from tests.cuda.checks import DTYPES, host_dtype, read
from tests.cuda.test_attention import expected, make

OPTIONS: dict[str, Any] = {"dropout_p": 0.0, "stream": None}
#: Of the largest value: cuDNN rounds weights and results, and their gradients.
TOLERANCE = {"float16": 4e-3, "bfloat16": 3e-2}
SHAPES = [((2, 3), 64, 64, 32, 32), ((2,), 70, 33, 64, 64), ((2, 1, 2), 17, 130, 128, 64), ((), 9, 65, 8, 8)]
HALVES = [name for name in DTYPES if name in TOLERANCE]


@pytest.fixture
def cudnn(gpu: Any) -> Any:
    from portable_nn.kernels.cupy import cudnn_attention

    if cudnn_attention.obstacle() is not None:
        pytest.skip(str(cudnn_attention.obstacle()))
    return cudnn_attention


def compare(actual: Any, wanted: list[np.ndarray], name: str) -> None:
    for x, value in zip(actual, wanted, strict=True):
        assert x.shape == value.shape
        np.testing.assert_allclose(read(x), value, rtol=0, atol=TOLERANCE[name] * max(1.0, float(np.abs(value).max())))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_half_precision(gpu: Any, cudnn: Any, shape: tuple, causal: bool, rng: np.random.Generator) -> None:
    import cupy

    options = {**OPTIONS, "causal": causal, "scale": 1 / math.sqrt(shape[3])}
    for name in HALVES:
        arrays, (g, g64) = make(rng, shape, name)
        given = (*(x for x, _ in arrays), None)
        assert cudnn.supports(*given, **options)
        out, saved = cudnn.forward(*given, **options)
        gradients = cudnn.backward(cupy, g, saved, (True, True, True, False))
        assert out.dtype == host_dtype(name) and gradients[3] is None
        compare((out, *gradients[:3]), expected(tuple(x for _, x in arrays), None, g64, **options), name)
        again = cudnn.backward(cupy, g, saved, (True, True, True, False))
        for first, second in zip(gradients[:3], again[:3], strict=True):
            assert (first == second).all()


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("inside", [False, True])
def test_float32_in_a_lower_precision(gpu: Any, cudnn: Any, name: str, inside: bool, rng: np.random.Generator) -> None:
    """Rounded on the way in, float32 on the way out; heads inside rows stay there."""
    arrays, (g, g64) = make(rng, ((2, 3), 37, 37, 16, 16), "float32", heads_inside=inside)
    tensors = [Tensor(x, requires_grad=True) for x, _ in arrays]
    with precision(name):
        assert "cudnn" in kernels.explain("attention", *tensors, None, causal=True, scale=0.25, **OPTIONS)
        out = functional.attention(*tensors, None, causal=True, scale=0.25, **OPTIONS)
    out.backward(g)
    got = (out.data, *(t.grad for t in tensors))
    assert all(x.dtype == "float32" for x in got)
    compare(got, expected(tuple(x for _, x in arrays), None, g64, causal=True, scale=0.25, **OPTIONS), name)
    if inside:
        assert all(x.swapaxes(1, 2).flags.c_contiguous for x in got)


def test_recorded_in_a_graph(gpu: Any, cudnn: Any, rng: np.random.Generator) -> None:
    import cupy

    arrays, (g, _) = make(rng, ((2, 2), 64, 64, 32, 32), "float32")
    given = [x for x, _ in arrays]

    def step() -> list[Any]:
        tensors = [Tensor(x, requires_grad=True) for x in given]
        with precision("bfloat16"):
            out = functional.attention(*tensors, None, causal=True, scale=0.25, **OPTIONS)
        out.backward(g)
        return [out.data, *(t.grad for t in tensors)]

    stream, pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
    cupy.cuda.Device().synchronize()
    with cupy.cuda.using_allocator(pool.malloc), stream:
        for _ in range(3):
            eager = [x.get() for x in step()]
        stream.begin_capture()
        out = step()
        graph = stream.end_capture()
        graph.launch(stream)
        stream.synchronize()
        for a, b in zip(out, eager, strict=True):
            np.testing.assert_array_equal(a.get(), b)


def test_a_graph_that_cudnn_refuses(gpu: Any, cudnn: Any, capsys: pytest.CaptureFixture[str],
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """Our kernel takes the call, and one line says so."""
    import cupy

    if not hasattr(cupy, "is_stand_in"):
        pytest.skip("the stand-in alone refuses a width of 104")
    monkeypatch.setattr(notices, "_told", set())
    x = cupy.ones((2, 6, 104), dtype="f")
    with precision("bfloat16"):
        for _ in range(2):
            chosen = kernels.explain("attention", x, x, x, None, causal=False, scale=1.0, **OPTIONS)
            assert chosen == "portable_nn.kernels.cupy.attention.forward"
    assert "slower kernel" in capsys.readouterr().err


def test_what_it_does_not_take(gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """float32 itself, masks, dropout, odd widths go to our kernel; without cuDNN all, and one line says so."""
    import cupy

    from portable_nn.kernels.cupy import cudnn_attention

    x, options = cupy.ones((2, 6, 8), dtype="f"), {"causal": False, "scale": 1.0, **OPTIONS}
    ours = "portable_nn.kernels.cupy.attention.forward"

    def chosen(x: Any = x, mask: Any = None, **others: Any) -> str:
        return kernels.explain("attention", x, x, x, mask, **{**options, **others})

    assert chosen() == ours
    monkeypatch.setattr(cudnn_attention, "obstacle", lambda: "it is not installed; pip install it")
    monkeypatch.setattr(notices, "_told", set())
    with precision("bfloat16"):
        assert chosen(mask=cupy.zeros((6, 6), dtype=bool)) == ours
        assert chosen(dropout_p=0.5, stream=Stream(0, "a")) == ours
        assert chosen(x[..., :5]) == ours
        assert not capsys.readouterr().err
        assert chosen() == chosen() == ours
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "slower" in lines[0] and "pip install" in lines[0]
