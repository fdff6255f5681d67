"""Compiled LSTM and GRU, with each step's product in the loop and outside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portable_nn.kernels import available, registry
from tests.functional.cases import CASES
from tests.helpers import make_backends
from tests.kernels.test_agreement import compare

pytest.importorskip("numba")


@pytest.mark.parametrize("most", [0, 1 << 40])
@pytest.mark.parametrize("operation", ["lstm", "gru"])
def test_products_inside_and_outside_the_loop(operation: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portable_nn.kernels.compiled.sequences.SMALL", most)
    cases = [case for case in CASES if case.operation == operation]
    assert any(used(case, operation) for case in cases)
    for case in cases:
        compare(make_backends("numpy")[0], case, "float32", "plain", np.random.default_rng(1))


def used(case: Any, operation: str) -> bool:
    """Whether the last kernel is the compiled one, and takes the case in float32."""
    kernel = [kernel for kernel in available("numpy") if kernel.operation == operation][-1]
    arrays = [x.astype("float32") if x is not None and x.dtype.kind == "f" else x
              for x in case.make(np.random.default_rng(1))]
    assert isinstance(kernel, registry.Kernel) and "compiled" in kernel.name
    return kernel.supports(*arrays, **case.options)
