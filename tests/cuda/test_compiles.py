"""Every CUDA source compiles, for every scalar type and GPU generation: NVRTC and nvcc need no GPU for that.

The oldest and the newest generation get all scalar types, those between them one each: it takes a second every time.

A source may say in comments of its own what it is compiled for: `// Scalars: f d`, and `// Variants: A=1 B=2; A=2` for
sets of defines that it needs.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cuda import nvrtc

SOURCES = Path(__file__).parents[2] / "portable_nn" / "kernels" / "cupy" / "src"
FILES = sorted(path.stem for path in SOURCES.glob("*.cu"))
#: CUDA 13 begins at Turing; CUDA 12 still has Volta.
ARCHITECTURES = {13: (75, 80, 86, 89, 90, 100, 120), 12: (70, 75, 90)}
#: What launch.py passes, and what CuPy adds.
CUPYS_OPTIONS = ["-std=c++17", "--device-as-default-execution-space"]
_SCALARS = {"f": 0, "d": 1, "e": 2, "E": 3}
_INCLUDE = re.compile(r'^#include "([\w.]+)"\n', re.MULTILINE)


def source(name: str, seen: set[str] | None = None) -> str:
    """As `kernels.cupy.launch.source`, which cannot be imported without CuPy."""
    seen = set() if seen is None else seen
    if name in seen:
        return ""
    seen.add(name)
    text = (SOURCES / name).read_text(encoding="utf-8").replace("#pragma once\n", "")
    return _INCLUDE.sub(lambda match: source(match[1], seen), text)


def variants(file: str) -> list[list[str]]:
    """The defines of each way in which a file is compiled."""
    text = (SOURCES / f"{file}.cu").read_text(encoding="utf-8")
    scalars = re.search(r"^// Scalars: ([\w ]+)$", text, re.MULTILINE)
    others = re.search(r"^// Variants: (.+)$", text, re.MULTILINE)
    return [[f"SCALAR={_SCALARS[char]}", *defines.split()]
            for char in (scalars[1].split() if scalars else _SCALARS)
            for defines in (others[1].split(";") if others else [""])]


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("version", ARCHITECTURES)
def test_nvrtc(version: int, file: str) -> None:
    compiler = nvrtc.find(version)
    if compiler is None:
        pytest.skip(f"NVRTC {version} is not installed: `nox -s cuda_compile` brings it")
    oldest, *middle, newest = ARCHITECTURES[version]
    ways = variants(file)
    for i, architecture in enumerate((oldest, *middle, newest)):
        for defines in ways[i % len(ways)::len(ways)] if architecture in middle else ways:
            options = [*CUPYS_OPTIONS, f"-arch=sm_{architecture}", *(f"-D{define}" for define in defines)]
            assert compiler.compile(source(f"{file}.cu"), f"{file}.cu", options)


@pytest.mark.parametrize("file", FILES)
def test_nvcc(file: str, tmp_path: Path) -> None:
    """One type and generation, where there is no NVRTC to try all: the bfloat16 of a GPU that has none of its own."""
    if nvrtc.find(13) is not None:
        pytest.skip("NVRTC is here, and tries all of them")
    if shutil.which("nvcc") is None:
        pytest.skip("neither NVRTC nor nvcc is installed")
    defines = [f"-D{define}" for define in variants(file)[-1]]
    (tmp_path / "source.cu").write_text(source(f"{file}.cu"), encoding="utf-8")
    command = ["nvcc", "-std=c++17", "-arch=compute_75", "-ptx", *defines, str(tmp_path / "source.cu"), "-o",
               str(tmp_path / "ptx")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_includes_are_known() -> None:
    """NVRTC finds no headers but ours, which are put in place as text."""
    for path in SOURCES.iterdir():
        for included in re.findall(r'#include\s+["<]([^">]+)[">]', path.read_text(encoding="utf-8")):
            assert (SOURCES / included).is_file(), f"{path.name} includes {included}"
