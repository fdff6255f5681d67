"""attention through cuDNN against the definition: dtypes, layouts, causal or not, captured, and when it is taken."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import portable_nn as pnn
from portable_nn import Tensor, functional, kernels, layers, optim
from portable_nn.backend import Stream, notices
from portable_nn.functional.products import precision
from tests.cuda.checks import DTYPES, host_dtype, place, read
from tests.cuda.test_attention import expected, make
from tests.helpers import to_numpy

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


def compare(actual: Any, wanted: list[np.ndarray], name: str, slack: float = 1) -> None:
    for x, value in zip(actual, wanted, strict=True):
        assert x.shape == value.shape
        largest = max(1.0, float(np.abs(value).max()))
        np.testing.assert_allclose(read(x), value, rtol=0, atol=slack * TOLERANCE[name] * largest)


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
    """Rounded on the way in, half on the way out, gradients float32 again; heads inside rows stay there."""
    arrays, (g, g64) = make(rng, ((2, 3), 37, 37, 16, 16), "float32", heads_inside=inside)
    given, options = [x for x, _ in arrays], {"causal": True, "scale": 0.25, **OPTIONS}
    wanted = expected(tuple(x for _, x in arrays), None, g64, **options)
    half = given[0].astype(host_dtype(name))
    for parts in (given, [half, *given[1:]]):
        tensors = [Tensor(x, requires_grad=True) for x in parts]
        with precision(name):
            assert "cudnn" in kernels.explain("attention", *tensors, None, **options)
            out = functional.attention(*tensors, None, **options)
        out.backward(g.astype(host_dtype(name)))
        got = (out.data, *(t.grad for t in tensors))
        assert [x.dtype for x in got] == [host_dtype(name), *(x.dtype for x in parts)]
        compare(got, wanted, name)
        if inside and parts is given:
            assert all(x.swapaxes(1, 2).flags.c_contiguous for x in (out.data, *(t.grad for t in tensors)))


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("given", ["half", "float32", "strided"])
def test_packed(gpu: Any, cudnn: Any, name: str, given: str, rng: np.random.Generator) -> None:
    """Queries, keys and values are read, and their gradients written, where they lie side by side."""
    import cupy

    packed, packed64 = place(rng.standard_normal((2, 37, 3, 3, 16)), name)
    g, g64 = place(rng.standard_normal((2, 37, 3, 16)), name)
    packed = packed.astype("f") if given == "float32" else packed
    packed = cupy.swapaxes(cupy.ascontiguousarray(cupy.swapaxes(packed, 0, 1)), 0, 1) if given == "strided" else packed
    options = {"causal": True, "scale": 0.25, **OPTIONS}
    tensor, wanted = Tensor(packed, requires_grad=True), Tensor(packed64, requires_grad=True)
    with precision(name):
        assert "cudnn" in kernels.explain("packed_attention", packed, None, **options)
        out = functional.packed_attention(tensor, None, **options)
    out.backward(g)
    with kernels.disabled():
        expected_out = functional.packed_attention(wanted, None, **options)
    expected_out.backward(g64)
    assert out.data.dtype == host_dtype(name) and tensor.grad.dtype == packed.dtype
    assert out.data.flags.c_contiguous and tensor.grad.flags.c_contiguous
    compare((out.data, tensor.grad), [expected_out.data, wanted.grad], name)


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lead", [(4, 2), (4,)], ids=str)
def test_lengths(gpu: Any, cudnn: Any, name: str, causal: bool, lead: tuple, rng: np.random.Generator) -> None:
    """Keys that do not count get no gradient, whatever cuDNN leaves there; rows without keys give zeros."""
    import cupy

    arrays, (g, g64) = make(rng, (lead, 40, 48, 16, 24), name)
    given, options = [x for x, _ in arrays], {"causal": causal, "scale": 0.25, **OPTIONS}
    for lengths, dtype in (([48, 0, 17, 1], "int32"), ([100, 33, -1, 40], "int64")):
        mask = cupy.asarray(np.asarray(lengths, dtype))
        assert cudnn.supports(*given, mask, **options)
        out, saved = cudnn.forward(*given, mask, **options)
        got = (out, *cudnn.backward(cupy, g, saved, (True, True, True, False))[:3])
        wanted = expected(tuple(x for _, x in arrays), np.asarray(lengths), g64, **options)
        compare(got, wanted, name, 4)  # of few keys, rounded
        assert (cudnn.infer(*given, mask, **options) == out).all()
        for row, length in enumerate(lengths):
            assert not any(read(x)[row, ..., max(length, 0):, :].any() for x in got[2:])
            assert length > 0 or not any(read(x)[row].any() for x in got)


def shown_mask(gpu: Any, name: str, lengths: Any, **options: Any) -> np.ndarray:
    """Which weights (2, 3, 64, 64) cuDNN keeps: with equal scores and values of one key each, results show it."""
    zeros = gpu.asarray(np.zeros((2, 3, 64, 16), "f"))
    value = gpu.asarray(np.ascontiguousarray(np.broadcast_to(np.eye(64, dtype="f"), (2, 3, 64, 64))))
    with precision(name):
        shown = read(functional.attention(zeros, zeros, value, lengths, scale=1.0, **options))
    seen = np.tri(64) if options["causal"] else np.ones((64, 64))
    seen = seen if lengths is None else seen * (np.arange(64) < lengths.get()[:, None, None, None])
    share = seen.sum(-1, keepdims=True) * (1 - options["dropout_p"])
    np.testing.assert_allclose(shown * share, shown > 0, rtol=0.02)
    assert abs((shown > 0).sum() / (seen * np.ones(shown.shape)).sum() - (1 - options["dropout_p"])) < 0.03
    return shown > 0


@pytest.mark.parametrize("name", HALVES)
def test_dropout_is_keyed(gpu: Any, cudnn: Any, name: str) -> None:
    """Of one seed, path, step, call and rank, it is one mask; of others it has nothing to do with that."""
    stream, p = Stream(7, "encoder.self_attn", step=3, call=1), 0.25
    keep = shown_mask(gpu, name, None, causal=False, dropout_p=p, stream=stream)
    np.testing.assert_array_equal(keep, shown_mask(gpu, name, None, causal=False, dropout_p=p, stream=stream))
    for other in ({"step": 4}, {"call": 2}, {"path": "decoder"}, {"rank": 1}, {"seed": 8}):
        found = shown_mask(gpu, name, None, causal=False, dropout_p=p, stream=stream._replace(**other))
        assert abs((found == keep).mean() - (p * p + (1 - p) ** 2)) < 0.03


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("padded", [False, True])
def test_dropout(gpu: Any, cudnn: Any, name: str, padded: bool, rng: np.random.Generator) -> None:
    """The mask that results show is that of values and gradients, causal and padded."""
    lengths = np.asarray([50, 64]) if padded else None
    given = None if lengths is None else gpu.asarray(lengths)
    options = {"causal": True, "dropout_p": 0.25, "stream": Stream(7, "encoder.self_attn", step=3, call=1)}
    keep = shown_mask(gpu, name, given, **options)
    arrays, (g, g64) = make(rng, ((2, 3), 64, 64, 16, 64), name)
    tensors = [Tensor(x, requires_grad=True) for x, _ in arrays]
    with precision(name):
        out = functional.attention(*tensors, given, scale=0.25, **options)
    out.backward(g)
    hosts = [Tensor(x, requires_grad=True) for _, x in arrays]
    weights = functional.attention_weights(*hosts[:2], lengths, causal=True, scale=0.25)
    wanted = (weights * (keep / 0.75)) @ hosts[2]
    wanted.backward(g64)
    compare((out.data, *(t.grad for t in tensors)), [wanted.numpy(), *(t.grad for t in hosts)], name, 2)


def test_recorded_in_a_graph(gpu: Any, cudnn: Any, rng: np.random.Generator) -> None:
    import cupy

    from portable_nn.kernels.cupy.graphs import RecordingStream

    arrays, (g, _) = make(rng, ((2, 2), 64, 64, 32, 32), "float32")
    given = [x for x, _ in arrays]

    def step() -> list[Any]:
        tensors = [Tensor(x, requires_grad=True) for x in given]
        with precision("bfloat16"):
            out = functional.attention(*tensors, None, causal=True, scale=0.25, **OPTIONS)
            out.backward(g.astype(out.dtype))
        return [out.data, *(t.grad for t in tensors)]

    stream, pool = RecordingStream(), cupy.cuda.MemoryPool()
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
    assert len(stream.kept) == 2  # the plans that launches need live as long as the graph


class Attentive(layers.Module):
    """Attention to itself, twice, with dropout."""

    def __init__(self) -> None:
        self.first, self.second = (layers.MultiheadAttention(16, 2, dropout=0.3) for _ in range(2))

    def forward(self, x: Any) -> Any:
        return self.second(self.first(x, causal=True), causal=True)


def test_captured_steps_draw_anew(gpu: Any, cudnn: Any, rng: np.random.Generator) -> None:
    """As eager ones, to the last bit; and every step, layer and call another mask."""
    from tests.cuda.steps import assert_same, everything, recordable_products

    batches = [rng.standard_normal((3, 32, 16)).astype("f") for _ in range(6)]
    found = []
    with recordable_products(), precision("bfloat16"):
        for capture in (False, True, True):
            model = Attentive().initialize(3).to("cuda:0")
            optimizer = optim.SGD(model.parameters(), lr=0.1)

            def step(x: Any, model: Any = model, optimizer: Any = optimizer) -> Any:
                loss = (model(x) ** 2).mean()
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                return loss

            step = pnn.capture(step) if capture else step
            losses = [to_numpy(step(Tensor(gpu.asarray(x)))).item() for x in batches]
            still = [to_numpy(model(gpu.asarray(batches[0]))) for _ in range(2)]
            assert not np.array_equal(*still)
            found.append((losses, everything(model, optimizer)))
    for losses, state in found[1:]:
        assert losses == found[0][0]
        assert_same(state, found[0][1])


def test_inference_builds_no_gradient(gpu: Any, cudnn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And keeps no sums; plans that were not used for long are let go of."""
    import cupy

    if not hasattr(cupy, "is_stand_in"):
        pytest.skip("the stand-in alone tells what was built")
    import cudnn as stand_in

    from portable_nn.kernels.cupy import cudnn_plans

    options = {"causal": False, "scale": 1.0, **OPTIONS}
    monkeypatch.setattr(cudnn_plans, "MOST", 3)
    cudnn_plans._kept().clear()
    stand_in.built.clear()
    with precision("bfloat16"):
        for width in (8, 16, 8, 24):
            x = cupy.ones((3, 9, width), dtype="f")
            functional.attention(x, x, x, None, **options)
        assert stand_in.built == ["attention without stats"] * 3
        x = Tensor(cupy.ones((3, 9, 8), dtype="f"), requires_grad=True)
        functional.attention(x, x, x, None, **options).sum().backward()
        assert stand_in.built[3:] == ["attention", "attention_backward"]
        x = cupy.ones((3, 9, 24), dtype="f")
        functional.attention(x, x, x, None, **options)
        assert len(stand_in.built) == 5 and len(cudnn_plans._kept()) == 3
        functional.attention(*[cupy.ones((3, 9, 8), dtype="f")] * 3, None, **options)
        assert len(stand_in.built) == 6


