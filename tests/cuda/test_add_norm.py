"""Sums with dropout and norms of them in one kernel, against formulas in float64: all dtypes, beside each other too."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import portable_nn as pnn
from portable_nn.autodiff.engine import Pair
from portable_nn.backend import Stream
from portable_nn.backend.random import keep_mask
from tests.cuda.checks import DTYPES, assert_rounded, place, read
from tests.cuda.test_rows import kernel

STREAM = Stream(2**64 - 1, "block.dropout1", step=3, call=1)
#: Rows of whole blocks of the stream and others, of one warp and several; so many that groups of blocks add up.
SHAPES = [(1, 1), (5, 7), (40, 48), (3, 100), (2, 130), (9, 384), (3, 1024), (2, 1030), (1, 2064), (2200, 4)]
#: x and y in the context of half precision, and what their sum is.
MIXED = [("float32", "float32", "float32"), ("float32", None, "float32"), (None, "float32", "float32"),
         (None, None, None)]
#: Nodes of the arguments, of which nothing is known.
ALONE = (None,) * 4
PRECISIONS = [name for name in ("float16", "bfloat16") if name in DTYPES]


def factors(shape: tuple, p: float) -> np.ndarray:
    mask, share = keep_mask(STREAM, shape, p, xp=np, device="cpu")
    return mask / share if p else np.ones(shape)


def reference(total: np.ndarray, w: Any, b: Any, g: np.ndarray, g_total: Any, norm: str) -> tuple:
    """The norm, the gradient of the sum, of weight and bias, and the size of what cancels in the former."""
    mean = total.mean(-1, keepdims=True) if norm == "layer" else 0.0
    rstd = 1 / np.sqrt(((total - mean) ** 2).mean(-1, keepdims=True) + 1e-5)
    x_hat, g_hat = (total - mean) * rstd, g * (1.0 if w is None else w)
    shift = g_hat.mean(-1, keepdims=True) if norm == "layer" else 0.0
    g_x = rstd * (g_hat - shift - x_hat * (g_hat * x_hat).mean(-1, keepdims=True))
    g_x = g_x + (0.0 if g_total is None else g_total)
    out = x_hat * (1.0 if w is None else w) + (0.0 if b is None else b)
    terms = float(np.max(np.abs(rstd * g_hat) + np.abs(rstd * total)))
    return out, g_x, (g * x_hat).sum(0), g.sum(0), terms


def check(shape: tuple, names: tuple, norm: str, p: float, ways: tuple, rng: np.random.Generator) -> None:
    """One call: `names` are the dtypes of x, y, the sum, the norm and the weights; `ways` whether there is y, a
    cotangent of the sum, and each weight."""
    with_y, with_sum, with_weight, with_bias = ways
    x_name, y_name, sum_name, out_name, weight_name = names
    x, x64 = place(rng.standard_normal(shape) + 1, x_name)
    y, y64 = place(rng.standard_normal(shape), y_name) if with_y else (None, None)
    w, w64 = place(rng.standard_normal(shape[1]), weight_name) if with_weight else (None, None)
    b, b64 = place(rng.standard_normal(shape[1]), weight_name, 1) if with_bias else (None, None)
    g, g64 = place(rng.standard_normal(shape), out_name)
    g_sum, g_sum64 = place(rng.standard_normal(shape), sum_name) if with_sum else (None, None)
    options = {"norm": norm, "eps": 1e-5, "p": p, "stream": STREAM if p else None, "both": with_sum}
    chosen = kernel("add_norm")
    assert chosen.supports(x, y, w, b, **options)
    (total, out), saved = chosen.forward(x, y, w, b, **options)
    kept = factors(shape, p)
    if with_y:
        assert_rounded(total, x64 + y64 * kept, sum_name, float(np.max(np.abs(x64)) + np.max(np.abs(y64 * kept))))
    else:
        assert total is x
    wanted, g_x, g_w, g_b, terms = reference(read(total), w64, b64, g64, g_sum64, norm)
    assert_rounded(out, wanted, out_name, float(np.max(np.abs(read(total)))))
    assert_rounded(chosen.infer(x, y, w, b, **options)[1], wanted, out_name, float(np.max(np.abs(read(total)))))
    needs = (True, with_y, with_weight, with_bias)
    got = chosen.backward(None, (g_sum, g), saved, needs, ALONE)
    assert_rounded(got[0], g_x, x_name, terms)
    for gradient, expected, need, name in zip(got[1:], (g_x * kept, g_w, g_b), needs[1:],
                                              (y_name, weight_name, weight_name), strict=True):
        assert (gradient is not None) == need
        if need:
            assert_rounded(gradient, expected, name, max(terms, float(np.max(np.abs(g64).sum(0))) / 4))


@pytest.mark.parametrize("norm", ["layer", "rms"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_dtype(gpu: Any, shape: tuple, norm: str, rng: np.random.Generator) -> None:
    ways = itertools.cycle([(True, True, True, True), (True, False, True, False), (False, True, False, True),
                            (True, True, False, False)])
    for name in DTYPES if shape[0] * shape[1] < 2000 else DTYPES[:1]:
        for p in (0.3, 0.0):
            y, both, weight, bias = next(ways)
            check(shape, (name,) * 5, norm, p, (y, both, weight, bias and norm == "layer"), rng)


@pytest.mark.parametrize("half", PRECISIONS)
@pytest.mark.parametrize("mix", MIXED, ids=str)
def test_half_precision_beside_float32(gpu: Any, half: str, mix: tuple, rng: np.random.Generator) -> None:
    names = tuple([half if name is None else name for name in mix])
    with pnn.precision(half):  # type: ignore[arg-type]
        for shape, p in (((33, 384), 0.2), ((5, 21), 0.2), ((2, 520), 0.0)):
            check(shape, (*names, half, "float32"), "layer", p, (True, True, True, True), rng)
        check((17, 64), (*names, half, "float32"), "rms", 0.2, (True, False, True, False), rng)
        if mix[0] == mix[2]:
            check((17, 64), (*names, half, "float32"), "layer", 0.0, (False, True, True, True), rng)


@pytest.mark.parametrize("shape", [(900, 40), (37, 1024)], ids=str)
def test_order_of_threads_changes_nothing(gpu: Any, shape: tuple, order: int) -> None:
    """What is left to chance would show here; on a GPU, as a difference between two runs."""
    rng = np.random.default_rng(3)
    x, y, g, g_sum = (place(rng.standard_normal(shape), "float32")[0] for _ in range(4))
    w, b = (place(rng.standard_normal(shape[1]), "float32")[0] for _ in range(2))
    digests = []
    for _ in range(2):
        (total, out), saved = kernel("add_norm").forward(x, y, w, b, norm="layer", eps=1e-5, p=0.1, stream=STREAM,
                                                         both=True)
        results = kernel("add_norm").backward(None, (g_sum, g), saved, (True,) * 4, ALONE)
        digests.append([a.get().tobytes() for a in (total, out, *results)])
    assert digests[0] == digests[1] == _digests.setdefault(shape, digests[0])


_digests: dict[tuple, list[bytes]] = {}


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_sums_for_the_bias_of_the_layer_before(gpu: Any, p: float, rng: np.random.Generator) -> None:
    """They are taken on the way, for the very array and once."""
    from portable_nn.kernels.cupy.columns import left_sums

    x, y, g = (place(rng.standard_normal((2, 40, 48)), "float32")[0] for _ in range(3))
    options = {"norm": "layer", "eps": 1e-5, "p": p, "stream": STREAM if p else None, "both": False}

    def backward() -> Any:
        _, saved = kernel("add_norm").forward(x, y, None, None, **options)
        return kernel("add_norm").backward(None, (None, g), saved, (True, True, False, False), ALONE)[1]

    g_y = backward().reshape(80, 48)
    assert_rounded(left_sums(g_y), read(g_y).sum(0), "float32", 10.0)
    assert left_sums(g_y) is None
    for other in (lambda g_y: g_y.copy(), lambda g_y: g_y[:40], lambda g_y: g_y.reshape(160, 24)):
        assert left_sums(other(backward().reshape(80, 48))) is None


def test_no_sums_are_left_of_what_the_user_may_write_to(gpu: Any, rng: np.random.Generator) -> None:
    x, y, g, a, w = (place(rng.standard_normal(shape), "float32")[0]
                     for shape in ((5, 6), (5, 6), (5, 6), (5, 3), (6, 3)))
    y, bias = pnn.Tensor(y, requires_grad=True), pnn.Tensor(place(np.zeros(6), "float32")[0], requires_grad=True)
    before = pnn.functional.linear(pnn.Tensor(a), pnn.Tensor(w), bias, activation=None)
    pnn.functional.add_norm(pnn.Tensor(x), y, None, None, norm="layer", eps=1e-5, p=0.0, stream=None,
                            both=False).backward(g)
    y.grad *= 3
    before.backward(y.grad)
    np.testing.assert_allclose(read(bias.grad), read(y.grad).sum(0), rtol=1e-5, atol=1e-5)


def test_a_layer_before_a_residual_connection(gpu: Any, rng: np.random.Generator) -> None:
    x, y, w, b = (place(rng.standard_normal(shape), "float32")[0] for shape in ((300, 8), (300, 16), (16, 8), 16))

    def gradients() -> list[np.ndarray]:
        tensors = [pnn.Tensor(a, requires_grad=True) for a in (x, y, w, b)]
        h = pnn.functional.linear(tensors[0], *tensors[2:], activation=None)
        out = pnn.functional.add_norm(tensors[1], h, None, None, norm="layer", eps=1e-5, p=0.3, stream=STREAM,
                                      both=False)
        (out**3).sum().backward()
        return [read(t.grad) for t in tensors]

    got = gradients()
    with pnn.kernels.disabled():
        for a, c in zip(got, gradients(), strict=True):
            np.testing.assert_allclose(a, c, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", DTYPES)
def test_two_cotangents_of_one_result(gpu: Any, name: str, rng: np.random.Generator) -> None:
    """The kernel adds them up as it reads them; where there are more, they are added before."""
    x, y, g, too, g_sum = (place(rng.integers(-8, 8, (40, 48)), name)[0] for _ in range(5))
    w, _ = place(rng.standard_normal(48), name)

    def backward(g_sum: Any, g: Any) -> list[np.ndarray]:
        _, saved = kernel("add_norm").forward(x, y, w, None, norm="rms", eps=1e-5, p=0.25, stream=STREAM, both=True)
        results = kernel("add_norm").backward(None, (g_sum, g), saved, (True, True, True, False), ALONE)
        return [read(x) for x in results[:3]]

    for got, wanted in ((backward(None, Pair(g, too)), backward(None, g + too)),
                        (backward(g_sum, Pair(g, too)), backward(g_sum, g + too)),
                        (backward(Pair(g_sum, too), g), backward(g_sum + too, g))):
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_cotangent_that_is_repeated(gpu: Any, axis: int, rng: np.random.Generator) -> None:
    import cupy

    x, _ = place(rng.standard_normal((5, 7, 32)), "float32")
    w, _ = place(rng.standard_normal(32), "float32")
    g = cupy.broadcast_to(cupy.expand_dims(place(rng.standard_normal(((7, 5)[axis], 32)), "float32")[0], axis), x.shape)

    def backward(g: Any) -> list[np.ndarray]:
        _, saved = kernel("layer_norm").forward(x, w, w, eps=1e-5)
        return [read(a) for a in kernel("layer_norm").backward(None, g, saved, (True, True, True))]

    for got, wanted in zip(backward(g), backward(cupy.ascontiguousarray(g)), strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("uses", [1, 2, 3])
def test_a_result_that_is_used_again(gpu: Any, uses: int, rng: np.random.Generator) -> None:
    x, y, w = (place(rng.standard_normal(shape), "float32")[0] for shape in ((6, 32), (6, 32), 32))

    def gradients() -> list[np.ndarray]:
        tensors = [pnn.Tensor(a, requires_grad=True) for a in (x, y, w)]
        out = pnn.functional.add_norm(*tensors, None, norm="layer", eps=1e-5, p=0, stream=None, both=False)
        (out * 0.5 + sum(pnn.functional.tanh(out) * k for k in range(1, uses))).sum().backward()
        return [read(t.grad) for t in tensors]

    got = gradients()
    with pnn.kernels.disabled():
        for a, b in zip(got, gradients(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_cotangent_of_the_sum_alone(gpu: Any, rng: np.random.Generator) -> None:
    x, y, g = (place(rng.standard_normal((6, 32)), "float32")[0] for _ in range(3))
    _, saved = kernel("add_norm").forward(x, y, None, None, norm="rms", eps=1e-5, p=0.5, stream=STREAM, both=True)
    g_x, g_y, g_w, g_b = kernel("add_norm").backward(None, (g, None), saved, (True, True, False, False), ALONE)
    np.testing.assert_array_equal(read(g_x), read(g))
    np.testing.assert_array_equal(read(g_y), read(g) * factors((6, 32), 0.5))
    assert g_w is None
    assert g_b is None


def test_wide_rows_are_left_to_array_code(gpu: Any) -> None:
    x, _ = place(np.ones((1, 8193)), "float32")
    assert not kernel("layer_norm").supports(x, None, None, eps=1e-5)
    assert read(pnn.functional.layer_norm(x, None, None, eps=1e-5)).max() == 0


@pytest.mark.parametrize("count", [1, 15, 16, 513, 4096, 9001])
@pytest.mark.parametrize("p", [0.0, 0.25])
def test_add_dropout(gpu: Any, count: int, p: float, rng: np.random.Generator) -> None:
    options = {"p": p, "stream": STREAM if p else None}
    pairs = [(name, name) for name in DTYPES] + [pair for half in PRECISIONS
                                                 for pair in (("float32", half), (half, "float32"))]
    for x_name, y_name in pairs:
        x, x64 = place(rng.standard_normal(count), x_name, count % 2)
        y, y64 = place(rng.standard_normal(count), y_name)
        out, saved = kernel("add_dropout").forward(x, y, **options)
        name = x_name if x.dtype.itemsize >= y.dtype.itemsize else y_name
        kept = factors((count,), p)
        terms = float(np.max(np.abs(x64) + np.abs(y64 * kept)))
        assert_rounded(out, x64 + y64 * kept, name, terms)
        g, g64 = place(rng.standard_normal(count), name)
        g_x, g_y = kernel("add_dropout").backward(None, g, saved, (True, True))
        assert_rounded(g_x, g64, x_name)
        assert_rounded(g_y, g64 * kept, y_name)
        if x_name == name:
            assert g_x is g
