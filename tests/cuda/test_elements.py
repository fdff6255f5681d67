"""Kernels that work element by element: activations and losses in every dtype, and dropout's bits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from portable_nn.backend.capturing import CountedStep
from portable_nn.backend.random import Stream, keep_mask, words
from tests.cuda.checks import DTYPES, assert_rounded, place, read
from tests.cuda.test_rows import kernel, run

#: Around a pack of 16 bytes, a block of 256 threads of them, and more.
COUNTS = [0, 1, 3, 8, 257, 2048, 5003]
_erf = np.vectorize(math.erf, otypes=[float])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))


def _gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + _erf(x / math.sqrt(2))) / 2


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


ACTIVATIONS: dict[str, tuple[Any, dict[str, Any]]] = {
    "relu": (lambda x: np.where(x <= 0, 0, x), {}), "sigmoid": (_sigmoid, {}), "tanh": (np.tanh, {}),
    "gelu": (_gelu, {"approximate": "none"}), "gelu tanh": (_gelu_tanh, {"approximate": "tanh"}),
    "silu": (lambda x: x * _sigmoid(x), {}),
    "leaky_relu": (lambda x: np.where(x <= 0, 0.1 * x, x), {"negative_slope": 0.1}),
    "softplus": (lambda x: np.where(2 * x > 5, x, np.logaddexp(0, 2 * x) / 2), {"beta": 2.0, "threshold": 5.0})}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(gpu: Any, name: str, rng: np.random.Generator) -> None:
    """The value; the slope is held to the definition's by tests/kernels, and to differences of the value here."""
    formula, options = ACTIVATIONS[name]
    for count in COUNTS:
        for dtype in DTYPES:
            x, x64 = place(3 * rng.standard_normal(count) + 0.01, dtype, count % 3)
            g, g64 = place(rng.standard_normal(count), dtype)
            out, g_x = run(name.split()[0], (x,), g, (True,), **options)
            assert_rounded(out, formula(x64), dtype)
            step = 1e-6
            slope = (formula(x64 + step) - formula(x64 - step)) / (2 * step)
            away = np.abs(x64 - 2.5) > 1e-3  # softplus is not smooth there
            expected = g64 * slope
            error = np.abs(read(g_x) - expected)[away]
            assert np.max(error, initial=0.0) <= {"float16": 4e-3, "bfloat16": 3e-2}.get(dtype, 2e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_ends(gpu: Any, name: str, value: float) -> None:
    formula, options = ACTIVATIONS[name]
    x, x64 = place(np.full(5, value), "float64")
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(read(kernel(name.split()[0]).forward(x, **options)[0]), formula(x64), rtol=1e-12)


STREAMS = [Stream(0, ""), Stream(2**64 - 1, "layers.3.dropout", step=7, call=2),
           Stream(5, "x", 2**63, 2**64 - 1, 2**63)]


@pytest.mark.parametrize("stream", STREAMS, ids=range(len(STREAMS)))
def test_words_are_numpys(gpu: Any, stream: Stream) -> None:
    import cupy

    from portable_nn.kernels.cupy.dropout import stream_arguments
    from portable_nn.kernels.cupy.launch import kernel as compiled

    out = cupy.empty((300, 4), cupy.uint64)
    compiled("dropout", "philox_words")((2,), (256,), (out, 300, *stream_arguments(stream)[:5]))
    np.testing.assert_array_equal(out.get().reshape(-1), words(stream, 1200))


@pytest.mark.parametrize("p", [0.0, 2**-16, 0.1, 0.5, 1 - 2**-16, 1.0])
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 511, 512, 4096, 4097, 10_001])
def test_dropout_is_numpys_bit_for_bit(gpu: Any, count: int, p: float, rng: np.random.Generator) -> None:
    stream = STREAMS[1]
    mask, share = keep_mask(stream, (count,), p, xp=np, device="cpu")
    for name in DTYPES:
        x, _ = place(rng.uniform(1, 2, count), name, count % 2)
        out, g_x = run("dropout", (x,), x, (True,), p=p, stream=stream)
        np.testing.assert_array_equal(read(out) != 0, mask)
        np.testing.assert_array_equal(read(out), read(g_x))
        if name == "float32" and share:
            scale = np.float32(1 / share)
            np.testing.assert_array_equal(out.get(), x.get() * (mask.astype(np.float32) * scale))


def test_dropout_of_a_captured_step(gpu: Any) -> None:
    """The step that the device counts is added to the one that was recorded."""
    import cupy

    offset = cupy.zeros((1,), cupy.uint64)
    x, _ = place(np.ones(1000), "float32")
    stream = Stream(3, "d", step=CountedStep(5, lambda: offset))
    for added in (0, 1, 40):
        offset[...] = added
        out, _ = kernel("dropout").forward(x, p=0.25, stream=stream)
        mask, _ = keep_mask(Stream(3, "d", step=5 + added), (1000,), 0.25, xp=np, device="cpu")
        np.testing.assert_array_equal(read(out) != 0, mask)


def test_a_recorded_launch_is_replayed(gpu: Any) -> None:
    """Launches can be recorded in a CUDA graph, and read what the host wrote since."""
    import cupy

    x, _ = place(np.linspace(-2, 2, 1000), "float32")
    stream = cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device().synchronize()  # x was made on another stream
    with stream:
        for _ in range(2):
            kernel("gelu").forward(x, approximate="none")
        stream.begin_capture()
        out, _ = kernel("gelu").forward(x, approximate="none")
        graph = stream.end_capture()
        x[...] = x + 1
        graph.launch(stream)
        stream.synchronize()
    assert_rounded(out, _gelu(np.linspace(-2, 2, 1000).astype(np.float32).astype(np.float64) + 1), "float32")


def test_the_current_device_runs_it(gpu: Any) -> None:
    import cupy

    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("one GPU")
    with cupy.cuda.Device(1):
        x = cupy.asarray(np.ones(10, dtype=np.float32))
        out = kernel("relu").forward(x)[0]
    assert out.device.id == 1


LOSSES = ["binary_cross_entropy_with_logits", "binary_cross_entropy", "squared_error", "absolute_error", "huber_error",
          "quantile_error"]
_OPTIONS = {"huber_error": {"delta": 0.7}, "quantile_error": {"quantile": 0.9}}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_in_every_dtype(gpu: Any, name: str, rng: np.random.Generator) -> None:
    """float64 is held to the definition by tests/kernels; here the others to it, on the same numbers."""
    low = 0.05 if name == "binary_cross_entropy" else -3.0
    options = _OPTIONS.get(name, {})
    for count in COUNTS:
        for dtype in DTYPES:
            x, x64 = place(rng.uniform(low, 0.95, count), dtype, count % 2)
            t, t64 = place(rng.uniform(0, 1, count), dtype)
            g, g64 = place(rng.standard_normal(count), dtype)
            wanted = [read(a) for a in run(name, tuple(place(a, "float64")[0] for a in (x64, t64)),
                                           place(g64, "float64")[0], (True, True), **options)]
            terms = float(np.max(np.abs(wanted[1]), initial=1.0))
            for got, want in zip(run(name, (x, t), g, (True, True), **options), wanted, strict=True):
                assert_rounded(got, want, dtype, terms)
            assert run(name, (x, t), g, (False, True), **options)[1] is None