def test_arrays_that_cudnn_cannot_read(gpu: Any, cudnn: Any, rng: np.random.Generator) -> None:
    """Rows that do not begin at multiples of 16 bytes, or repeat, are copied."""
    import cupy

    options = {"causal": False, "scale": 0.5, **OPTIONS}
    whole, whole64 = place(rng.standard_normal((2, 10, 20)), "float16")
    shifted, shifted64 = place(rng.standard_normal((2, 10, 8)), "float16", shift=3)
    one, one64 = place(rng.standard_normal((1, 10, 8)), "float16")
    repeated = cupy.broadcast_to(one, (2, 10, 8))
    given = (whole[..., 4:12], shifted, repeated)
    found = [cudnn.infer(*given, None, **options)]
    assert cudnn.supports(*given, None, **options)
    out, saved = cudnn.forward(*given, None, **options)
    g = cupy.broadcast_to(cupy.full((), 0.5, dtype="e"), out.shape)
    found = [*found, out, *cudnn.backward(cupy, g, saved, (True, True, True, False))[:3]]
    hosts = whole64[..., 4:12], shifted64, np.repeat(one64, 2, 0)
    wanted = expected(hosts, None, np.full((2, 10, 8), 0.5), **options)
    compare(found, [wanted[0], *wanted], "float16")


