"""What is noted of losses in one launch is what array code would make of them, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portable_nn.kernels import registry
from portable_nn.training.updates import Mean


@pytest.mark.parametrize("char", "fd")
@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("weighted", [False, True])
def test_sums_of_losses(gpu: Any, char: str, shape: tuple[int, ...], weighted: bool) -> None:
    import cupy

    rng = np.random.default_rng(0)
    total, record, mean = cupy.zeros(shape, dtype=char), cupy.zeros((16,), dtype=cupy.float64), Mean()
    for _ in range(20):
        loss = np.asarray(rng.normal(size=shape)).astype(char)
        mass = np.asarray(rng.random()).astype(char) if weighted else int(rng.integers(1, 100))
        on_gpu = cupy.asarray(mass) if weighted else mass
        kernel = registry.find("note_loss", gpu.xp, (cupy.asarray(loss), on_gpu, total), {})
        assert kernel is not None
        kernel.forward(cupy.asarray(loss), on_gpu, total, record)
        mean.add(loss, mass)
        np.testing.assert_array_equal(total.get(), mean.total)
        assert record.get()[3] == loss.reshape(())
    for x in (np.inf, 1.0):  # the first that is not finite stays
        kernel.forward(cupy.asarray(np.full(shape, x).astype(char)), 2, total, record)
        assert record.get()[3] == np.inf
    assert registry.find("note_loss", gpu.xp, (cupy.zeros(shape, dtype=cupy.float16), 2, total), {}) is None
