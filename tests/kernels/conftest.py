"""Compiled kernels are for large arrays; here they take the small ones too."""

from __future__ import annotations

import importlib.util

import pytest


@pytest.fixture(autouse=True)
def compiled_kernels_take_small_arrays(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("numba") is not None:
        monkeypatch.setattr("portable_nn.kernels.compiled.common.LEAST", 1)
