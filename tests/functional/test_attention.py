"""Attention: what masks hide, extreme scores, keyed dropout, tiles, memory, and what is refused."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from scipy import special

from portable_nn import Tensor, functional, gradcheck, kernels
from portable_nn.backend import Stream
from portable_nn.backend.errors import ArgumentError, DeviceError, DTypeError, ShapeError
from portable_nn.backend.random import keep_mask
from portable_nn.functional import tiles
from tests.functional.cases_attention import ATTENTION
from tests.helpers import Backend, to_numpy

PLAIN: dict[str, Any] = {"causal": False, "scale": None, "dropout_p": 0.0, "stream": None}


def draw(rng: np.random.Generator, *lead: int, queries: int = 4, keys: int = 5) -> list[np.ndarray]:
    return [rng.standard_normal((*lead, n, 3)) for n in (queries, keys, keys)]


def run(arrays: Any, mask: Any, g: Any, **options: Any) -> list[np.ndarray]:
    """The result and the gradients of query, key and value."""
    tensors = [Tensor(x, requires_grad=True) for x in arrays]
    out = functional.attention(*tensors, mask, **{**PLAIN, **options})
    out.backward(g)
    return [to_numpy(x) for x in (out, *(t.grad for t in tensors))]


@pytest.fixture(params=["kernel", "generic", "definition", "tiles"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Each implementation in turn; "tiles" is the generic pair with tiles of few scores."""
    if request.param == "kernel":
        yield request.param
        return
    if request.param == "tiles":
        monkeypatch.setattr(tiles, "TILE", 8)
        monkeypatch.setattr(tiles, "SIDE", 2)
    with kernels.disabled(generic=request.param != "definition"):
        yield request.param


def test_formula(backend: Backend, path: str, rng: np.random.Generator) -> None:
    query, key, value = draw(rng, 2)
    weights = special.softmax(query @ key.swapaxes(-1, -2) / np.sqrt(3), axis=-1)
    arrays = [backend.asarray(x) for x in (query, key, value)]
    rtol = 1e-12 if backend.has_float64 else 1e-5
    backend.assert_close(functional.attention(*arrays, None, **PLAIN), weights @ value, rtol=rtol)
    found = functional.attention_weights(*arrays[:2], None, causal=False, scale=None)
    backend.assert_close(found, weights, rtol=rtol)


def test_hidden_means_absent(backend: Backend, path: str, rng: np.random.Generator) -> None:
    """Keys that are hidden from all might as well not be there; their gradients are zero."""
    arrays = [backend.asarray(x, "float32") for x in draw(rng, 2, 3)]
    mask = backend.asarray(np.asarray([False, True, False, False, True]))
    g = backend.asarray(rng.standard_normal((2, 3, 4, 3)), "float32")
    out, *gradients = run(arrays, mask, g)
    seen = np.asarray([0, 2, 3])
    fewer = [arrays[0], *(backend.asarray(to_numpy(x)[..., seen, :]) for x in arrays[1:])]
    expected, g_q, g_k, g_v = run(fewer, None, g)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradients[0], g_q, rtol=1e-4, atol=1e-6)
    for x, want in zip(gradients[1:], (g_k, g_v)):
        np.testing.assert_allclose(x[..., seen, :], want, rtol=1e-4, atol=1e-6)
        assert np.all(x[..., [1, 4], :] == 0)


def test_a_query_that_sees_nothing(backend: Backend, path: str, rng: np.random.Generator) -> None:
    """Zeros, and no gradient through it, where the softmax of infinities would be no number."""
    arrays = [backend.asarray(x, "float32") for x in draw(rng, 2)]
    hidden = np.zeros((2, 4, 5), dtype=bool)
    hidden[0, 1] = hidden[1] = True
    g = backend.asarray(rng.standard_normal((2, 4, 3)), "float32")
    found = run(arrays, backend.asarray(hidden), g)
    assert all(np.all(np.isfinite(x)) for x in found)
    assert np.all(found[0][0, 1] == 0)
    assert np.all(found[1][0, 1] == 0)
    assert all(np.all(x[1] == 0) for x in found)
    assert np.any(found[0][0, 0] != 0)
    weights = functional.attention_weights(*arrays[:2], backend.asarray(hidden), causal=False, scale=None)
    np.testing.assert_allclose(to_numpy(weights).sum(axis=-1), ~hidden.all(axis=-1), rtol=1e-6)


