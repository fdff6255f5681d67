"""scripts/demo.py and scripts/test.py: what they pass on, and what they say on a machine that lacks something."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A script as a module of its own; its `_environment` is `module._environment`."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.delitem(sys.modules, "_environment", raising=False)
    specification = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class Calls:
    """Stands in for subprocess.call: notes the commands, makes what `venv` would make, fails where told to."""

    def __init__(self, fail: str = "") -> None:
        self.commands: list[list[str]] = []
        self.fail = fail

    def __call__(self, command: list[str], **options: Any) -> int:
        self.commands.append(command)
        if "venv" in command:
            python = Path(command[-1], *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()
        return int(self.fail != "" and self.fail in command)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    return tmp_path


def prepared(name: str, checkout: Path, monkeypatch: pytest.MonkeyPatch, calls: Calls) -> ModuleType:
    module = load(name, monkeypatch)
    monkeypatch.setattr(module._environment, "ROOT", str(checkout))
    monkeypatch.setattr(module._environment.subprocess, "call", calls)
    return module


@pytest.mark.parametrize(("script", "given", "expected"), [
    ("test", [], ["-m", "nox"]),
    ("test", ["-s", "tests", "--", "-k", "a b"], ["-m", "nox", "-s", "tests", "--", "-k", "a b"]),
    ("demo", ["--load", "folder", "--predict", "Good."], ["--load", "folder", "--predict", "Good."]),
    ("demo", ["--help"], ["--help"]),
])
def test_arguments_are_passed_on(script: str, given: list[str], expected: list[str], checkout: Path,
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls()
    assert prepared(script, checkout, monkeypatch, calls).run(given) == 0
    assert calls.commands[-1][-len(expected):] == expected


def test_demo_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    demo = load("demo", monkeypatch)
    arguments = demo.example_arguments([])
    assert [name for name in arguments if name.startswith("--")] == ["--data", "--save", "--plot", "--predict"]
    assert len(arguments) - arguments.index("--predict") == 3
    changed = demo.example_arguments(["--data=imdb", "--epochs", "2", "--predict", "One."])
    assert "rotten_tomatoes" not in changed
    assert changed[-5:] == ["--data=imdb", "--epochs", "2", "--predict", "One."]
    assert changed.count("--predict") == 1


@pytest.mark.parametrize("script", ["demo", "test"])
def test_second_run_installs_nothing(script: str, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls()
    module = prepared(script, checkout, monkeypatch, calls)

    def installs() -> int:
        calls.commands.clear()
        assert module.run([]) == 0
        return sum("pip" in command for command in calls.commands)

    assert installs() == 1
    assert installs() == 0
    (checkout / "pyproject.toml").write_text("[project]\nname = 'other'\n", encoding="utf-8")
    assert installs() == 1


@pytest.mark.parametrize(("fail", "message"), [("pip", "needs the network"), ("venv", "could not be made")])
def test_failures_are_told_and_mended_by_running_again(fail: str, message: str, checkout: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(fail)
    module = prepared("demo", checkout, monkeypatch, calls)
    with pytest.raises(module._environment.Problem, match=message):
        module.run([])
    assert not (checkout / ".venv-demo" / "installed").exists()
    calls.fail = ""
    assert module.run([]) == 0


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_no_venv_module(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = load("demo", monkeypatch)._environment
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(environment.Problem, match=f"no module `{missing}`") as caught:
        environment.check_venv()
    assert f"python{sys.version_info[0]}.{sys.version_info[1]}-venv" in str(caught.value)


def test_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = load("test", monkeypatch)._environment
    monkeypatch.setattr(environment, "_works", lambda name: name == "python3.12")
    with pytest.raises(environment.Problem, match=r"3\.11 or newer is needed; this is Python 3\.8\.18") as caught:
        environment.check_python((3, 8, 18), "scripts/test.py")
    assert "Run: python3.12 scripts/test.py" in str(caught.value)
    monkeypatch.setattr(environment, "_works", lambda name: False)
    with pytest.raises(environment.Problem, match="python.org"):
        environment.check_python((2, 7, 18))
    environment.check_python()


@pytest.mark.parametrize("script", ["demo", "test"])
def test_a_problem_ends_with_plain_words(script: str, checkout: Path, monkeypatch: pytest.MonkeyPatch,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    module = prepared(script, checkout, monkeypatch, Calls(fail="pip"))
    monkeypatch.setattr(sys, "argv", [f"scripts/{script}.py"])
    with pytest.raises(SystemExit) as caught:
        module._environment.main(module.run, f"scripts/{script}.py")
    output = capsys.readouterr()
    assert caught.value.code == 2
    assert "Cannot go on. pip could not install" in output.err
    assert "Traceback" not in output.err
    assert "==> Making a virtual environment" in output.out


@pytest.mark.parametrize("script", ["demo", "test", "_environment"])
def test_syntax_is_old(script: str) -> None:
    """Nothing newer than what Python 2.7 and 3.6 parse: no f-strings, annotations, walrus or `raise … from`."""
    text = (SCRIPTS / f"{script}.py").read_text(encoding="ascii")
    tree = ast.parse(text, feature_version=(3, 4))
    for node in ast.walk(tree):
        assert not isinstance(node, (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.Starred, ast.AsyncFunctionDef))
        if isinstance(node, ast.FunctionDef):
            assert node.returns is None
            assert not node.args.kwonlyargs
            assert all(argument.annotation is None for argument in node.args.args)
        if isinstance(node, ast.Raise):
            assert node.cause is None


@pytest.mark.parametrize("script", ["demo", "test"])
def test_starts_without_the_library(script: str) -> None:
    """Standard library only: -S and -I hide everything that is installed."""
    code = f"import runpy; runpy.run_path({str(SCRIPTS / (script + '.py'))!r}, run_name='imported')"
    result = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
