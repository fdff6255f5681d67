"""attention through cuDNN against the definition: dtypes, layouts, lengths, dropout, causal or not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from portable_nn import Tensor, functional, kernels
from portable_nn.backend import Stream
from portable_nn.functional.products import precision
from tests.cuda.checks import DTYPES, host_dtype, place, read
from tests.cuda.test_attention import expected, make

OPTIONS: dict[str, Any] = {"dropout_p": 0.0, "stream": None}
#: Of the largest value: cuDNN rounds weights and results, and their gradients.
TOLERANCE = {"float16": 4e-3, "bfloat16": 3e-2}
SHAPES = [((2, 3), 64, 64, 32, 32), ((2,), 70, 33, 64, 64), ((2, 1, 2), 17, 130, 128, 64), ((), 9, 65, 8, 8)]
HALVES = [name for name in DTYPES if name in TOLERANCE]


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
