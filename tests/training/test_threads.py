"""Two threads train two models at once, and get what they would have got one after the other."""

from __future__ import annotations

import gc
import threading
from typing import Any

import numpy as np

from portable_nn.training import fit
from tests.training.tasks import classes, setup, values


def train(seed: int, found: dict[int, Any]) -> None:
    given = setup(0.3, clip_norm=1.0)
    history = fit(*given, train=classes(), validation=0.2, epochs=6, batch_size=8, seed=seed, progress=False)
    found[seed] = (values(given[0]), history["train"], history["validation"])


def test_two_threads_train_two_models() -> None:
    alone: dict[int, Any] = {}
    together: dict[int, Any] = {}
    for seed in (1, 2, 3):
        train(seed, alone)
    threads = [threading.Thread(target=train, args=(seed, together)) for seed in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, (weights, *losses) in alone.items():
        np.testing.assert_array_equal(together[seed][0], weights)
        assert list(together[seed][1:]) == losses
    assert gc.isenabled()
