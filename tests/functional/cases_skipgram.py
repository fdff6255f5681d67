"""Calls of skipgram_loss; see `tests.functional.cases`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def arrays(lead: tuple[int, ...], words: int, contexts: int, negatives: int, dim: int = 3,
           scale: float = 1.0) -> Callable[..., tuple]:
    """Vectors of words and outputs, and random weights of both kinds."""
    def make(rng: np.random.Generator) -> tuple:
        return (scale * rng.standard_normal((*lead, words, dim)),
                rng.standard_normal((*lead, contexts + negatives, dim)),
                rng.uniform(0, 2, (*lead, words, contexts)), rng.uniform(0, 2, (*lead, words)))
    return make


MAKERS = {
    "pairs": arrays((5,), 1, 1, 4), "windows": arrays((2,), 4, 6, 3), "no lead": arrays((), 3, 2, 2),
    "deep": arrays((2, 3), 2, 3, 2), "no negatives": arrays((2,), 3, 4, 0), "no contexts": arrays((2,), 3, 0, 4),
    "no outputs": arrays((2,), 3, 0, 0), "empty": arrays((0,), 3, 2, 2), "one": arrays((1,), 1, 1, 1, 1),
    "wide range": arrays((2,), 3, 4, 2, scale=40.0), "blocks": arrays((9,), 32, 42, 64, 5),
}
CALLS = [("skipgram_loss", name, make) for name, make in MAKERS.items()]
