"""The fixture `gpu`: CuPy on a GPU, or the stand-in for both, whichever `--backend` asks for.

Where there is neither, only the tests that need none are collected; tests/meta/test_backends.py says so once.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import Unavailable, make_backends

KINDS = ("cupy", "cupy-emulated")
#: What is tested without a GPU or a stand-in for one in this process.
WITHOUT = ("conftest.py", "test_compiles.py", "test_emulated.py")


def backends(config: pytest.Config) -> list[tuple[str, Any]]:
    """CuPy or its stand-in, if the run asks for it (CuPy also if it asks for nothing) and it is here."""
    found = []
    for name in config.getoption("--backend") or ("cupy",):
        with suppress(Unavailable):
            found += [(name, backend) for backend in make_backends(name)] if name in KINDS else []
    return found


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    here = collection_path.parent == Path(__file__).parent and collection_path.suffix == ".py"
    return True if here and collection_path.name not in WITHOUT and not backends(config) else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "gpu" in metafunc.fixturenames:
        parameters = [pytest.param(backend, id=name) for name, backend in backends(metafunc.config)]
        metafunc.parametrize("gpu", parameters, indirect=True)


@pytest.fixture(autouse=True, scope="session")
def plain_allocator() -> None:
    """For compute-sanitizer: every array a piece of memory of its own, so that a step beyond it is seen."""
    if os.environ.get("PORTABLE_NN_PLAIN_ALLOCATOR"):
        import cupy

        cupy.cuda.set_allocator(None)


@pytest.fixture
def gpu(request: pytest.FixtureRequest) -> Any:
    """A `tests.helpers.Backend` of CuPy's namespace."""
    return request.param


@pytest.fixture(params=[0, 1, 5], ids=["in order", "backwards", "mixed"])
def order(request: pytest.FixtureRequest, gpu: Any) -> Any:
    """In which order the emulator runs blocks, and the threads of a block; a GPU has its own."""
    import cupy

    if not hasattr(cupy, "is_stand_in"):
        if request.param:
            pytest.skip("the order of threads is the GPU's own")
        yield request.param
        return
    import cupy._raw

    cupy._raw.order = request.param
    yield request.param
    cupy._raw.order = 0


@pytest.fixture
def cudnn(gpu: Any) -> Any:
    """Our module of cuDNN's attention, where cuDNN is here."""
    from portable_nn.kernels.cupy import cudnn_attention

    if cudnn_attention.obstacle() is not None:
        pytest.skip(str(cudnn_attention.obstacle()))
    return cudnn_attention
