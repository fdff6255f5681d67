"""attention's kernels in every dtype and head size, over heads that lie inside rows, with the definition's dropout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from portable_nn import Tensor, functional, kernels
from portable_nn.backend import Stream
from portable_nn.functional.products import precision
from tests.cuda.checks import DTYPES, host_dtype, place, read

STREAM = Stream(3, "layer.attention", step=2, call=1)
#: What results may be off by, of the largest.
TOLERANCE = {"float64": 1e-12, "float32": 4e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
#: (lead, queries, keys, width of query and key, width of value)
SHAPES = [((2, 3), 5, 7, 4, 3), ((2,), 70, 33, 20, 40), ((), 9, 65, 64, 64), ((1, 2), 20, 17, 100, 72),
          ((2, 1, 2), 3, 18, 200, 256)]


def ours() -> Any:
    """Our own kernels, whatever else takes the call."""
    return next(k for k in kernels.available("cupy") if k.name == "portable_nn.kernels.cupy.attention.forward")


def expected(arrays: tuple, mask: Any, g: np.ndarray, **options: Any) -> list[np.ndarray]:
    """Value and gradients of the definition, in float64."""
    tensors = [Tensor(x, requires_grad=True) for x in arrays]
    with kernels.disabled():
        out = functional.attention(*tensors, mask, **options)
    out.backward(g)
    return [np.asarray(out.data), *(np.asarray(t.grad) for t in tensors)]


def check(arrays: tuple, mask: Any, g: tuple, name: str, slack: float = 1, **options: Any) -> tuple:
    """Value and gradients of the kernels: `arrays` and `g` are pairs of an array on the device and its float64."""
    import cupy

    options["scale"] = 1 / math.sqrt(arrays[0][0].shape[-1])
    hidden = None if mask is None else cupy.asarray(mask)
    given = (*(x for x, _ in arrays), hidden)
    assert ours().supports(*given, **options)
    out, saved = ours().forward(*given, **options)
    got = (out, *ours().backward(cupy, g[0], saved, (True, True, True, False))[:3])
    wanted = expected(tuple(x for _, x in arrays), mask, g[1], **options)
    for actual, value in zip(got, wanted, strict=True):
        assert actual.dtype == host_dtype(name) and actual.shape == value.shape
        np.testing.assert_allclose(read(actual), value, rtol=0,
                                   atol=slack * TOLERANCE[name] * max(1.0, float(np.max(np.abs(value)))))
    return got


def make(rng: np.random.Generator, shape: tuple, name: str, heads_inside: bool = False) -> tuple:
    lead, queries, keys, width, values = shape
    made = []
    for rows, columns in ((queries, width), (keys, width), (keys, values), (queries, values)):
        if heads_inside:
            x, x64 = place(rng.standard_normal((lead[0], rows, lead[1], columns)), name)
            made.append((x.swapaxes(1, 2), x64.swapaxes(1, 2)))
        else:
            made.append(place(rng.standard_normal((*lead, rows, columns)), name))
    return tuple(made[:3]), made[3]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_dtypes_and_heads(gpu: Any, shape: tuple, rng: np.random.Generator) -> None:
    for name in DTYPES:
        if name == "float64" and shape[4] == 256 and not _fits(gpu):
            continue
        arrays, g = make(rng, shape, name)
        check(arrays, None, g, name, causal=False, dropout_p=0.0, stream=None)
        hidden = rng.random((*shape[0], shape[1], shape[2])) < 0.4
        check(arrays, hidden, g, name, causal=True, dropout_p=0.0, stream=None)


def _fits(gpu: Any) -> bool:
    from portable_nn.kernels.cupy.attention import tile

    return tile(256, "d", (4, 1)) is not None


@pytest.mark.parametrize("name", DTYPES)
def test_heads_inside_rows(gpu: Any, name: str, rng: np.random.Generator) -> None:
    """As a layer's projections leave them; results and gradients lie the same way, to be merged without a copy."""
    arrays, g = make(rng, ((2, 3), 37, 37, 16, 16), name, heads_inside=True)
    out, *gradients = check(arrays, None, g, name, causal=True, dropout_p=0.0, stream=None)
    for x in (out, *gradients):
        assert x.swapaxes(1, 2).flags.c_contiguous


