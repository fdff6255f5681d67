"""The nox sessions do what pyproject.toml promises."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("nox")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def noxfile() -> ModuleType:
    specification = importlib.util.spec_from_file_location("portable_nn_noxfile", ROOT / "noxfile.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_every_dependency_has_a_lower_bound_that_is_tested(noxfile: ModuleType) -> None:
    extras = noxfile.PROJECT["optional-dependencies"]
    assert set(extras) == {"examples", "wordvectors", "fast", "test", "cuda12", "cuda13"}
    for requirement in [*noxfile.PROJECT["dependencies"], *extras["examples"], *extras["fast"], *extras["test"]]:
        assert re.fullmatch(r"[\w-]+==[\d.]+", noxfile.oldest(requirement)), requirement


def test_pytorch_is_no_dependency(noxfile: ModuleType) -> None:
    listed = [noxfile.PROJECT["dependencies"], *noxfile.PROJECT["optional-dependencies"].values()]
    assert not [requirement for group in listed for requirement in group if requirement.startswith("torch")]


def test_second_install_is_skipped(noxfile: ModuleType, tmp_path: Path) -> None:
    installed: list[Any] = []
    session = SimpleNamespace(virtualenv=SimpleNamespace(is_sandboxed=True, location=tmp_path), log=lambda *text: None,
                              install=lambda *requirements: installed.append(requirements))
    for requirement in ("a", "a", "b"):
        noxfile.install(session, requirement)
    assert installed == [("a",), ("b",)]
    session.virtualenv.is_sandboxed = False
    noxfile.install(session, "c")
    assert len(installed) == 2
