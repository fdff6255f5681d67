"""A captured step gives what the same step gives without capture, to the last bit, and says what it cannot do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import portable_nn as pnn
from portable_nn import layers, optim
from portable_nn.autodiff import Tensor
from portable_nn.backend import notices
from tests.cuda.steps import Model, assert_same, batches, everything, make_step, recordable_products
from tests.helpers import to_numpy


@pytest.fixture
def device(gpu: Any) -> Iterator[str]:
    with recordable_products():
        yield "cuda:0"


KINDS = {
    "AdamW": lambda p: optim.AdamW(p, lr=optim.Warmup(optim.Cosine(0.05, steps=50), 5), clip_norm=0.5),
    "Adam": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    "SGD": lambda p: optim.SGD(p, lr=optim.Step(0.1, every=10), momentum=0.9, nesterov=True),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01, centered=True, momentum=0.5),
    "Lion": lambda p: optim.Lion(p, lr=0.001, weight_decay=0.1),
}


def run(device: str, make: Any, *, capture: bool, steps: int = 50, latched: bool = False) -> Any:
    model = Model().initialize(3).to(device)
    optimizer = make(model.parameters())
    step = make_step(model, optimizer)
    step = pnn.capture(step) if capture else step
    losses = [to_numpy(step(x, y)).item() for x, y in batches(steps)]
    return losses, everything(model, optimizer), step


@pytest.mark.parametrize("kind", KINDS)
def test_fifty_steps(device: str, kind: str) -> None:
    """With dropout, a changing learning rate, buffers, two sizes of batches and a batch that changes every step."""
    eager, state, _ = run(device, KINDS[kind], capture=False)
    losses, captured_state, step = run(device, KINDS[kind], capture=True)
    assert step.recorded == 2
    assert losses == eager
    assert_same(state, captured_state)


def test_two_runs_are_the_same(device: str) -> None:
    first, second = (run(device, KINDS["AdamW"], capture=True, steps=12)[:2] for _ in range(2))
    assert first[0] == second[0]
    assert_same(first[1], second[1])


def test_dropout_masks_are_those_of_the_host(device: str) -> None:
    import cupy

    model, host = layers.Dropout(0.5), layers.Dropout(0.5)
    step = pnn.capture(lambda x: model(x))
    for number in range(8):
        x = np.full((5, 7), number + 1, dtype=np.float32)
        np.testing.assert_array_equal(to_numpy(step(cupy.asarray(x))), host(x))
    assert step.recorded == 1 and model.random_position == host.random_position == (0, 8)


@pytest.mark.slow
def test_memory_stays_flat(device: str) -> None:
    """20,000 steps on a GPU, a stand-in for days; some hundred where each thread is emulated."""
    import cupy
    model = Model().initialize(0).to(device)
    optimizer = optim.AdamW(model.parameters())
    step = pnn.capture(make_step(model, optimizer))
    given = next(iter(batches(1)))
    for _ in range(4):
        step(*given)
    graphs, pool = next(iter(step._graphs.values())), cupy.get_default_memory_pool()
    emulated = hasattr(cupy, "is_stand_in")
    before, free = (pool.used_bytes(), graphs._pool.total_bytes()), 0 if emulated else cupy.cuda.runtime.memGetInfo()[0]
    for _ in range(300 if emulated else 20_000):
        step(*given)
    assert (pool.used_bytes(), graphs._pool.total_bytes()) == before
    # What the driver itself has taken; other processes may hold a little more than before, those of gpu_check more.
    shared = os.environ.get("GPU_CHECK_SHARE", "0/1") != "0/1"
    assert emulated or shared or cupy.cuda.runtime.memGetInfo()[0] > free - 2**26


def test_results_are_not_written_over(device: str) -> None:
    model = Model().initialize(0).to(device)
    step = pnn.capture(make_step(model, optim.SGD(model.parameters(), lr=0.1)))
    given = next(iter(batches(1)))
    losses = [step(*given) for _ in range(6)]
    assert len({to_numpy(loss).item() for loss in losses}) == 6


def test_values_assigned_between_steps_are_taken_in(device: str) -> None:
    found = []
    for capture in (False, True):
        model = Model().initialize(0).to(device)
        model.body.freeze()
        optimizer = optim.AdamW(model.parameters(), lr=0.01)
        step = pnn.capture(make_step(model, optimizer)) if capture else make_step(model, optimizer)
        kept = None
        for i, (x, y) in enumerate(batches(30)):
            step(x, y)
            if i == 10:
                kept = model.state_dict()
            if i == 20:
                model.load_state_dict(kept)
                optimizer.groups[0]["lr"], optimizer.groups[0]["betas"] = 0.002, (0.8, 0.99)
            if i == 25:
                model.body.unfreeze()
        found.append(everything(model, optimizer))
    assert_same(*found)


def test_training_and_evaluation_mode(device: str) -> None:
    found = []
    for capture in (False, True):
        model = Model().initialize(0).to(device)
        optimizer = optim.SGD(model.parameters(), lr=0.05)
        step = pnn.capture(make_step(model, optimizer)) if capture else make_step(model, optimizer)
        for i, (x, y) in enumerate(batches(24)):
            model.train(i % 3 != 0)
            step(x, y)
            with pnn.no_grad():
                model(x)
        found.append(everything(model, optimizer))
    assert_same(*found)


def test_two_models_in_one_step(device: str) -> None:
    found = []
    for capture in (False, True):
        models = [Model().initialize(seed).to(device) for seed in (0, 1)]
        optimizers = [optim.Adam(models[0].parameters(), lr=0.01), optim.SGD(models[1].parameters(), lr=0.1)]

        def step(x: Any, y: Any) -> Any:
            loss = layers.CrossEntropyLoss()(models[0](x) + models[1](x) + models[1](x), y)  # noqa: B023
            loss.backward()
            for optimizer in optimizers:  # noqa: B023
                optimizer.step()
                optimizer.zero_grad()
            return {"loss": loss}

        run_step = pnn.capture(step) if capture else step
        for x, y in batches(12):
            run_step(x, y)
        assert models[1].random_position == (1, 24)
        found.append([everything(*pair) for pair in zip(models, optimizers, strict=True)])
    for pair in zip(*found, strict=True):
        assert_same(*pair)


class Words(layers.Module):
    """A table of which each step uses a few rows, read twice, and a part that is run again in the backward pass."""

    def __init__(self) -> None:
        self.table = layers.Embedding(20, 8, sparse=True)
        self.body = layers.Sequential(layers.Linear(8, 8), layers.Tanh(), layers.Dropout(0.3))
        self.head = layers.Linear(8, 5)

    def forward(self, words: Any) -> Any:
        x = self.table(words[:, 0]) + self.table(words[:, 1])
        return self.head(pnn.checkpoint(self.body, x))


@pytest.mark.parametrize("kind", ["SparseAdam", "SGD"])
def test_row_sparse_gradients_and_checkpoints(device: str, kind: str) -> None:
    import cupy

    found = []
    for capture in (False, True):
        model = Words().initialize(0).to(device)
        optimizer = getattr(optim, kind)(model.parameters(), lr=0.05, clip_norm=1.0)
        step = make_step(model, optimizer)
        step, rng = pnn.capture(step) if capture else step, np.random.default_rng(0)
        for _ in range(12):
            words, y = (Tensor(cupy.asarray(rng.integers(0, high, shape))) for high, shape in ((20, (6, 2)), (5, 6)))
            step(words, y)
        found.append(everything(model, optimizer))
    assert_same(*found)


def test_loss_scaling(device: str) -> None:
    found = []
    for capture in (False, True):
        model = Model().initialize(0).to(device)
        optimizer = optim.AdamW(model.parameters(), lr=0.01)
        scaler = optim.LossScaler(optimizer, 2.0**10, interval=3)
        criterion = layers.CrossEntropyLoss()

        def step(x: Any, y: Any, factor: Any) -> Any:
            loss = criterion(model(x), y) * factor  # noqa: B023
            scaler.scale(loss).backward()  # noqa: B023
            optimizer.step()  # noqa: B023
            optimizer.zero_grad()  # noqa: B023
            return loss

        run_step = pnn.capture(step) if capture else step
        for i, (x, y) in enumerate(batches(20)):
            run_step(x, y, Tensor(x.data[0, :1] * 0 + (3e38 if i == 12 else 1)))  # one step overflows
        found.append({**everything(model, optimizer), "record": to_numpy(scaler.record)})
        assert optimizer.steps == 19 and scaler.record.get()[9] > 2.0**10
    assert_same(*found)


@pytest.mark.parametrize("capture", [False, True])
def test_steps_that_are_passed_over_do_not_count(device: str, capture: bool) -> None:
    """Neither for schedules nor for Adam's corrections: what is left is what the other steps alone lead to."""
    found = []
    bad = {3, 4, 11, 18}
    for left_out in (False, True):
        model = Model(0.0).initialize(0).to(device)
        optimizer = optim.Adam(model.parameters(), lr=optim.Warmup(optim.Cosine(0.05, steps=20), 4))
        scaler, criterion, rates = optim.LossScaler(optimizer, 2.0**10), layers.CrossEntropyLoss(), []

        def step(x: Any, y: Any, factor: Any) -> None:
            scaler.scale(criterion(model.head(model.body(x)), y) * factor).backward()  # noqa: B023
            optimizer.step()  # noqa: B023
            optimizer.zero_grad()  # noqa: B023

        run_step = pnn.capture(step) if capture else step
        for i, (x, y) in enumerate(batches(19)):
            if i in bad and left_out:
                continue
            run_step(x, y, Tensor(x.data[0, :1] * 0 + (3e38 if i in bad else 1)))
            rates += [] if i in bad else [optimizer.lr()] if i % 5 == 0 else []
        assert optimizer.steps == 15
        state = everything(model, optimizer)
        assert {state[name] for name in state if name.endswith(" step")} == {15}
        found.append((rates, {name: x for name, x in state.items() if name != "random position"}))
    assert found[0][0] == found[1][0]
    for name, x in found[0][1].items():
        np.testing.assert_allclose(x, found[1][1][name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_step_without_arguments(device: str) -> None:
    """Where it runs is learned from its modules in the first call, which is a step too."""
    found = []
    for capture in (False, True):
        model = Model().initialize(0).to(device)
        optimizer = optim.AdamW(model.parameters(), lr=0.01)
        given, make = list(batches(1))[0], make_step(model, optimizer)
        step = pnn.capture(lambda: make(*given)) if capture else lambda: make(*given)  # noqa: B023
        for _ in range(8):
            step()
        found.append(everything(model, optimizer))
    assert step.recorded == 1
    assert_same(*found)


def test_clipping_and_gradients_by_hand(device: str) -> None:
    found = []
    for capture in (False, True):
        model = Model().initialize(0).to(device)
        optimizer, other = optim.AdamW(model.body.parameters(), lr=0.01), optim.SGD(model.head.parameters(), lr=0.1)
        criterion, norms = layers.CrossEntropyLoss(), []

        def step(x: Any, y: Any) -> Any:
            criterion(model(x), y).backward()  # noqa: B023
            norm = optim.clip_grad_norm(model.parameters(), 0.3)  # noqa: B023
            other.step([p.grad * 2 for p in other.parameters])  # noqa: B023
            optimizer.step()  # noqa: B023
            for p in model.parameters():  # noqa: B023
                p.grad = None
            return {"norm": norm}

        run_step = pnn.capture(step) if capture else step
        for x, y in batches(12):
            norms.append(to_numpy(run_step(x, y)["norm"]).item())
        found.append({**everything(model, optimizer), "norms": norms})
    assert_same(*found)


def test_few_graphs_are_kept(device: str) -> None:
    import cupy

    model = layers.Linear(3, 2).initialize(0).to(device)
    step = pnn.capture(lambda x: model(x), shapes=2)
    for _ in range(2):
        for rows in (1, 2, 3, 2, 3, 2, 3, 2, 3):
            step(cupy.ones((rows, 3), dtype=cupy.float32))
    assert len(step._entries) == 2


def test_without_nvmath_steps_run_as_they_are(gpu: Any, capsys: pytest.CaptureFixture[str],
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    from portable_nn.kernels.cupy import graphs

    monkeypatch.setattr(graphs, "requirements", [lambda: "nvmath-python is not installed; pip install it"])
    monkeypatch.setattr(notices, "_told", set())
    losses = [run("cuda:0", KINDS["SGD"], capture=capture, steps=6)[0] for capture in (False, True)]
    assert losses[0] == losses[1]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "slower" in lines[0] and "pip install" in lines[0]
