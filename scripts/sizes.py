"""How large are the files and functions? A file of 200 lines is full, 300 is the limit; a function ends by 40.

    python scripts/sizes.py [FOLDER]

Prints the largest files and each offence, and exits with 1 if there is one.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "portable_nn"
FULL, LIMIT, FUNCTION_LIMIT = 200, 300, 40


def code_lines(node: ast.AST, source: list[str]) -> int:
    """Lines of a function without its docstring, comments, blank lines and the functions defined inside it."""
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    lines = set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for inner in ast.walk(node):
        if inner is not node and isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines -= set(range(inner.lineno, (inner.end_lineno or inner.lineno) + 1))
    if ast.get_docstring(node) is not None:
        text = node.body[0]
        lines -= set(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return sum(1 for line in lines if source[line - 1].strip() and not source[line - 1].strip().startswith("#"))


def check_file(path: Path) -> Iterator[tuple[int, str]]:
    """The offences of one file."""
    text = path.read_text(encoding="utf-8")
    source = text.splitlines()
    if len(source) > LIMIT:
        yield 1, f"{len(source)} lines, the limit is {LIMIT}: split the file by what its parts are about"
    for node in ast.walk(ast.parse(text, filename=str(path))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            size = code_lines(node, source)
            if size > FUNCTION_LIMIT:
                yield node.lineno, f"{node.name} has {size} lines of code, the limit is {FUNCTION_LIMIT}"


def main(arguments: list[str]) -> int:
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[1] / PACKAGE
    files = sorted(root.rglob("*.py"))
    sizes = sorted(((len(path.read_text(encoding="utf-8").splitlines()), path) for path in files), reverse=True)
    for size, path in sizes[:10]:
        print(f"{size:5d}{' (full)' if size > FULL else ''}  {path}")
    print(f"{sum(size for size, _ in sizes):5d}  in {len(files)} files")
    offences = [f"{path}:{line}: {message}" for path in files for line, message in check_file(path)]
    print("\n".join(offences))
    return bool(offences)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