def test_a_graph_that_cudnn_refuses(gpu: Any, cudnn: Any, capsys: pytest.CaptureFixture[str],
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """Our kernel takes the call, and one line says so."""
    import cupy

    if not hasattr(cupy, "is_stand_in"):
        pytest.skip("the stand-in alone refuses a width of 104")
    monkeypatch.setattr(notices, "_told", set())
    options = {"causal": False, "scale": 1.0, **OPTIONS}
    x = cupy.ones((2, 6, 104), dtype="f")
    packed = cupy.ones((2, 6, 3, 1, 104), dtype="f")
    with precision("bfloat16"):
        for _ in range(2):
            assert (functional.attention(x, x, x, None, **options) == x).all()
            assert (functional.packed_attention(packed, None, **options) == 1).all()
            for operation, arrays in ((functional.attention, (x, x, x)), (functional.packed_attention, (packed,))):
                tensors = [Tensor(a, requires_grad=True) for a in arrays]
                operation(*tensors, None, **options).sum().backward()
                assert np.allclose(sum(t.grad.sum().get() for t in tensors), x.size, rtol=0.02)
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if "slower kernel" in line]) == 1


def test_what_it_does_not_take(gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """float32 itself, masks, odd widths, dropping all go to our kernel; without cuDNN all, and one line says so."""
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
        assert chosen(dropout_p=1.0, stream=Stream(0, "a")) == ours
        assert chosen(x[..., :5]) == ours
        assert not capsys.readouterr().err
        assert chosen() == chosen() == ours
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "slower" in lines[0] and "pip install" in lines[0]
