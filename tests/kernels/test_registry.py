"""The registry: what it names, what it forces, what it holds."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from portable_nn import Tensor, functional, kernels
from portable_nn.kernels import registry

FUSED = {"relu", "sigmoid", "tanh", "gelu", "linear", "softmax", "log_softmax", "cross_entropy", "layer_norm",
         "dropout", "binary_cross_entropy_with_logits", "embedding", "embedding_bag"}


def test_explain() -> None:
    x = np.ones((2, 3), dtype=np.float32)
    assert kernels.explain("softmax", x, axis=-1) == "portable_nn.kernels.numpy.softmax.softmax"
    assert kernels.explain("softmax", Tensor(x), axis=-1) == "portable_nn.kernels.numpy.softmax.softmax"
    assert kernels.explain("softmax", x.astype(np.float16), axis=-1) == "generic softmax"
    with kernels.disabled():
        assert kernels.explain("softmax", x, axis=-1) == "definition of softmax"
        with kernels.disabled(generic=True):
            assert kernels.explain("softmax", x, axis=-1) == "generic softmax"
        assert kernels.explain("softmax", x, axis=-1) == "definition of softmax"
    assert kernels.explain("squared_error", x, x) == "generic squared_error"


def test_numpy_has_kernels() -> None:
    assert {kernel.operation for kernel in kernels.available("numpy")} >= FUSED
    assert kernels.available("array_api_strict") == []


def test_disabled_forces_definitions(monkeypatch) -> None:
    """Neither a kernel nor a generic backward runs."""
    operation = sys.modules["portable_nn.functional.softmax"]._softmax

    def refuse(*args, **options):
        raise AssertionError("not the definition")

    monkeypatch.setattr(operation, "backward", refuse)
    entries = registry.entries("softmax", "numpy")
    saved = list(entries)
    entries[:] = [saved[0]._replace(forward=refuse, backward=refuse)]
    try:
        x = Tensor(np.ones((2, 3)), requires_grad=True)
        with kernels.disabled():
            functional.softmax(x, axis=-1).backward(np.ones((2, 3)))
        np.testing.assert_allclose(x.grad, np.zeros((2, 3)), atol=1e-16)
    finally:
        entries[:] = saved


def test_kernels_load_at_the_first_array() -> None:
    code = ("import sys, numpy, portable_nn; from portable_nn import functional\n"
            "assert 'portable_nn.kernels.numpy' not in sys.modules\n"
            "functional.relu(numpy.ones(3)); assert 'portable_nn.kernels.numpy' in sys.modules\n"
            "assert 'scipy' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)
