"""What a captured step cannot do: each is refused, or left uncaptured, in words that name the user's line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import portable_nn as pnn
from portable_nn import CaptureError, layers, optim
from portable_nn.autodiff import Tensor
from tests.cuda.steps import Model, assert_same, batches, everything, recordable_products
from tests.helpers import to_numpy


@pytest.fixture
def device(gpu: Any) -> Iterator[str]:
    with recordable_products():
        yield "cuda:0"


BAD = {
    "float(loss)": (lambda loss, optimizer: float(loss), "read"),
    "loss.item()": (lambda loss, optimizer: loss.item(), "read"),
    "bool(loss > 0)": (lambda loss, optimizer: bool(loss > 0), "read"),
    "loss.numpy()": (lambda loss, optimizer: loss.numpy(), "read"),
    "float(loss.data)": (lambda loss, optimizer: float(loss.data), "read"),
}


@pytest.mark.parametrize("name", BAD)
def test_reading_back_names_the_line(device: str, name: str) -> None:
    model = Model().initialize(0).to(device)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step(x: Any, y: Any) -> Any:
        loss = layers.CrossEntropyLoss()(model(x), y)
        BAD[name][0](loss, optimizer)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    run_step = pnn.capture(step)
    with pytest.raises(CaptureError, match=r"test_captured_refusals\.py.*" + name.split("(", maxsplit=1)[0]):
        for x, y in batches(4):
            before = everything(model, optimizer)
            run_step(x, y)
    after = everything(model, optimizer)
    if not optimizer.steps:  # found in the first step, whose forward pass has run: nothing is trained yet
        trained = [name for name in before if name.endswith(("weight", "bias"))]
        before, after = ({name: state[name] for name in trained} for state in (before, after))
    assert_same(before, after)


def test_results_that_become_more(device: str) -> None:
    import cupy

    found: list[Any] = []

    def step(x: Any) -> Any:
        found.append(x * 2)
        return list(found)

    run_step, x = pnn.capture(step), cupy.ones((3,), dtype=cupy.float32)
    assert [len(run_step(x)) for _ in range(2)] == [1, 2]
    with pytest.raises(CaptureError, match="returns 2 arrays, as before; got 3"):
        run_step(x)


def test_gradients_of_an_earlier_step(device: str) -> None:
    model = Model().initialize(0).to(device)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step(x: Any, y: Any) -> None:
        layers.CrossEntropyLoss()(model(x), y).backward()
        optimizer.step()

    run_step = pnn.capture(step)
    with pytest.raises(CaptureError, match="zero_grad"):
        for x, y in batches(4):
            run_step(x, y)


def test_zero_grad_first_keeps_gradients_as_without_capture(device: str) -> None:
    found = []
    for capture in (False, True):
        model = Model().initialize(0).to(device)
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def step(x: Any, y: Any) -> None:
            optimizer.zero_grad()  # noqa: B023
            layers.CrossEntropyLoss()(model(x), y).backward()  # noqa: B023
            optimizer.step()  # noqa: B023

        run_step = pnn.capture(step) if capture else step
        gradients = []
        for x, y in batches(12):
            run_step(x, y)
            gradients.append(to_numpy(model.head.weight.grad).copy())
        found.append({str(i): g for i, g in enumerate(gradients)})
    assert_same(*found)


def test_what_else_is_refused(device: str) -> None:
    import cupy

    x = cupy.ones((2, 3), dtype=cupy.float32)
    host = np.ones((2, 3), dtype=np.float32)
    refused = {
        "moved to the device": lambda x: x + pnn.to_device(host, device),
        "returns arrays": lambda x: 1.5,
        "drawn on the host": _draws,
    }
    for message, step in refused.items():
        run_step = pnn.capture(step)
        with pytest.raises(CaptureError, match=message):
            for _ in range(4):
                run_step(x)
    with pytest.raises(CaptureError, match="on the tape"):
        pnn.capture(lambda x: x)(Tensor(x, requires_grad=True) * 2)


class Noise(layers.Module):
    def forward(self, x: Any) -> Any:
        from portable_nn.backend.random import uniform

        return x + uniform(self.next_stream(), x.shape, 0, 1, dtype=x.dtype, xp=pnn.array_namespace(x), device=x.device)


_noise = Noise()


def _draws(x: Any) -> Any:
    return _noise(x)
