"""Means of losses on the device: every dtype, one launch, the gradient that it may leave, and who adds up last."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import portable_nn as pnn
from portable_nn import Tensor, functional, layers
from portable_nn.backend.random import Stream
from tests.cuda.checks import DTYPES, place, read
from tests.cuda.test_elements import LOSSES

#: Rows and classes: one block at once, the most of it, a warp a row, several blocks, a row to a block.
SHAPES = [(1, 1), (5, 3), (32, 10), (2048, 2), (128, 32), (7, 33), (600, 40), (3, 1500), (2, 2100), (1, 9000)]
#: Within: float32 sums round differently; half precision rounds the gradient.
TOLERANCE = {"float32": 2e-6, "float64": 1e-13, "float16": 1e-3, "bfloat16": 8e-3}


def mean_of_rows(x: np.ndarray, labels: np.ndarray, w: np.ndarray, s: np.ndarray, ignored: int,
                 smoothing: float) -> tuple[float, np.ndarray]:
    """The mean and its gradient, in float64."""
    keep, safe = labels != ignored, np.where(labels == ignored, 0, labels)
    z = x - x.max(-1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    q = np.eye(x.shape[1])[safe] * w * (1 - smoothing) + w * smoothing / x.shape[1]
    share = keep * s
    mass = (share * w[safe]).sum()
    mass = 1.0 if mass == 0 else mass
    g = share[:, None] / mass * (np.exp(log_p) * q.sum(-1, keepdims=True) - q)
    return float((share * -(q * log_p).sum(-1)).sum() / mass), g


@pytest.mark.parametrize("way", ["plain", "all", "unit"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cross_entropy(gpu: Any, shape: tuple[int, int], way: str, rng: np.random.Generator) -> None:
    """With a cotangent, and with the 1 that `backward()` begins with, for which the gradient may lie there already."""
    import cupy

    for name in DTYPES if shape[0] * shape[1] < 5000 else DTYPES[:1]:
        x, x64 = place(2 * rng.standard_normal(shape), name, shape[0] % 2)
        labels = rng.integers(0, shape[1], shape[0])
        weights: tuple = (None, None)
        w64, s64, smoothing = np.ones(shape[1]), np.ones(shape[0]), 0.0
        if way == "all":
            labels[rng.uniform(size=shape[0]) < 0.3] = -7
            (w, w64), (s, s64) = (place(rng.uniform(0.5, 2, n), "float32") for n in (shape[1], shape[0]))
            weights, smoothing = (w, s), 0.1
        t = Tensor(x, requires_grad=True)
        out = functional.mean_cross_entropy(t, cupy.asarray(labels), *weights, ignore_index=-7,
                                            label_smoothing=smoothing)
        value, g64 = mean_of_rows(x64, labels, w64, s64, -7, smoothing)
        half = name in ("float16", "bfloat16")
        assert out.dtype == x.dtype
        np.testing.assert_allclose(out.numpy().astype(float), value, rtol=TOLERANCE[name], atol=TOLERANCE[name])
        if way == "unit":
            out.backward()
            factor = 1.0
        else:
            g, factor64 = place(np.asarray(0.75), name)
            out.backward(g)
            factor = float(factor64)
        scale = TOLERANCE[name] * np.max(np.abs(g64), initial=1e-30)
        np.testing.assert_allclose(read(t.grad), factor * g64, rtol=TOLERANCE[name], atol=scale + 6e-8 * half)


@pytest.mark.parametrize("name", LOSSES)
def test_pairs(gpu: Any, name: str, rng: np.random.Generator) -> None:
    """As the mean of the losses one by one, for a cotangent and for the 1 of `backward()`, targets included."""
    options: dict[str, Any] = {"huber_error": {"delta": 0.7}, "quantile_error": {"quantile": 0.9}}.get(name, {})
    low = 0.05 if name == "binary_cross_entropy" else -3.0
    for count in (1, 31, 512, 4096, 4097, 20_001):
        for dtype in DTYPES:
            x, x64 = place(rng.uniform(low, 0.95, count), dtype, count % 2)
            t, t64 = place(rng.uniform(0, 1, count), dtype)
            wanted = [Tensor(place(a, "float64")[0], requires_grad=True) for a in (x64, t64)]
            value = functional.mean(getattr(functional, name)(*wanted, **options))
            for unit, target_too in ((True, False), (False, False), (True, True)):
                a, b = Tensor(x, requires_grad=True), Tensor(t, requires_grad=target_too)
                out = getattr(functional, f"mean_{name}")(a, b, **options)
                assert (out.shape, out.dtype) == ((), x.dtype)
                np.testing.assert_allclose(out.numpy().astype(float), value.numpy(), rtol=TOLERANCE[dtype],
                                           atol=TOLERANCE[dtype])
                out.backward(None if unit else place(np.asarray(0.5), dtype)[0])
                factor = 1.0 if unit else 0.5
                exact = [Tensor(w.data, requires_grad=True) for w in wanted]
                functional.mean(getattr(functional, name)(*exact, **options)).backward()
                for got, want in zip((a, b) if target_too else (a,), exact):
                    g64 = factor * read(want.grad)
                    least = 6e-8 if dtype == "float16" else 0.0
                    np.testing.assert_allclose(read(got.grad), g64, rtol=TOLERANCE[dtype],
                                               atol=TOLERANCE[dtype] * np.max(np.abs(g64)) + least)


def test_whoever_finishes_last(gpu: Any, order: int, rng: np.random.Generator) -> None:
    """The blocks' order changes nothing, to the last bit, and counters are left as they were found."""
    import cupy

    x, _ = place(rng.standard_normal((700, 40)), "float32")
    labels = cupy.asarray(rng.integers(0, 40, 700))
    wide, _ = place(rng.standard_normal((9, 1100)), "float32")
    a, _ = place(rng.standard_normal(9000), "float32")
    few, _ = place(rng.standard_normal((128, 10)), "float32")
    for _ in range(2):
        found = [functional.mean_cross_entropy(x, labels, ignore_index=3), functional.mean_squared_error(a, a[::-1]),
                 functional.mean_cross_entropy(wide, labels[:9], label_smoothing=0.1),
                 functional.mean_cross_entropy(few, labels[:128] % 10)]
        digest = b"".join(value.get().tobytes() for value in found)
        assert _digests.setdefault("means", digest) == digest


