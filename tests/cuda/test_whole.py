"""Whole calls on the GPU: second order through every operation that has a kernel, and runs that agree in every bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portable_nn import functional, gradcheck, layers, optim
from portable_nn.autodiff import Tensor
from portable_nn.kernels import available
from tests.functional.cases import CASES, Case


def _smallest() -> list[Case]:
    """One call of each operation that has arrays to differentiate by, not a large one."""
    chosen: dict[str, Case] = {}
    for case in CASES:
        if not any(word in case.name for word in ("blocks", "many", "empty", "no ")):
            chosen.setdefault(case.operation, case)
    return list(chosen.values())


@pytest.mark.parametrize("case", _smallest(), ids=str)
def test_second_order(gpu: Any, case: Case) -> None:
    if case.operation not in {kernel.operation for kernel in available("cupy")}:
        pytest.skip("no kernel of ours")
    inputs = [None if x is None else gpu.asarray(x) for x in case.make(np.random.default_rng(1))]
    floats = [i for i, x in enumerate(inputs) if x is not None and x.dtype.kind == "f"]

    def f(*given: Any) -> Any:
        arrays = list(inputs)
        for i, x in zip(floats, given, strict=True):
            arrays[i] = x
        return case(*arrays)

    assert gradcheck(f, tuple(inputs[i] for i in floats), order=1 if case.operation == "embedding" else 2)


def _train(gpu: Any, seed: int) -> list[bytes]:
    """Some steps of a model with everything that could add in another order, and dropout; all parameters after them."""
    rng = np.random.default_rng(7)
    model = layers.Sequential(layers.Embedding(50, 24), layers.LayerNorm(24), layers.Dropout(0.2), layers.Flatten(),
                              layers.Linear(24 * 40, 16), layers.BatchNorm1d(16), layers.GELU(), layers.Linear(16, 5))
    model.to(gpu.device, xp=gpu.xp).initialize(seed)
    optimizer, loss_of = optim.AdamW(model.parameters(), lr=1e-2), layers.CrossEntropyLoss()
    for _ in range(4):
        words = gpu.asarray(np.minimum(rng.zipf(1.4, (32, 40)), 50) - 1)
        loss = loss_of(model(Tensor(words)), gpu.asarray(rng.integers(0, 5, 32)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return [p.data.get().tobytes() for p in model.parameters()]


def test_two_runs_with_one_seed_are_the_same(gpu: Any) -> None:
    first = _train(gpu, 3)
    assert first == _train(gpu, 3)
    assert first != _train(gpu, 4)


def test_operations_run_as_one_kernel(gpu: Any) -> None:
    """What is counted on the stand-in is what a GPU launches."""
    import cupy

    if not hasattr(cupy, "is_stand_in"):
        pytest.skip("launches are counted by the stand-in")
    from cupy._raw import launches

    x = gpu.asarray(np.ones((8, 40), dtype=np.float32))
    w = gpu.asarray(np.ones(40, dtype=np.float32))
    labels = gpu.asarray(np.zeros(8, dtype=np.int64))
    for call, forward, backward in [
            (lambda t: functional.softmax(t, axis=-1), 1, 1), (lambda t: functional.gelu(t, approximate="none"), 1, 1),
            (lambda t: functional.layer_norm(t, w, w, eps=1e-5), 1, 1),
            (lambda t: functional.mean_cross_entropy(t, labels), 1, 1)]:
        launches.clear()
        out = call(Tensor(x, requires_grad=True))
        assert len(launches) == forward
        launches.clear()
        out.backward(gpu.asarray(np.ones(out.shape, dtype=np.float32)))
        assert len(launches) == backward
