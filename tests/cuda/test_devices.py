"""Two GPUs in two threads: nothing holds a device for all, and each model trains as it would alone."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import portable_nn as pnn
from portable_nn import optim, training
from portable_nn.backend.devices import available_devices
from portable_nn.layers import CrossEntropyLoss
from tests.cuda.steps import Model, assert_same, everything, recordable_products
from tests.helpers import to_numpy


@pytest.fixture(params=[False, True], ids=["eager", "captured"])
def capture(request: pytest.FixtureRequest, gpu: Any) -> Any:
    if len(available_devices()) < 3:
        pytest.skip("this machine has one GPU")
    with recordable_products():
        yield request.param


def train(device: str, seed: int, capture: bool) -> tuple[Any, list[float]]:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(40, 3)), rng.integers(0, 5, 40)
    model = Model().to(device)
    optimizer = optim.AdamW(model.parameters(), lr=0.02, clip_norm=1.0)
    history = training.fit(model, CrossEntropyLoss(), optimizer, train=(x, y), validation=0.2, epochs=4, batch_size=8,
                           seed=seed, capture=capture, progress=False)
    assert model.device == device
    return everything(model, optimizer), [*history["train"], *history["validation"]]


def test_two_threads_on_two_devices(capture: bool) -> None:
    places = [("cuda:0", 1), ("cuda:1", 2), ("cuda:1", 3), ("cpu", 4)]
    alone = [train(*place, capture) for place in places]
    together: dict[int, Any] = {}

    def run(number: int) -> None:
        together[number] = train(*places[number], capture)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(places))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, (state, losses) in enumerate(alone):
        assert_same(state, together[number][0])
        assert losses == together[number][1]


def test_both_devices_give_the_same(capture: bool) -> None:
    first, second = (train(device, 5, capture) for device in ("cuda:0", "cuda:1"))
    assert_same(first[0], second[0])
    assert first[1] == second[1]


def test_predictions_and_scores_of_a_model_on_the_second_device(capture: bool) -> None:
    model = Model(0.0).initialize(0)
    x, y = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32), np.arange(9) % 5
    expected, scores = pnn.predict(model, x), pnn.evaluate(model, x, y)
    model.to("cuda:1")
    np.testing.assert_allclose(to_numpy(pnn.predict(model, x)), expected, rtol=1e-4, atol=1e-5)
    assert pnn.evaluate(model, x, y)["accuracy"] == scores["accuracy"]
