"""Every array that the library creates names its dtype and its device.

    python scripts/check_device_kwarg.py [FOLDER]

Looks at calls of the standard's creation functions on a namespace (`xp.zeros(...)`) in the rooms that run on every
backend. Default dtype and device differ between libraries and devices: a call that leaves one out works on NumPy alone.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "portable_nn"
ROOMS = ("autodiff", "functional", "layers", "optim", "training", "models")
#: `zeros_like` and its kin take both from their argument.
CREATION = {"zeros", "ones", "empty", "full", "eye", "arange", "linspace"}
NAMESPACES = {"xp", "namespace"}
WANTED = {"dtype", "device"}


def check_file(path: Path) -> Iterator[tuple[int, str]]:
    """The offences of one file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_namespace(node.func.value)):
            continue
        given = {keyword.arg for keyword in node.keywords}
        if None in given:  # `**options` may hold them: left to the reader
            continue
        missing = sorted(WANTED - given)
        if node.func.attr in CREATION and missing:
            yield node.lineno, f"xp.{node.func.attr} without {' and '.join(missing)}"
        elif node.func.attr == "asarray" and _is_number(node.args) and missing:
            yield node.lineno, f"xp.asarray of a Python number or list without {' and '.join(missing)}"


def _is_namespace(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name in NAMESPACES or name.endswith("_xp") or name.startswith("xp_")


def _is_number(arguments: list[ast.expr]) -> bool:
    return bool(arguments) and isinstance(arguments[0], (ast.Constant, ast.List, ast.Tuple, ast.UnaryOp))


def main(arguments: list[str]) -> int:
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[1] / PACKAGE
    files = [path for room in ROOMS for path in sorted((root / room).rglob("*.py"))]
    offences = [f"{path}:{line}: {message}" for path in files for line, message in check_file(path)]
    print("\n".join(offences) if offences else "creation calls: each names its dtype and its device")
    return bool(offences)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
