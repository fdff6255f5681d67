"""How many launches a recorded step of each workload of the bench makes: so that nobody adds one unnoticed.

A small launch costs a graph about 1.5 microseconds on an H100, and the smallest steps take 50 in all. The nets are
tiny, of the same structure. The stand-in counts kernels of ours, CuPy's own functions, products, cuDNN's attention and
copies.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from tests.cuda.steps import recordable_products

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
#: Workload -> launches at most, in the precision that its goal is in. Who makes it fewer lowers the number.
MOST = {"mlp-small": 14, "mlp": 14, "bow": 16, "lstm-64": 14, "encoder": 34, "gpt-cpu": 33, "gpt-baby": 39,
        "minilm-infer": 19, "skipgram": 10}
_IN_HALF = ("gpt-baby", "minilm-infer")


@pytest.mark.parametrize("name", MOST)
def test_launches_of_a_step(gpu: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    import cupy

    if not hasattr(cupy, "is_stand_in"):
        pytest.skip("launches are counted by the stand-in")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    ours, workloads = (importlib.import_module(f"benchmark.{module}") for module in ("ours", "workloads"))
    spec = workloads.tiny(workloads.WORKLOADS[name])
    with recordable_products():
        contender = ours.Ours(spec, "cuda", "bfloat16" if name in _IN_HALF else "tf32", "captured")
        for batch in workloads.make_batches(spec, 3):
            contender.step(contender.put(batch))
    assert contender.run.recorded == 1
    launches = list(cupy.cuda.recorded)
    assert len(launches) <= MOST[name], "\n".join(launches)
