"""The examples in the package's docstrings run."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
from pathlib import Path

import pytest

import portable_nn

ROOT = Path(portable_nn.__file__).parent
#: CuPy's kernels can be imported only where it is; those that Numba compiles are registered by their import.
ABSENT = {"cupy"} if importlib.util.find_spec("numba") is not None else {"cupy", "compiled"}
MODULES = [".".join(("portable_nn", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
           for path in sorted(ROOT.rglob("*.py"))
           if path.name != "__main__.py" and path.parent.name not in ABSENT]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    if not doctest.DocTestFinder(exclude_empty=True).find(module, name):
        pytest.skip("no examples")
    assert doctest.testmod(module).failed == 0
