"""Weights in one file: there and back, and refusals that name the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from portable_nn import DataError, FileError, layers
from portable_nn.models import load_weights, save_weights
from tests.helpers import Backend


def _net() -> layers.Sequential:
    return layers.Sequential(layers.Linear(3, 4), layers.LayerNorm(4), layers.Linear(4, 2))


def test_weights_come_back_on_the_device_where_the_module_is(backend: Backend, tmp_path: Path) -> None:
    first = _net().initialize(seed=1)
    save_weights(first, tmp_path / "weights.safetensors")
    second = _net().to(backend.device, xp=backend.xp).initialize(seed=2)
    load_weights(second, tmp_path / "weights.safetensors")
    x = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    backend.assert_close(second(backend.asarray(x)), first(x))


def test_another_module_is_refused_and_unchanged(tmp_path: Path) -> None:
    save_weights(_net(), tmp_path / "weights.safetensors")
    other = layers.Sequential(layers.Linear(3, 5)).initialize(seed=0)
    before = other.state_dict()
    with pytest.raises(DataError, match=r"unexpected.*2\.weight.*0\.weight of shape"):
        load_weights(other, tmp_path / "weights.safetensors")
    assert all(np.array_equal(before[name], x) for name, x in other.state_dict().items())


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(_net(), path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(FileError, match="weights.safetensors"):
        load_weights(_net(), path)
