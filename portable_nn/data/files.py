"""Arrays and JSON on disk, written so that a reader sees the old file or the new one, never half of either.

Arrays are safetensors; nothing of ours is pickled. Every write goes to a temporary file in the same folder, is flushed
to the disk, and takes the name in one step; every read checks the file before it uses it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from portable_nn.backend.errors import FileError

#: The format's names of the dtypes that NumPy has.
_DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64", "I8": "int8", "I16": "int16", "I32": "int32",
           "I64": "int64", "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64", "BOOL": "bool"}


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
        rename(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def rename(path: str | Path, target: str | Path) -> None:
    """Give a file of the same folder the name `target`, in one step and for good; a file of that name is replaced."""
    Path(path).replace(target)
    if os.name == "posix":  # the name itself reaches the disk with the folder; Windows has no such call
        folder = os.open(Path(target).parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON, indented for reading."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=True) + "\n"
    # A lone surrogate, which no UTF-8 holds, becomes the six characters that JSON has for it.
    write_bytes(path, text.encode(errors="backslashreplace"))


def read_json(path: str | Path) -> Any:
    """Read JSON.

    Raises
    ------
    FileError
        The file is missing, or no JSON.
    """
    try:
        return json.loads(_read_bytes(path).decode())
    except (ValueError, RecursionError) as error:  # RecursionError: brackets nested a thousand deep
        raise FileError(f"JSON in {path}", f"{error}", "save the model again; this file is damaged") from error


def write_arrays(path: str | Path, arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Write named NumPy arrays as safetensors, with strings beside them."""
    write_bytes(path, arrays_to_bytes(arrays, metadata))


def arrays_to_bytes(arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> bytes:
    """What `write_arrays` writes."""
    from safetensors.numpy import save

    return save({name: np.ascontiguousarray(x).reshape(np.shape(x)) for name, x in arrays.items()}, metadata=metadata)


def describe_arrays(path: str | Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Dtype and shape of each array of a safetensors file, from its checked header alone: nothing else is read.

    Raises
    ------
    FileError
        As `read_arrays`.
    """
    with _opened(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return {name: (_DTYPES.get(part.get_dtype(), part.get_dtype()), tuple(part.get_shape()))
                for name, part in slices.items()}


def read_arrays(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read what `write_arrays`, or any other safetensors writer, has written.

    Raises
    ------
    FileError
        The file is missing, truncated, or its header does not describe its bytes.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileError(f"a file {path}", "none there", "check the path")
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise FileError(f"safetensors in {path}", f"{error}",
                        "save or download the file again; this one is damaged") from error


def _read_bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise FileError(f"a readable file {path}", f"{error}", "check the path") from error