_digests: dict[str, bytes] = {}


def test_a_label_out_of_range_gives_no_number(gpu: Any) -> None:
    import cupy

    for shape in ((3, 5), (3, 50)):
        x, _ = place(np.ones(shape), "float32")
        for labels in ([0, 1, shape[1]], [-1, 0, 1]):
            assert np.isnan(functional.mean_cross_entropy(x, cupy.asarray(labels), ignore_index=2).get())


def test_ignored_rows_are_not_looked_at(gpu: Any) -> None:
    import cupy

    for shape in ((3, 5), (3, 50)):
        host = np.ones(shape)
        host[1] = np.nan
        t = Tensor(place(host, "float32")[0], requires_grad=True)
        out = functional.mean_cross_entropy(t, cupy.asarray([0, 9, 1]), ignore_index=9)
        np.testing.assert_allclose(out.numpy(), np.log(shape[1]), rtol=1e-6)
        for g in (None, cupy.ones((), "f")):
            functional.mean_cross_entropy(t, cupy.asarray([0, 9, 1]), ignore_index=9).backward(g)
            assert np.isfinite(read(t.grad)[[0, 2]]).all()
            assert (read(t.grad)[1] == 0).all()


def test_the_one_that_is_kept_stays_one(gpu: Any) -> None:
    """It is no gradient of anybody's, and belongs to no pool that a captured step keeps."""
    from portable_nn.kernels.cupy.constants import is_one, one_like

    x, _ = place(np.asarray(3.0), "float32")
    assert is_one(one_like(x))
    assert one_like(x) is one_like(x)
    t = Tensor(x, requires_grad=True)
    t.backward()
    assert not is_one(t.grad)
    value, g = pnn.value_and_grad(lambda p: p * 2.0)(x)
    assert not is_one(g)
    assert float(value.get()) == 6
    stream = Stream(0, "mask")
    for passing_on in (lambda x: functional.dropout(x, p=0.0, stream=stream),
                       lambda x: functional.add_dropout(x, x * 2, p=0.0, stream=stream)):
        t = Tensor(x, requires_grad=True)
        passing_on(t).backward()
        t.grad *= 0
    shaped, _ = place(np.ones(1), "float32")
    assert one_like(shaped).shape == (1,)
    np.testing.assert_array_equal(read(one_like(x)), 1)


@pytest.mark.parametrize("loss", [layers.CrossEntropyLoss(), layers.MSELoss(), layers.BCEWithLogitsLoss(),
                                  layers.L1Loss(), layers.HuberLoss()], ids=repr)
def test_a_mean_is_one_launch_and_its_gradient_none(gpu: Any, loss: Any, rng: np.random.Generator) -> None:
    import cupy

    if not hasattr(cupy, "is_stand_in"):
        pytest.skip("launches are counted by the stand-in")
    from cupy._raw import launches

    labels = isinstance(loss, layers.CrossEntropyLoss)
    for rows, backward in ((32, 0), (5000, 1 if labels else 0)):
        x, _ = place(rng.uniform(0, 1, (rows, 10)), "float32")
        target = rng.integers(0, 10, rows) if labels else rng.uniform(0, 1, (rows, 10)).astype(np.float32)
        t, target = Tensor(x, requires_grad=True), cupy.asarray(target)
        launches.clear()
        value = loss(t, target)
        assert len(launches) == 1
        launches.clear()
        value.backward()
        assert len(launches) == backward


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_losses_of_what_is_stored_in_half_precision(gpu: Any, precision: str, rng: np.random.Generator) -> None:
    """They are float32, as their definitions are; their gradients are in half precision again."""
    import cupy

    if precision not in DTYPES:
        pytest.skip("ml_dtypes is not installed")
    x, x64 = place(rng.standard_normal((6, 5)), precision)
    t, _ = place(rng.uniform(0, 1, (6, 5)), "float32")
    labels = cupy.asarray(rng.integers(0, 5, 6))
    calls = [lambda p, kind=kind: kind()(p, labels if kind is layers.CrossEntropyLoss else t)
             for kind in (layers.CrossEntropyLoss, layers.MSELoss, layers.BCEWithLogitsLoss, layers.L1Loss)]
    calls += [lambda p: layers.CrossEntropyLoss(reduction="sum")(p, labels), lambda p: layers.MSELoss("sum")(p, t),
              lambda p: layers.CrossEntropyLoss(label_smoothing=0.1, reduction="sum")(p, labels)]
    for call in calls:
        found = []
        with pnn.precision(precision):
            for disabled in (False, True):
                p = Tensor(x, requires_grad=True)
                with pnn.kernels.disabled() if disabled else nullcontext():
                    out = call(p)
                    out.backward()
                assert str(out.dtype) == "float32"
                assert p.grad.dtype == x.dtype
                found.append((out.numpy(), read(p.grad)))
        np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-6)
        np.testing.assert_allclose(found[0][1], found[1][1], rtol=TOLERANCE[precision], atol=1e-6)
