"""The staircase of rooms: a module imports only from rooms above its own, and few rooms may name an array library.

    python scripts/check_imports.py [FOLDER]

Prints each offence as `file:line: message` and exits with 1 if there is one.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "portable_nn"
#: Highest first: a room may import from itself and from what stands before it.
ROOMS = ("backend", "autodiff", "functional", "kernels", "layers", "optim", "data", "training", "models", "estimators",
         "cli")
#: A kernel is a fast path of an operation, which asks the registry for it: this one module is used from above.
REGISTRY = f"{PACKAGE}.kernels.registry"
NUMPY_ROOMS = {"backend", "kernels", "data", "training", "models", "estimators", "cli"}
CUPY_ROOMS = {"backend", "kernels"}
#: Never at module level, so that `import portable_nn` stays quick.
HEAVY = {"scipy", "sklearn", "pandas", "matplotlib", "torch", "jax", "cupy", "cupyx", "nvmath", "numba", "tqdm",
         "safetensors"}


def room_of(path: Path, root: Path) -> str:
    """The first folder (or file) under the package: `layers/linear.py` is in `layers`, `cli.py` in `cli`."""
    return path.relative_to(root).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that is imported, anywhere in the module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "."
            elif (node.module or "").split(".")[0] == PACKAGE:  # `from portable_nn import layers` names a room too
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module or ""


def at_import(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """What is imported while the module itself is: outside functions, and outside `if TYPE_CHECKING:`."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from imports(ast.Module(body=[node], type_ignores=[]))
        stack.extend(ast.iter_child_nodes(node))


def check_file(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """The offences of one module."""
    room = room_of(path, root)
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for line, name in imports(tree):
        yield from ((line, message) for message in _offences(room, name))
    if room == "kernels" and len(path.relative_to(root).parts) > 2:
        return  # loaded at its library's first array, so it may import that library outright
    for line, name in at_import(tree):
        if name.split(".")[0] in HEAVY:
            yield line, f"`{name}` is loaded by `import {PACKAGE}`: import it inside the function that needs it"


def _offences(room: str, name: str) -> Iterator[str]:
    top, _, rest = name.partition(".")
    if name == ".":
        yield f"relative import: name the room, `from {PACKAGE}.room.module import …`"
    if top in ("cupy", "cupyx", "nvmath") and room not in CUPY_ROOMS:
        yield f"`{name}` named in {room}/: only {' and '.join(sorted(CUPY_ROOMS))} name CuPy"
    if top == "numpy" and room not in NUMPY_ROOMS:
        yield f"`{name}` named in {room}/: take the namespace from the arguments"
    if top != PACKAGE or room not in ROOMS:
        return  # the package's own __init__ re-exports from every room
    target = rest.split(".")[0]
    if target == "kernels" and room != "kernels" and not _only_registry(name):
        yield f"`{name}` imported by name: kernels are reached through their registry"
    elif target not in ROOMS:
        if not target or room != "cli":
            yield f"`{name}` inside a room: import the module that has the name"
    elif ROOMS.index(target) > ROOMS.index(room) and not (room == "functional" and target == "kernels"):
        yield f"{room} imports {target}, which stands below it"


def _only_registry(name: str) -> bool:
    return (name + ".").startswith((REGISTRY + ".", f"{PACKAGE}.kernels.disabled.", f"{PACKAGE}.kernels.available.",
                                    f"{PACKAGE}.kernels.explain.")) or name == f"{PACKAGE}.kernels"


def main(arguments: list[str]) -> int:
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[1] / PACKAGE
    files = sorted(root.rglob("*.py"))
    offences = [f"{path}:{line}: {message}" for path in files for line, message in check_file(path, root)]
    print("\n".join(offences) if offences else "imports: every room imports only from rooms above it")
    return bool(offences)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
