"""Arguments of kinds that nothing could be done with are refused by name, wherever they enter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import portable_nn as pnn
from portable_nn import data, layers, optim, training
from portable_nn.layers import initializers
from portable_nn.models import load_weights, save_weights


def _with_rate(lr: Any) -> None:
    model = layers.Linear(2, 1).initialize()
    optimizer = optim.SGD(model.parameters(), lr=lr)
    optimizer.step([np.zeros((1, 2), np.float32), np.zeros(1, np.float32)])


CALLS: dict[str, Callable[[], Any]] = {
    "load None": lambda: pnn.load(None),
    "load_csv None": lambda: data.load_csv(None, ["text"]),
    "Checkpoint None": lambda: training.Checkpoint(None),
    "save_weights of a dict": lambda: save_weights({}, "x.safetensors"),
    "load_weights the wrong way round": lambda: load_weights("x.safetensors", layers.Linear(1, 1)),
    "ModuleList None": lambda: layers.ModuleList(None),
    "ModuleDict of a list": lambda: layers.ModuleDict([1]),
    "checkpoint of a number": lambda: pnn.checkpoint(3, np.ones(2)),
    "a schedule's class": lambda: _with_rate(optim.Cosine),
    "a schedule of one argument": lambda: _with_rate(lambda step: 0.1),
    "a negative rate in a schedule": lambda: optim.Cosine(-0.1),
    "a negative rate to warm up to": lambda: optim.Warmup(-0.1, 10),
    "an infinite rate in a schedule": lambda: optim.Exponential(float("inf"), 0.9),
    "a fan that is none": lambda: initializers.VarianceScaling(1.0, "bad", "uniform"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_refused(call: Callable[[], Any]) -> None:
    with pytest.raises(pnn.PortableNNError) as caught:
        call()
    assert all(isinstance(part, str) and part for part in caught.value.args)


def test_fit_moves_the_loss_to_where_the_model_is() -> None:
    """Class weights are an array too."""
    strict = pytest.importorskip("array_api_strict")
    model = layers.Linear(2, 3).to("array_api_strict:device1")
    x, y = np.ones((6, 2), np.float32), np.asarray([0, 1, 2, 0, 1, 2])
    loss = layers.CrossEntropyLoss(weight=np.asarray([1.0, 2.0, 3.0]))
    history = pnn.fit(model, loss, optim.SGD(model.parameters(), lr=0.1), train=(x, y), epochs=2, progress=False)
    assert len(history) == 2
    assert model.weight.data.device == strict.Device("device1")
