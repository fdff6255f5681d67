"""batch_norm's and mean's kernels, in every dtype and layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.cuda.checks import DTYPES, assert_rounded, place
from tests.cuda.test_rows import run

SHAPES = [(2, 1), (7, 33), (300, 40), (4, 3, 5), (3, 2, 70), (5, 2, 1000), (1, 3, 33)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm(gpu: Any, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    axes = (0, *range(2, len(shape)))
    column = (1, shape[1], *[1] * (len(shape) - 2))
    for name in DTYPES:
        x, x64 = place(rng.standard_normal(shape) + 3, name)
        g, g64 = place(rng.standard_normal(shape), name)
        (w, w64), (b, b64), (gm, gm64), (gv, gv64) = (place(rng.standard_normal(shape[1]), name) for _ in range(4))
        mean, var = x64.mean(axes, keepdims=True), x64.var(axes, keepdims=True)
        rstd, count = 1 / np.sqrt(var + 1e-5), x64.size // shape[1]
        x_hat, g_hat = (x64 - mean) * rstd, g64 * w64.reshape(column)
        g_x = rstd * (g_hat - g_hat.mean(axes, keepdims=True) - x_hat * (g_hat * x_hat).mean(axes, keepdims=True))
        g_x += gm64.reshape(column) / count + gv64.reshape(column) * (x64 - mean) * 2 / count
        (out, *statistics), *gradients = run("batch_norm", (x, w, b), (g, gm, gv), (True, True, True), eps=1e-5)
        terms = float(np.max(np.abs(x64 * rstd * w64.reshape(column))) + np.max(np.abs(g_hat * rstd * x_hat)) + 3)
        for got, want in zip((out, *statistics, *gradients),
                             (x_hat * w64.reshape(column) + b64.reshape(column), mean.reshape(-1), var.reshape(-1),
                              g_x, (g64 * x_hat).sum(axes), g64.sum(axes)), strict=True):
            assert_rounded(got, want, name, 3 * terms)


@pytest.mark.parametrize("shape", [(300, 40), (5, 2, 1000), (9000, 3)], ids=str)
def test_whichever_block_finishes_last(gpu: Any, shape: tuple[int, ...], order: int) -> None:
    """Chunks of rows are joined in their order, to the last bit."""
    rng = np.random.default_rng(5)
    x, _ = place(rng.standard_normal(shape) + 3, "float32")
    found = []
    for _ in range(2):
        (_, *statistics), g_x, *_ = run("batch_norm", (x, None, None), (x, None, None), (True, False, False), eps=1e-5)
        found.append(b"".join(a.get().tobytes() for a in (*statistics, g_x)))
    assert found[0] == found[1] == _digests.setdefault(shape, found[0])


_digests: dict[tuple[int, ...], bytes] = {}


def test_batch_norm_of_statistics_alone(gpu: Any, rng: np.random.Generator) -> None:
    x, x64 = place(rng.standard_normal((6, 4)), "float64")
    g, g64 = place(rng.standard_normal(4), "float64")
    _, *gradients = run("batch_norm", (x, None, None), (None, g, None), (True, False, False), eps=1e-5)
    assert_rounded(gradients[0], np.broadcast_to(g64 / 6, (6, 4)), "float64")
    assert gradients[1:] == [None, None]


@pytest.mark.parametrize("count", [1, 1000, 32_769, 100_000])
def test_mean(gpu: Any, count: int, order: int, rng: np.random.Generator) -> None:
    for name in DTYPES:
        x, x64 = place(rng.standard_normal(count) + 1, name, count % 2)
        g, g64 = place(np.asarray(2.5), name)
        out, g_x = run("mean", (x,), g, (True,))
        assert_rounded(out, np.asarray(x64.mean()), name)
        assert_rounded(g_x, np.full(count, 2.5 / count), name)
