"""What a lower precision of products means: arguments rounded to the nearest number of the format, sums in float32."""

from __future__ import annotations

from threading import Barrier, Thread
from typing import Any

import numpy as np
import pytest

from portable_nn import ArgumentError, Tensor, functional, layers, precision
from portable_nn.backend.precision import compute_precision, emulated_precision, rounded
from tests.helpers import Backend, to_numpy


def reference(x: np.ndarray, name: str) -> np.ndarray:
    """Rounding by bits: NumPy has float16; the other two are the upper bits of a float32."""
    if name == "float16":
        with np.errstate(over="ignore"):
            return x.astype(np.float16).astype(np.float32)
    low = {"bfloat16": 16, "tf32": 13}[name]
    bits = x.view(np.uint32).astype(np.uint64)
    bits = (bits + (1 << (low - 1)) - 1 + (bits >> low & 1)) >> low << low
    return bits.astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("name", ["tf32", "bfloat16", "float16"])
def test_rounding_is_that_of_the_bits(backend: Backend, name: str, rng: np.random.Generator) -> None:
    exponents = rng.integers(-30, 40, 2000)
    x = (rng.normal(size=2000) * 2.0**exponents).astype(np.float32)
    ties = np.asarray([1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-11, 1 + 3 * 2.0**-11, 2 - 2.0**-9, 0, -0.0, 1, -2,
                       65504, 65519, 65520, 2.0**-24, 2.0**-25, 3 * 2.0**-25, 1e-30, 3e38, np.nextafter(
                           np.float32(2), np.float32(0)), np.inf, -np.inf], dtype=np.float32)
    x = np.concatenate([x, ties, -ties])
    got = rounded(backend.asarray(x), name)
    np.testing.assert_array_equal(to_numpy(got), reference(x, name))
    assert np.isnan(to_numpy(rounded(backend.asarray(np.asarray([np.nan], dtype=np.float32)), name)))


@pytest.mark.parametrize("name", ["tf32", "bfloat16", "float16"])
def test_linear_forward_and_backward(name: str, rng: np.random.Generator) -> None:
    x, w, g = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 5, 7), (3, 7), (2, 5, 3)))
    tx, tw = Tensor(x, requires_grad=True), Tensor(w, requires_grad=True)
    with precision(name, emulate=True):
        y = functional.linear(tx, tw, None, activation=None)
        y.backward(g)
    rx, rw, rg = (reference(a, name) for a in (x, w, g))
    stored = {"tf32": 1e-5, "bfloat16": 2.0**-8, "float16": 2.0**-11}[name]  # what is handed on is rounded too
    np.testing.assert_allclose(y.numpy(), rx @ rw.T, rtol=1.01 * stored, atol=1e-5)
    if name != "tf32":
        np.testing.assert_array_equal(y.numpy(), reference(y.numpy(), name))
    np.testing.assert_allclose(tx.grad, rg @ rw, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(tw.grad, rg.reshape(-1, 3).T @ rx.reshape(-1, 7), rtol=1e-5, atol=1e-5)


MODELS = {
    "attention": lambda: layers.TransformerEncoderLayer(8, 2, 16, dropout=0.0),
    "lstm": lambda: layers.LSTM(8, 5),
    "gru": lambda: layers.GRU(8, 5),
}


@pytest.mark.parametrize("kind", MODELS)
def test_every_layer_with_products_is_rounded_a_little(kind: str, rng: np.random.Generator) -> None:
    model: Any = MODELS[kind]().initialize(0)
    x = rng.normal(size=(2, 6, 8)).astype(np.float32)
    first = model(x)
    with precision("bfloat16"):
        permitted = model(x)
    with precision("bfloat16", emulate=True):
        emulated = model(x)
    first, permitted, emulated = (y[0] if isinstance(y, tuple) else y for y in (first, permitted, emulated))
    np.testing.assert_array_equal(permitted, first)
    assert 1e-5 < np.max(np.abs(emulated - first)) < 0.1


def test_the_context() -> None:
    assert compute_precision() is None
    with precision("float16"):
        assert compute_precision() == "float16" and emulated_precision() is None
        with precision("float32"):
            assert compute_precision() is None
        with precision("tf32", emulate=True):
            assert emulated_precision() == "tf32"
        assert compute_precision() == "float16" and emulated_precision() is None
    assert compute_precision() is None
    with pytest.raises(ArgumentError, match="precision among"), precision("half"):
        pass


def test_float64_is_left_alone(rng: np.random.Generator) -> None:
    x = rng.normal(size=(3, 4))
    with precision("bfloat16", emulate=True):
        np.testing.assert_array_equal(functional.linear(x, x, None, activation=None), x @ x.T)


def test_one_context_open_in_two_threads() -> None:
    """As where it decorates a function that both call."""
    barrier, seen = Barrier(2, timeout=10), []

    @precision("bfloat16")
    def decorated() -> None:
        barrier.wait()
        seen.append(compute_precision())

    def call() -> None:
        decorated()
        seen.append(compute_precision())

    threads = [Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, seen)) == ["None", "None", "bfloat16", "bfloat16"]
    context = precision("tf32")
    with context, precision("float32"):
        with context:
            assert compute_precision() == "tf32"
        assert compute_precision() is None
