"""The fixture `backend`: a test that takes it runs on NumPy, read-only NumPy, array-api-strict's devices and CuPy."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from tests.helpers import API_VERSION, BACKENDS, GUESTS, Backend, Unavailable, make_backends

#: Devices of array-api-strict that differ from `strict:device1` in nothing but their names.
TWINS = ("strict", "strict:device2")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", action="append", choices=[*BACKENDS, *GUESTS], default=None,
                     help="run the tests that take a backend on this one alone (may be repeated)")


def pytest_configure(config: pytest.Config) -> None:
    for name in config.getoption("--backend") or ():
        try:
            make_backends(name)
        except Unavailable as reason:  # a run that was told to test this backend must not pass by testing nothing
            raise pytest.UsageError(f"--backend {name}: {reason}") from reason
    try:
        import array_api_strict
    except ImportError:
        return  # the strict backends are then skipped with that reason
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # strict warns that an older version of the standard was asked for
        array_api_strict.set_array_api_strict_flags(api_version=API_VERSION)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"backend", "gpu"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("backend")
        if "parity" in item.path.parts:
            item.add_marker("parity")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" not in metafunc.fixturenames:
        return
    asked = metafunc.config.getoption("--backend")
    parameters = [parameter for name in asked or BACKENDS for parameter in _parameters(name)]
    if not asked and any(marker.name == "one_device" for marker in metafunc.definition.iter_markers()):
        parameters = [parameter for parameter in parameters if parameter.id not in TWINS]
    metafunc.parametrize("backend", parameters, indirect=True)


def _parameters(name: str) -> list[Any]:
    """The backends of a name; none where it is missing, which `tests/meta/test_backends.py` says once."""
    try:
        return [pytest.param(backend, id=name if name in GUESTS else backend.name) for backend in make_backends(name)]
    except Unavailable:
        return []


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Backend:
    """One array library on one device; see `tests.helpers.Backend`."""
    return request.param


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded source of test data on the host."""
    return np.random.default_rng(0)
