"""Modes and the collector come back, however many threads have held them."""

from __future__ import annotations

import gc
import threading

import pytest

from portable_nn import layers
from portable_nn.training.modes import CollectorHeld, evaluating, training_mode


def make() -> layers.Sequential:
    model = layers.Sequential(layers.Linear(2, 2), layers.Dropout(0.5), layers.Sequential(layers.Dropout(0.5)))
    model[1].eval()
    return model


def modes(model: layers.Module) -> list[bool]:
    return [module.training for module in model.modules()]


@pytest.mark.parametrize("context", [evaluating, training_mode])
def test_modes_come_back(context: object) -> None:
    model = make()
    before = modes(model)
    with pytest.raises(ZeroDivisionError), context(model):  # type: ignore[operator]
        assert modes(model) == [context is training_mode] * len(before)
        raise ZeroDivisionError
    assert modes(model) == before


def test_evaluations_may_overlap_in_any_order() -> None:
    model = make()
    before = modes(model)
    first, second = evaluating(model), evaluating(model[2])
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert modes(model) == [True, True, False, False, False]  # the inner part is still under evaluation
    second.__exit__(None, None, None)
    assert modes(model) == before


def test_the_collector_comes_back_with_the_last_thread() -> None:
    held = CollectorHeld()
    inside, leave = threading.Barrier(3, timeout=20), threading.Event()

    def hold() -> None:
        with held:
            inside.wait()
            leave.wait(20)

    threads = [threading.Thread(target=hold) for _ in range(2)]
    for thread in threads:
        thread.start()
    with held:
        inside.wait()
        assert not gc.isenabled()
    assert not gc.isenabled()
    leave.set()
    for thread in threads:
        thread.join()
    assert gc.isenabled()
