"""scripts/bench.py on a GPU: each workload's step, tiny, is recorded, and computes what it does without that."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cuda.steps import recordable_products

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.mark.parametrize("name", ["mlp-small", "bow", "lstm-64", "encoder", "gpt-baby", "minilm-infer", "skipgram"])
def test_captured_steps_are_eager_ones(gpu: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    ours, workloads = (importlib.import_module(f"benchmark.{module}") for module in ("ours", "workloads"))
    spec = {**workloads.tiny(workloads.WORKLOADS[name]), "dropout": 0.0}
    results = []
    with recordable_products():
        for mode in ("eager", "captured"):
            contender = ours.Ours(spec, "cuda", "float32", mode)
            for batch in workloads.make_batches(spec, 5):
                contender.step(contender.put(batch))
            contender.synchronize()
            results.append(contender.weights())
        assert contender.run.recorded == 1
    for name, value in results[0].items():
        np.testing.assert_array_equal(value, results[1][name], err_msg=name)
