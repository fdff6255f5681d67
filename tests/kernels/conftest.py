"""Compiled kernels are for large arrays; a test that asks for it lets them take small ones too."""

from __future__ import annotations

import importlib.util

import pytest


@pytest.fixture
def compiled_takes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Numba is installed."""
    if importlib.util.find_spec("numba") is not None:
        monkeypatch.setattr("portable_nn.kernels.compiled.common.LEAST", 1)
