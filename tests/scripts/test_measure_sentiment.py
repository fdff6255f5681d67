"""The paired bootstrap, on differences whose spread is known."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
PATH = Path(__file__).resolve().parents[2] / "scripts" / "measure_sentiment.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("measure_sentiment", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_interval_is_as_wide_as_theory_says(script, rng):
    first, second = rng.random(400) < 0.8, rng.random(400) < 0.7
    difference, low, high = script.paired_bootstrap(first, second, draws=4000)
    differences = first.astype(float) - second.astype(float)
    assert difference == pytest.approx(differences.mean())
    error = differences.std() / math.sqrt(400)
    assert low == pytest.approx(difference - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(difference + 1.96 * error, abs=0.15 * error)


def test_the_same_mistakes_leave_no_doubt(script):
    right = np.asarray([1, 0, 1, 1])
    assert script.paired_bootstrap(right, right, draws=50) == (0.0, 0.0, 0.0)
    assert script.paired_bootstrap(np.ones(4), np.zeros(4), draws=50) == (1.0, 1.0, 1.0)
