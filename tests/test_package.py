"""The package's own names: all there, found late, and dear to nobody who does not use them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import portable_nn

ROOT = Path(__file__).resolve().parents[1]
#: What the documentation promises.
PROMISED = """Tensor array_namespace grad value_and_grad elementwise_grad gradcheck checkpoint custom_gradient no_grad
to_device to_numpy fit evaluate predict functional_call summary load save layers optim data models training functional
kernels PortableNNError ShapeError DTypeError DeviceError DataError ArgumentError FileError GradientError NonFiniteError
MissingDependencyError __version__""".split()


@pytest.mark.parametrize("name", PROMISED)
def test_promised_names(name):
    assert name in dir(portable_nn) and name in portable_nn.__all__
    assert getattr(portable_nn, name) is getattr(portable_nn, name)


def test_every_listed_name_is_there():
    assert {*PROMISED} <= {*portable_nn.__all__} <= {*dir(portable_nn)}
    assert all(getattr(portable_nn, name) is not None for name in portable_nn.__all__)


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="'portable_nn' has no attribute 'fitt'"):
        portable_nn.fitt  # noqa: B018
    with pytest.raises(ImportError):
        from portable_nn import fitt  # noqa: F401


def test_the_version_is_the_projects():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert portable_nn.__version__ == project["version"]


@pytest.mark.parametrize("code", [
    "import portable_nn; dir(portable_nn)",
    "from portable_nn import layers; import numpy; layers.Linear(3, 2)(numpy.ones((1, 3), dtype=numpy.float32))",
    "import portable_nn; portable_nn.fit, portable_nn.load, portable_nn.models.TextClassifier",
])
def test_nothing_heavy_is_loaded(code):
    code += "; import sys; print(*sorted({'cupy', 'scipy', 'sklearn', 'pandas', 'matplotlib'} & {*sys.modules}))"
    command = [sys.executable, "-W", "error", "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.strip() == ""
