"""skipgram_loss's kernels, in every dtype; its definition is held to them by tests/kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.cuda.checks import DTYPES, assert_rounded, place
from tests.cuda.test_rows import run


@pytest.mark.parametrize("sizes", [(5, 1, 1, 6, 100), (2, 4, 7, 9, 33), (1, 3, 2, 5, 1100)], ids=str)
def test_skipgram(gpu: Any, sizes: tuple[int, ...], rng: np.random.Generator) -> None:
    groups, words, contexts, outputs, width = sizes
    for name in DTYPES:
        (w, w64), (o, o64) = (place(rng.standard_normal((groups, n, width)) / 4, name) for n in (words, outputs))
        p, p64 = place(rng.integers(0, 2, (groups, words, contexts)), name)
        q, q64 = place(rng.uniform(0.5, 2, (groups, words)), name)
        g, g64 = place(rng.standard_normal((groups, words)), name)
        s = w64 @ o64.swapaxes(-1, -2)
        softplus, sigma = np.logaddexp(0, s), np.exp(-np.logaddexp(0, -s))
        losses = (p64 * (softplus - s)[..., :contexts]).sum(-1) + q64 * softplus[..., contexts:].sum(-1)
        slope = np.concatenate([p64 * (sigma - 1)[..., :contexts], q64[..., None] * sigma[..., contexts:]], -1)
        slope *= g64[..., None]
        out, *gradients = run("skipgram_loss", (w, o, p, q), g, (True, True, False, False))
        assert_rounded(out, losses, name)
        assert_rounded(gradients[0], slope @ o64, name)
        assert_rounded(gradients[1], slope.swapaxes(-1, -2) @ w64, name)
