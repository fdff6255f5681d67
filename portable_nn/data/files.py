"""Arrays and JSON on disk, written so that a reader sees the old file or the new one, never half of either.

Arrays are safetensors; nothing of ours is pickled. Every write goes to a temporary file in the same folder, is flushed
to the disk, and takes the name in one step; every read checks the file before it uses it.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from portable_nn.backend.errors import FileError


def write_bytes(path: str | Path, content: bytes) -> None:
    """Replace a file's content, completely or not at all; missing folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the name itself reaches the disk with the folder; Windows has no such call
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON, indented for reading."""
    write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=True) + "\n").encode())


def read_json(path: str | Path) -> Any:
    """Read JSON.

    Raises
    ------
    FileError
        The file is missing, or no JSON.
    """
    try:
        return json.loads(_read_bytes(path).decode())
    except ValueError as error:
        raise FileError(f"JSON in {path}", f"{error}", "save the model again; this file is damaged") from error


def write_arrays(path: str | Path, arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Write named NumPy arrays as safetensors, with strings beside them."""
    from safetensors.numpy import save

    write_bytes(path, save({name: np.ascontiguousarray(x).reshape(np.shape(x)) for name, x in arrays.items()},
                           metadata=metadata))


def read_arrays(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read what `write_arrays`, or any other safetensors writer, has written.

    Raises
    ------
    FileError
        The file is missing, truncated, or its header does not describe its bytes.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileError(f"a file {path}", "none there", "check the path")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise FileError(f"safetensors in {path}", f"{error}", "save or download the file again; this one is damaged") from error


def _read_bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise FileError(f"a readable file {path}", f"{error}", "check the path") from error
