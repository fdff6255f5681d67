"""`python -m portable_nn` says what is here, and how to get what is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from portable_nn import cli
from portable_nn.backend.errors import MissingDependencyError


def test_runs_as_a_module() -> None:
    result = subprocess.run([sys.executable, "-W", "error", "-m", "portable_nn"], capture_output=True, text=True,
                            cwd=Path(__file__).resolve().parents[1], check=True)
    for title in ("portable_nn", "Versions", "numpy", "array-api-compat", "Devices", "cpu", "Fast paths"):
        assert title in result.stdout


@pytest.mark.parametrize(("smi", "extra"), [
    ("| NVIDIA-SMI 580.65.06    Driver Version: 580.65.06    CUDA Version: 13.0     |", "cuda13"),
    ("| NVIDIA-SMI 535.104.05   Driver Version: 535.104.05   CUDA Version: 12.2     |", "cuda12"),
    ("| NVIDIA-SMI 600.10       KMD Version: 600.10          CUDA UMD Version: 13.2 |", "cuda13"),
    ("| NVIDIA-SMI 700.10       Driver Version: 700.10       CUDA Version: 14.1     |", "cuda13"),
    ("| NVIDIA-SMI 470.82       Driver Version: 470.82       CUDA Version: 11.4     |", None),
    ("", None),
])
def test_cuda_extra(smi: str, extra: str | None) -> None:
    assert cli.cuda_extra(smi) == extra


def test_fast_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    def available(library: str) -> list[Any]:
        if library == "cupy":
            raise ImportError("No module named 'cupy'")
        return [SimpleNamespace(operation="softmax", library="numpy", name="portable_nn.kernels.numpy.softmax.forward")]

    monkeypatch.setattr(cli.kernels, "available", available)
    monkeypatch.setattr(cli.pkgutil, "iter_modules", lambda path: [SimpleNamespace(name="linear")])
    monkeypatch.setattr(cli, "_nvidia_smi", lambda *options: "CUDA Version: 12.8")
    lines = [" ".join(line.split()) for line in cli.report()]
    assert "softmax numpy: active, portable_nn.kernels.numpy.softmax.forward" in lines
    assert 'linear cupy: not active; pip install "cupy-cuda12x[ctk]"' in lines


def test_missing_package_and_device_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: str) -> str:
        raise MissingDependencyError("CuPy", "nothing", "pip install it")

    monkeypatch.setattr(cli.devices, "resolve_device", refuse)
    monkeypatch.setattr(cli, "version_of", lambda package: None)
    report = "\n".join(cli.report())
    assert "missing: pip install numpy" in report
    assert 'missing: pip install "cupy-cuda1' in report
    assert "unavailable: expected CuPy" in report


def test_devices_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.devices, "resolve_device", lambda device: "cuda:0")
    monkeypatch.setattr(cli.devices, "available_devices", lambda: ["cpu", "cuda:0"])
    monkeypatch.setattr(cli, "_nvidia_smi", lambda *options: "NVIDIA H100 80GB HBM3, 81559 MiB\n")
    assert "  cuda:0  NVIDIA H100 80GB HBM3, 81559 MiB" in cli.report()