@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_extreme_scores(backend: Backend, path: str, scale: float, rng: np.random.Generator) -> None:
    """Scores of ±1e4 choose one key; nothing overflows, and gradients are finite, with and without masks."""
    arrays = [backend.asarray(x, "float32") for x in draw(rng, 2)]
    g = backend.asarray(rng.standard_normal((2, 4, 3)), "float32")
    scores = scale * to_numpy(arrays[0]) @ to_numpy(arrays[1]).swapaxes(-1, -2)
    for mask in (None, np.asarray([True, False, False, True, False])):
        hidden = None if mask is None else backend.asarray(mask)
        found = run(arrays, hidden, g, scale=scale)
        assert all(np.all(np.isfinite(x)) for x in found)
        best = np.argmax(scores if mask is None else np.where(mask, -np.inf, scores), axis=-1)
        chosen = np.take_along_axis(to_numpy(arrays[2]), best[..., None], axis=1)
        np.testing.assert_allclose(found[0], chosen, rtol=1e-4, atol=1e-4)


def test_a_hidden_score_above_all_others(path: str) -> None:
    """It does not push the visible ones below what the dtype can hold."""
    query, key = np.ones((1, 1), dtype=np.float32), np.asarray([[1000], [1], [2]], dtype=np.float32)
    value = np.asarray([[5], [0], [1]], dtype=np.float32)
    out = functional.attention(query, key, value, np.asarray([True, False, False]), **PLAIN)
    np.testing.assert_allclose(out, [[special.expit(1)]], rtol=1e-6)


def test_equal_scores_and_one_token(backend: Backend, path: str, rng: np.random.Generator) -> None:
    _, key, value = draw(rng)
    arrays = [backend.asarray(x, "float32") for x in (np.zeros((4, 3)), key, value)]
    out = functional.attention(*arrays, None, **PLAIN)
    np.testing.assert_allclose(to_numpy(out), np.tile(value.mean(axis=0), (4, 1)), rtol=1e-5)
    one = [x[:1, :] for x in arrays]
    np.testing.assert_allclose(to_numpy(functional.attention(*one, None, **{**PLAIN, "causal": True})),
                               to_numpy(one[2]), rtol=1e-6)


def test_causal_sees_no_later_value(path: str, rng: np.random.Generator) -> None:
    query, key, value = draw(rng, queries=5)
    before = functional.attention(query, key, value, None, **{**PLAIN, "causal": True})
    key[3], value[3] = 1e3, np.nan
    after = functional.attention(query[:3], key[:3], value[:3], None, **{**PLAIN, "causal": True})
    np.testing.assert_allclose(before[:3], after, rtol=1e-12)


def test_dropout_draws_are_those_of_one_mask(backend: Backend, path: str, rng: np.random.Generator) -> None:
    """The same on every backend and path, tiles too: weights times the keyed mask over its share."""
    stream = Stream(7, "encoder.self_attn", step=3)
    arrays = [backend.asarray(x) for x in draw(rng, 2, 3, queries=9, keys=7)]
    query, key, value = (to_numpy(x).astype(np.float64) for x in arrays)
    keep, share = keep_mask(stream, (2, 3, 9, 7), 0.4, xp=np, device="cpu")
    weights = special.softmax(query @ key.swapaxes(-1, -2) / np.sqrt(3), axis=-1) * keep / share
    out = functional.attention(*arrays, None, **{**PLAIN, "dropout_p": 0.4, "stream": stream})
    backend.assert_close(out, weights @ value, rtol=1e-12 if backend.has_float64 else 1e-5)
    everything = functional.attention(*arrays, None, **{**PLAIN, "dropout_p": 1.0, "stream": stream})
    assert np.all(to_numpy(everything) == 0)


