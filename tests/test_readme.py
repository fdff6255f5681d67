"""The README's Python blocks run, in order, as a reader would paste them; its commands exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)


def test_code_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"README.md, block {number + 1}", "exec"), scope)
    assert scope["x"].dtype == np.float64
    assert scope["history"]["validation"][-1] < scope["history"]["validation"][0]
    assert scope["scores"]["accuracy"] > 0.5
    assert scope["logits"].shape == (1000, 10) and isinstance(scope["logits"], np.ndarray)
    assert (tmp_path / "weights.safetensors").is_file()
    np.testing.assert_allclose(scope["curve"], 1 - np.tanh(np.linspace(-2.0, 2.0, 5)) ** 2)
    np.testing.assert_allclose(scope["hessian_row"], [12.0, 0.0])


def test_every_script_named_is_there() -> None:
    for name in re.findall(r"(?:scripts|examples)/\w+\.py", TEXT):
        assert (ROOT / name).is_file(), name
