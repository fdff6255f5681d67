"""skipgram_loss's kernels, in every dtype; its definition is held to them by tests/kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.cuda.checks import DTYPES, assert_rounded, place, read
from tests.cuda.test_rows import run


def losses_and_slopes(w: np.ndarray, o: np.ndarray, p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The losses (G, C), and their derivatives in the scores (G, C, M + N)."""
    s, contexts = w @ o.swapaxes(-1, -2), p.shape[-1]
    softplus, sigma = np.logaddexp(0, s), np.exp(-np.logaddexp(0, -s))
    losses = (p * (softplus - s)[..., :contexts]).sum(-1) + q * softplus[..., contexts:].sum(-1)
    return losses, np.concatenate([p * (sigma - 1)[..., :contexts], q[..., None] * sigma[..., contexts:]], -1)


@pytest.mark.parametrize("sizes", [(5, 1, 1, 6, 100), (2, 4, 7, 9, 33), (1, 3, 2, 5, 1100)], ids=str)
def test_skipgram(gpu: Any, sizes: tuple[int, ...], rng: np.random.Generator) -> None:
    groups, words, contexts, outputs, width = sizes
    for name in DTYPES:
        (w, w64), (o, o64) = (place(rng.standard_normal((groups, n, width)) / 4, name) for n in (words, outputs))
        p, p64 = place(rng.integers(0, 2, (groups, words, contexts)), name)
        q, q64 = place(rng.uniform(0.5, 2, (groups, words)), name)
        g, g64 = place(rng.standard_normal((groups, words)), name)
        losses, slope = losses_and_slopes(w64, o64, p64, q64)
        slope *= g64[..., None]
        out, *gradients = run("skipgram_loss", (w, o, p, q), g, (True, True, False, False))
        assert_rounded(out, losses, name)
        assert_rounded(gradients[0], slope @ o64, name)
        assert_rounded(gradients[1], slope.swapaxes(-1, -2) @ w64, name)


@pytest.mark.parametrize("integers", ["int32", "int64"])
@pytest.mark.parametrize("sizes", [(9, 1, 1, 6, 100), (2, 4, 7, 9, 33)], ids=str)
def test_rows_of_tables(gpu: Any, sizes: tuple[int, ...], integers: str, rng: np.random.Generator) -> None:
    """With a cotangent for each word, and one number for all; rows that are used twice add up."""
    import cupy

    groups, words, contexts, outputs, width = sizes
    w_of, o_of = (rng.integers(0, 7, (groups, n)).astype(integers) for n in (words, outputs))
    for name in DTYPES:
        (w, w64), (o, o64) = (place(rng.standard_normal((7, width)) / 4, name) for _ in range(2))
        p, p64 = place(rng.integers(0, 2, (groups, words, contexts)), name)
        q, q64 = place(rng.uniform(0.5, 2, (groups, words)), name)
        losses, slopes = losses_and_slopes(w64[w_of], o64[o_of], p64, q64)
        for shape in ((groups, words), (1, 1)):
            g, g64 = place(rng.standard_normal(shape), name)
            slope = slopes * g64[..., None]
            arrays = cupy.asarray(w_of), cupy.asarray(o_of), w, o, p, q
            out, *gradients = run("sparse_skipgram_loss", arrays, cupy.broadcast_to(g, q.shape),
                                  (False, False, True, True, True, True))
            assert_rounded(out, losses, name)
            expected = slope @ o64[o_of], slope.swapaxes(1, 2) @ w64[w_of]
            for found, exact in zip(gradients[2:4], expected, strict=True):
                assert found.shape == (7, width)
                assert_rounded(found.rows, exact.reshape(-1, width), name)
            assert [x.shape for x in gradients[4:]] == [p.shape, q.shape]


def test_one_gradient_alone_and_indices_out_of_range(gpu: Any, order: int, rng: np.random.Generator) -> None:
    import cupy

    w, o = (place(rng.standard_normal((5, 8)), "float32")[0] for _ in range(2))
    p, q = place(np.ones((3, 1, 1)), "float32")[0], place(np.ones((3, 1)), "float32")[0]
    for bad in (-1, 5, 2**40):
        arrays = cupy.asarray([[0], [bad], [1]]), cupy.asarray([[0, 1], [2, 3], [2, bad]]), w, o, p, q
        whole = run("sparse_skipgram_loss", arrays, q, (False, False, True, True, False, False))
        np.testing.assert_array_equal(np.isnan(read(whole[0])[:, 0]), [False, True, True])
        for number in (2, 3):
            needs = tuple(i == number for i in range(6))
            alone = run("sparse_skipgram_loss", arrays, q, needs)
            np.testing.assert_array_equal(read(alone[1 + number].rows), read(whole[1 + number].rows))
            assert alone[6 - number] is None