@pytest.mark.parametrize("p", [0.1, 0.5, 1.0])
def test_dropout_is_the_definitions(gpu: Any, order: int, p: float, rng: np.random.Generator) -> None:
    """Values of one key each show the mask, bit for bit, over tiles that begin anywhere in the stream."""
    arrays, g = make(rng, ((2, 3), 21, 67, 8, 5), "float32")
    check(arrays, None, g, "float32", causal=False, dropout_p=p, stream=STREAM)
    import cupy

    query, key = cupy.zeros((3, 21, 8), dtype="f"), cupy.zeros((3, 67, 8), dtype="f")
    value = cupy.asarray(np.broadcast_to(np.eye(67, dtype="f"), (3, 67, 67)).copy())
    shown = read(functional.attention(query, key, value, None, causal=False, scale=1.0, dropout_p=p, stream=STREAM))
    kept = functional.dropout(np.ones((3, 21, 67), "f"), p=p, stream=STREAM)
    np.testing.assert_array_equal(shown > 0, kept > 0)
    np.testing.assert_allclose(shown, kept / 67, rtol=1e-5)


def test_hidden_rows_masks_and_offsets(gpu: Any, order: int, rng: np.random.Generator) -> None:
    """Rows hidden whole give zeros and no gradient; masks broadcast without copies; more queries than keys."""
    arrays, g = make(rng, ((2, 3), 40, 18, 8, 8), "float32")
    mask = np.zeros((2, 1, 40, 1), bool)
    mask[0, 0, 5:30] = True
    out, g_q, *_ = check(arrays, mask, g, "float32", causal=True, dropout_p=0.0, stream=None)
    assert not read(out)[0, :, 5:30].any() and not read(g_q)[0, :, 5:30].any()
    for shape in ((18,), (40, 1), (1, 1, 18), (3, 40, 18), (2, 1, 1, 18)):
        check(arrays, rng.random(shape) < 0.5, g, "float32", causal=False, dropout_p=0.2, stream=STREAM)


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("causal", [False, True])
def test_lengths(gpu: Any, order: int, name: str, causal: bool, rng: np.random.Generator) -> None:
    """Numbers of keys that count, one for all heads of a row, in place of a mask; tiles behind them are skipped."""
    options = {"causal": causal, "dropout_p": 0.2, "stream": STREAM}
    for lengths, dtype in (([70, 0, 33], "int32"), ([100, 1, -2], "int64"), ([64, 16, 65], "uint8")):
        arrays, g = make(rng, ((3, 2), 50, 70, 8, 16), name)
        out, g_q, g_k, g_v = check(arrays, np.asarray(lengths, dtype), g, name, 4, **options)  # of few keys, rounded
        for row, length in enumerate(lengths):
            assert not read(g_k)[row, :, max(length, 0):].any() and not read(g_v)[row, :, max(length, 0):].any()
            assert length > 0 or not (read(out)[row].any() or read(g_q)[row].any())


