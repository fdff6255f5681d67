"""The benchmark's workloads, tiny: this library, PyTorch, JAX and scikit-learn compute the same."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
NAMES = ["mlp-small", "bow", "lstm-64", "encoder", "gpt-cpu", "gpt-baby", "minilm-infer", "skipgram"]


@pytest.fixture
def load(monkeypatch):
    """Imports a module of scripts/benchmark/."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return lambda name: importlib.import_module(f"benchmark.{name}")


def differences(load, tmp_path, name, peer, **options):
    workloads, parity, ours = load("workloads"), load("parity"), load("ours")
    spec = {**workloads.tiny(workloads.WORKLOADS[name]), "dropout": 0.0}
    for make, file in ((ours.Ours, "ours.npz"), (peer, "theirs.npz")):
        parity.record(make, spec, "cpu", tmp_path / "weights.npz", tmp_path / file, **options)
    return parity.differences(tmp_path / "ours.npz", tmp_path / "theirs.npz")


def check(found, *, trains=True):
    assert set(found) == ({"result", "gradient", "parameter"} if trains else {"result"})
    assert max(found.values()) <= 1e-8


@pytest.mark.parametrize("name", NAMES)
def test_pytorch_computes_the_same(load, tmp_path, name):
    check(differences(load, tmp_path, name, load("torch_peer").TorchPeer), trains=name != "minilm-infer")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_jax_computes_the_same(load, tmp_path, name):
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision
    try:
        check(differences(load, tmp_path, name, load("jax_peer").JaxPeer), trains=name != "minilm-infer")
    finally:
        jax.config.update("jax_enable_x64", before[0])
        jax.config.update("jax_default_matmul_precision", before[1])


def test_scikit_learn_computes_the_same(load, tmp_path):
    check(differences(load, tmp_path, "mlp-small", load("sklearn_peer").SklearnPeer, eps=1e-300))


def test_a_difference_is_found_where_there_is_one(load, tmp_path):
    parity = load("parity")
    first = {"result": np.asarray(1.0), "gradient a": np.asarray([1e-3, 2e-3]), "gradient b": np.asarray([0.0])}
    np.savez(tmp_path / "first.npz", **first)
    np.savez(tmp_path / "second.npz", **{**first, "gradient a": np.asarray([1e-3, 2e-3 + 1e-9])})
    found = parity.differences(tmp_path / "first.npz", tmp_path / "second.npz")
    assert found["result"] == 0 and found["gradient"] == pytest.approx(5e-7)
    np.savez(tmp_path / "second.npz", **{**first, "gradient a": np.asarray([np.nan, 1.0])})
    assert parity.differences(tmp_path / "first.npz", tmp_path / "second.npz")["gradient"] == float("inf")
    np.savez(tmp_path / "second.npz", result=np.asarray(1.0))
    with pytest.raises(ValueError, match="gradient a"):
        parity.differences(tmp_path / "first.npz", tmp_path / "second.npz")