@pytest.mark.parametrize("case", [call for call in ATTENTION if call[1].split()[0] != "blocks"], ids=lambda c: c[1])
@pytest.mark.parametrize("sizes", [(1, 1), (4, 2), (30, 3)])
def test_tiles_change_nothing(case: tuple, sizes: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, make, options = case
    query, key, value, mask = make(np.random.default_rng(2))
    g = np.random.default_rng(3).standard_normal((*query.shape[:-1], value.shape[-1]))
    with kernels.disabled():
        expected = run((query, key, value), mask, g, **options)
    monkeypatch.setattr(tiles, "TILE", sizes[0])
    monkeypatch.setattr(tiles, "SIDE", sizes[1])
    with kernels.disabled(generic=True):
        for x, want in zip(run((query, key, value), mask, g, **options), expected, strict=True):
            np.testing.assert_allclose(x, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("block", [1, 100, 2**16])
@pytest.mark.parametrize("kept", [0, 2**22])
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_blocks_of_the_kernel_change_nothing(block: int, kept: int, p: float, monkeypatch: pytest.MonkeyPatch,
                                             rng: np.random.Generator) -> None:
    """Heads one by one, some or all at a time; scores kept or made again."""
    arrays, g = draw(rng, 3, 4, queries=5), rng.standard_normal((3, 4, 5, 3))
    for mask in (None, rng.random((3, 1, 1, 5)) < 0.5, rng.random((1, 4, 5, 5)) < 0.5):
        options = {"dropout_p": p, "stream": Stream(1, "a") if p else None, "causal": mask is None}
        with kernels.disabled():
            expected = run(arrays, mask, g, **options)
        monkeypatch.setattr("portable_nn.kernels.numpy.attention._BLOCK", block)
        monkeypatch.setattr("portable_nn.kernels.numpy.attention._KEPT", kept)
        for x, want in zip(run(arrays, mask, g, **options), expected, strict=True):
            np.testing.assert_allclose(x, want, rtol=1e-11, atol=1e-11)


def test_constants_get_no_gradient(path: str, rng: np.random.Generator) -> None:
    """Only what is asked for is computed."""
    query, key, value = draw(rng, 2)
    expected = run((query, key, value), None, np.ones((2, 4, 3)))
    for i in range(3):
        tensors: list[Any] = [query, key, value]
        tensors[i] = Tensor(tensors[i], requires_grad=True)
        functional.attention(*tensors, None, **PLAIN).backward(np.ones((2, 4, 3)))
        np.testing.assert_allclose(tensors[i].grad, expected[i + 1], rtol=1e-10)


def test_second_order_with_everything(rng: np.random.Generator) -> None:
    mask = rng.random((2, 1, 5)) < 0.4
    options = {"causal": True, "scale": 0.7, "dropout_p": 0.3, "stream": Stream(1, "a")}
    assert gradcheck(lambda q, k, v: functional.attention(q, k, v, mask, **options), tuple(draw(rng, 2)), order=2)
    assert gradcheck(lambda q, k: functional.attention_weights(q, k, mask, causal=True, scale=None),
                     tuple(draw(rng, 2)[:2]), order=2)


def test_half_precision_scores_in_float32() -> None:
    """Scores beyond float16's range are no infinities."""
    query, key, value = (np.full((2, 3), c, dtype=np.float16) for c in (300, 300, 2))
    out = functional.attention(query, key, value, None, **PLAIN)
    assert out.dtype == np.float16
    np.testing.assert_allclose(out, value)


def peak(steps: int, backward: bool, **options: Any) -> int:
    """Bytes that attention of this length needs beyond its inputs, at the most."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((2, steps, 8)).astype(np.float32) for _ in range(3)]
    tensors = [Tensor(x, requires_grad=backward) for x in arrays]
    tracemalloc.start()
    try:
        out = functional.attention(*tensors, None, **{**PLAIN, **options})
        if backward:
            out.backward(np.ones(out.shape, dtype=np.float32))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"dropout_p": 0.1, "stream": Stream(0, "a")}], ids=str)
def test_memory_grows_with_the_length_not_its_square(options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "TILE", 2 * 64**2)
    monkeypatch.setattr(tiles, "SIDE", 64)
    for backward in (False, True):
        half, whole = (peak(steps, backward, **options) for steps in (2200, 4400))
        assert whole < 4400**2  # a quarter of what all scores of a head would take
        assert whole < 2 * half + 2**16


def test_long_inputs_go_through_tiles() -> None:
    short, long = (np.zeros((1, steps, 2), dtype=np.float32) for steps in (512, 2048))
    options = {**PLAIN, "scale": 1.0}
    assert "attention.forward" in kernels.explain("attention", short, short, short, None, **options)
    assert kernels.explain("attention", long, long, long, None, **options) == "generic attention"


def test_lengths_of_narrow_integers_and_out_of_range(backend: Backend, path: str, rng: np.random.Generator) -> None:
    """They count keys whatever their dtype holds: more than there are is all of them, fewer than none is none."""
    arrays = [backend.asarray(x, "float32") for x in draw(rng, 3, queries=2, keys=300)]
    g = backend.asarray(rng.standard_normal((3, 2, 3)), "float32")
    for dtype, lengths in (("uint8", [0, 7, 255]), ("int8", [-1, 7, 127]), ("int64", [300, 1000, 299])):
        hidden = np.arange(300) >= np.asarray(lengths)[:, None, None]
        for x, want in zip(run(arrays, backend.asarray(np.asarray(lengths, dtype)), g),
                           run(arrays, backend.asarray(hidden), g)):
            np.testing.assert_allclose(x, want, rtol=1e-5, atol=1e-6)


def test_refusals(backend: Backend, rng: np.random.Generator) -> None:
    query, key, value = (backend.asarray(x, "float32") for x in draw(rng, 2))
    with pytest.raises(ShapeError, match=r"query \(..., T, D\)"):
        functional.attention(query[..., :2], key, value, None, **PLAIN)
    with pytest.raises(ShapeError, match=r"value \(..., S, E\)"):
        functional.attention(query, key, value[:, :3, :], None, **PLAIN)
    with pytest.raises(ShapeError, match="axes in front"):
        functional.attention(query, key[:1, ...], value[:1, ...], None, **PLAIN)
    with pytest.raises(ShapeError, match="broadcasts to"):
        functional.attention(query, key, value, backend.asarray(np.zeros((4, 4), bool)), **PLAIN)
    with pytest.raises(DTypeError, match="mask < 0"):
        functional.attention(query, key, value, backend.asarray(np.zeros((4, 5)), "float32"), **PLAIN)
    with pytest.raises(ShapeError, match="lengths that count keys"):
        functional.attention(query, key, value, backend.asarray(np.zeros((2, 1), int)), **PLAIN)
    with pytest.raises(ShapeError, match="in front"):
        functional.attention(*(x[0, ...] for x in (query, key, value)), backend.asarray(np.zeros(4, int)), **PLAIN)
    with pytest.raises(ShapeError, match="3, H, D"):
        functional.packed_attention(query, None, **PLAIN)
    with pytest.raises(DTypeError, match="floating"):
        functional.attention(*(backend.asarray(np.ones((2, 2), int)) for _ in range(3)), None, **PLAIN)
    with pytest.raises(ArgumentError, match="stream"):
        functional.attention(query, key, value, None, **{**PLAIN, "dropout_p": 0.5})
    with pytest.raises(ArgumentError, match="0 to 1"):
        functional.attention(query, key, value, None, **{**PLAIN, "dropout_p": 1.5, "stream": Stream(0, "a")})
    if backend.name.startswith("strict"):
        with pytest.raises(DeviceError, match="to_device"):
            functional.attention(query, key, value, np.zeros((4, 5), bool), **PLAIN)