@pytest.mark.parametrize("name", DTYPES)
def test_packed(gpu: Any, name: str, rng: np.random.Generator) -> None:
    """One launch forward and one backward: nothing is cut out, copied or stacked."""
    import cupy

    packed, packed64 = place(rng.standard_normal((2, 37, 3, 3, 16)), name)
    g, g64 = place(rng.standard_normal((2, 37, 3, 16)), name)
    lengths, options = np.asarray([20, 37]), {"causal": True, "scale": 0.25, "dropout_p": 0.2, "stream": STREAM}
    tensor, wanted = Tensor(packed, requires_grad=True), Tensor(packed64, requires_grad=True)
    chosen = next(k for k in kernels.available("cupy") if k.operation == "packed_attention")
    given = cupy.asarray(lengths.astype("int32"))
    if hasattr(cupy, "is_stand_in"):
        cupy._raw.launches.clear()
    out, saved = chosen.forward(packed, given, **options)
    gradient, _ = chosen.backward(cupy, g, saved, (True, False))
    if hasattr(cupy, "is_stand_in"):
        assert [name for name, *_ in cupy._raw.launches] == ["attention", "attention_backward"]
    assert out.flags.c_contiguous and gradient.flags.c_contiguous
    assert (chosen.infer(packed, given, **options) == out).all()
    with kernels.disabled():
        expected_out = functional.packed_attention(wanted, lengths, **options)
    expected_out.backward(g64)
    for actual, value in ((out, expected_out.data), (gradient, wanted.grad)):
        assert actual.dtype == host_dtype(name) and actual.shape == value.shape
        np.testing.assert_allclose(read(actual), value, rtol=0, atol=TOLERANCE[name] * max(1.0, np.abs(value).max()))
    assert functional.packed_attention(tensor, given, **options).shape == (2, 37, 3, 16)


@pytest.mark.parametrize("name", [name for name in DTYPES if name in ("float16", "bfloat16")])
def test_half_precision_is_stored(gpu: Any, name: str, rng: np.random.Generator) -> None:
    """In its context results are half; gradients are what their arguments are, which may be of two dtypes."""
    arrays, (g, g64) = make(rng, ((2, 3), 20, 30, 8, 8), "float32")
    q, k, v = (x for x, _ in arrays)
    mask = rng.random((20, 30)) < 0.3
    options: dict[str, Any] = {"causal": False, "scale": 0.4, "dropout_p": 0.0, "stream": None}
    wanted = expected(tuple(x for _, x in arrays), mask, g64, **options)
    hidden = gpu.asarray(mask)
    for given in ((q, k, v), (q.astype(host_dtype(name)), k, v)):
        tensors = [Tensor(x, requires_grad=True) for x in given]
        with precision(name):
            out = functional.attention(*tensors, hidden, **options)
            assert out.data.dtype == host_dtype(name)
            out.backward(g.astype(host_dtype(name)))
        assert [t.grad.dtype for t in tensors] == [x.dtype for x in given]
        for actual, value in zip((out.data, *(t.grad for t in tensors)), wanted, strict=True):
            atol = 4 * TOLERANCE[name] * max(1.0, np.abs(value).max())
            np.testing.assert_allclose(read(actual), value, rtol=0, atol=atol)


def test_two_runs_agree_in_every_bit(gpu: Any, rng: np.random.Generator) -> None:
    arrays, g = make(rng, ((2, 2), 50, 50, 16, 16), "float32")
    first, second = (check(arrays, None, g, "float32", causal=True, dropout_p=0.3, stream=STREAM) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.get(), b.get())


def test_parts_and_repeated_cotangents(gpu: Any, rng: np.random.Generator) -> None:
    """Gradients of some arguments alone; a cotangent without memory of its own; layouts that must be copied."""
    import cupy

    (q, k, v), _ = make(rng, ((2,), 5, 6, 4, 4), "float32")
    chosen, options = ours(), {"causal": False, "scale": 0.5, "dropout_p": 0.0, "stream": None}
    turned = cupy.ascontiguousarray(q[0].swapaxes(1, 2)).swapaxes(1, 2)
    g = cupy.broadcast_to(cupy.full((), 0.5, dtype="f"), (2, 5, 4))
    full = None
    for needs in ((True, True, True, False), (True, False, False, False), (False, False, True, False)):
        out, saved = chosen.forward(turned, k[0], v[0], None, **options)
        found = chosen.backward(cupy, g, saved, needs)
        full = found if full is None else full
        assert [x is None for x in found] == [not need for need in needs]
        for x, wanted in zip(found, full, strict=True):
            assert x is None or (x == wanted).all()
    wanted = expected((q[1], k[1], v[1]), None, np.full((2, 5, 4), 0.5), **options)
    for actual, value in zip((out, *full[:3]), wanted, strict=True):
        np.testing.assert_allclose(read(actual), value, atol=1e-5)
