"""A dense layer with dropout in one kernel behind its product: what linear and dropout give one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portable_nn as pnn
from portable_nn import Tensor, functional
from portable_nn.backend import Stream
from tests.cuda.checks import DTYPES, place, read
from tests.cuda.test_rows import kernel

STREAM = Stream(7, "layer.dropout", step=2, call=1)


def results(at_once: bool, arrays: list[Any], g: Any, activation: str) -> list[np.ndarray]:
    x, w, b = (Tensor(a, requires_grad=True) for a in arrays)
    if at_once:
        assert kernel("linear_dropout").supports(*arrays, activation=activation, p=0.3, stream=STREAM)
        y = functional.linear_dropout(x, w, b, activation=activation, p=0.3, stream=STREAM)
    else:
        y = functional.dropout(functional.linear(x, w, b, activation=activation), p=0.3, stream=STREAM)
    y.backward(g if y.data.dtype == g.dtype else g.astype(y.data.dtype))
    return [y.data, x.grad, w.grad, b.grad]


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("shape", [(1, 3, 5), (9, 8, 64), (600, 4, 24), (3, 16, 1040)], ids=str)
@pytest.mark.parametrize("precision", ["float32", *(name for name in DTYPES if name in ("float16", "bfloat16"))])
def test_as_one_after_the_other(gpu: Any, precision: Any, shape: tuple, activation: str,
                                rng: np.random.Generator) -> None:
    rows, features, width = shape
    arrays = [place(rng.standard_normal(size), "float32")[0] for size in ((rows, features), (width, features), width)]
    g, _ = place(rng.standard_normal((rows, width)), "float32")
    with pnn.precision(precision):
        got, wanted = results(True, arrays, g, activation), results(False, arrays, g, activation)
    step = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}[precision]
    for a, b in zip(got, wanted, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(read(a), read(b), rtol=step, atol=step * float(np.max(np.abs(read(b)))))


@pytest.mark.parametrize("shape", [(0, 5, 4), (3, 0, 4), (3, 5, 0)], ids=str)
def test_empty(gpu: Any, shape: tuple) -> None:
    rows, features, width = shape
    arrays = [place(np.ones(size), "float32")[0] for size in ((rows, features), (width, features), width)]
    g, _ = place(np.ones((rows, width)), "float32")
    for a, b in zip(results(True, arrays, g, "gelu"), results(False, arrays, g, "gelu"), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(read(a), read(b))


def test_order_of_threads_changes_nothing(gpu: Any, order: int) -> None:
    rng = np.random.default_rng(3)
    arrays = [place(rng.standard_normal(size), "float32")[0] for size in ((700, 4), (520, 4), 520)]
    g, _ = place(rng.standard_normal((700, 520)), "float32")
    digests = [[read(a).tobytes() for a in results(True, arrays, g, "gelu")] for _ in range(2)]
    assert digests[0] == digests[1] == _digests.setdefault("gelu", digests[0])


_digests: dict[str, list[bytes]] = {}
