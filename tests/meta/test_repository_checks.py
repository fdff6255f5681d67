"""The repository's own checks hold here, and each of them finds what it is there to find."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(check: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / f"{check}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)


@pytest.mark.parametrize("check", ["check_imports", "check_device_kwarg", "sizes"])
def test_package(check: str) -> None:
    result = run(check)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("folder", ["scripts", "examples", "tests"])
def test_sizes_elsewhere(folder: str) -> None:
    result = run("sizes", ROOT / folder)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(("path", "line", "message"), [
    ("backend/random.py", "from portable_nn.layers.linear import Linear", "backend imports layers"),
    ("autodiff/tensor.py", "from portable_nn import functional", "autodiff imports functional"),
    ("layers/linear.py", "import numpy as np", "namespace from the arguments"),
    ("layers/linear.py", "def f():\n    import numpy", "namespace from the arguments"),
    ("data/text.py", "import cupy", "only backend and kernels"),
    ("data/text.py", "import sklearn.feature_extraction", "inside the function"),
    ("backend/special.py", "try:\n    import scipy.special\nexcept ImportError:\n    pass", "inside the function"),
    ("optim/adam.py", "from ..layers import Linear", "relative import"),
    ("layers/linear.py", "from portable_nn.kernels.cupy.linear import forward", "through their registry"),
    ("layers/linear.py", "from portable_nn import fit", "import the module"),
])
def test_imports_catches(tmp_path: Path, path: str, line: str, message: str) -> None:
    (tmp_path / path).parent.mkdir()
    (tmp_path / path).write_text(line + "\n", encoding="utf-8")
    result = run("check_imports", tmp_path)
    assert result.returncode == 1
    assert message in result.stdout


@pytest.mark.parametrize(("path", "line"), [
    ("layers/linear.py", "from portable_nn.functional.linear import linear\nfrom portable_nn.backend import errors"),
    ("functional/fused.py", "from portable_nn.kernels import registry"),
    ("functional/fused.py", "from portable_nn.kernels.registry import find"),
    ("kernels/cupy/softmax.py", "import cupy\nfrom portable_nn.functional.softmax import softmax"),
    ("data/text.py", "import numpy as np\ndef f():\n    import sklearn"),
    ("cli.py", "from portable_nn import __version__\nfrom portable_nn.models.files import load"),
])
def test_imports_allows(tmp_path: Path, path: str, line: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(line + "\n", encoding="utf-8")
    assert run("check_imports", tmp_path).returncode == 0, run("check_imports", tmp_path).stdout


@pytest.mark.parametrize(("line", "found"), [
    ("xp.zeros((3,), dtype=x.dtype)", True),
    ("xp.arange(3, device=d)", True),
    ("self.xp.asarray(0.5)", True),
    ("xp.asarray([1, 2], dtype=t)", True),
    ("xp.zeros((3,), dtype=t, device=d)", False),
    ("xp.zeros((3,), **options)", False),
    ("xp.asarray(x)", False),
    ("numbers.zeros(3)", False),
])
def test_device_catches(tmp_path: Path, line: str, found: bool) -> None:
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / "linear.py").write_text(line + "\n", encoding="utf-8")
    assert run("check_device_kwarg", tmp_path).returncode == found


def test_sizes_catches(tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text("x = 1\n" * 301, encoding="utf-8")
    function = "def f():\n    '''One.\n\n    Two.\n    '''\n" + "    # why\n" * 60 + "    x = 1\n" * 40
    (tmp_path / "wide.py").write_text(function, encoding="utf-8")
    result = run("sizes", tmp_path)
    assert result.returncode == 1
    assert "long.py:1: 301 lines" in result.stdout
    assert "f has 41 lines" in result.stdout


def test_sizes_counts_no_docstring_and_no_inner_function(tmp_path: Path) -> None:
    inner = "def f():\n    '''One.'''\n" + "    x = 1\n" * 20 + "    def g():\n" + "        y = 1\n" * 30
    (tmp_path / "inner.py").write_text(inner, encoding="utf-8")
    assert run("sizes", tmp_path).returncode == 0
