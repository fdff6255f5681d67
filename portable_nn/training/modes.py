"""States of the process and the model that a run changes for a while, and puts back however it ends."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from portable_nn.layers import Module

_lock = Lock()
#: Module identity -> [how many evaluations are under way, its mode before the first], while there are any.
_evaluated: dict[int, list[Any]] = {}


@contextmanager
def training_mode(model: Module) -> Iterator[None]:
    """Run with the model in training mode, then put every module back as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.train()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Run with the model in evaluation mode, then put every module back as it was.

    Several threads may do so at once: the last one to leave puts the modes back.
    """
    modules = list(model.modules())
    with _lock:
        for module in modules:
            _evaluated.setdefault(id(module), [0, module.training])[0] += 1
            module.training = False
    try:
        yield
    finally:
        with _lock:
            for module in modules:
                held = _evaluated[id(module)]
                held[0] -= 1
                if not held[0]:
                    module.training = held[1]
                    del _evaluated[id(module)]


class CollectorHeld:
    """Hold off Python's cyclic collector during a step: a tape makes no cycles, and each look costs 1 µs an operation.

    One object serves all threads: the collector comes back when the last of them has left.
    """

    def __init__(self) -> None:
        self._holders, self._was_enabled, self._lock = 0, False, Lock()

    def __enter__(self) -> None:
        with self._lock:
            if not self._holders:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._holders += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._holders -= 1
            if not self._holders and self._was_enabled:
                gc.enable()


collector_held = CollectorHeld()
