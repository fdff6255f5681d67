"""Arrays and JSON on disk, written so that a reader sees the old file or the new one, never half of either.

Arrays are safetensors; nothing of ours is pickled. Every write goes to a temporary file in the same folder, is flushed
to the disk, and takes the name in one step; every read checks the file before it uses it.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from portable_nn.backend.errors import ArgumentError, FileError

#: The format's names of the dtypes that NumPy has.
_DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64", "I8": "int8", "I16": "int16", "I32": "int32",
           "I64": "int64", "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64", "BOOL": "bool"}


def as_path(path: Any) -> Path:
    """`path` as a Path.

    Raises
    ------
    ArgumentError
        It is neither a str nor a path object.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentError("a path, as str or Path", f"{path!r:.60}", "pass the name of a file or folder")
    return Path(path)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Replace a file's content, completely or not at all; missing folders are made.

    Raises
    ------
    FileError
        The folder or the file cannot be written; the old file is then still there.
    """
    path = as_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, content)
    except OSError as error:
        raise FileError(f"a folder where {path.name} can be written", f"{error}",
                        "check the path, its permissions and the space left; nothing has been changed") from error


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    # Not tempfile: its files are for their owner alone, whatever the umask allows.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            temporary.chmod(path.stat().st_mode & 0o777)
        rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def rename(path: str | Path, target: str | Path) -> None:
    """Give a file of the same folder the name `target`, in one step and for good; a file of that name is replaced."""
    as_path(path).replace(target)
    if os.name == "posix":  # the name itself reaches the disk with the folder; Windows has no such call
        folder = os.open(as_path(target).parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON, indented for reading.

    Raises
    ------
    FileError
        The value holds something that JSON cannot, or the file cannot be written.
    """
    try:
        text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=True) + "\n"
    except (TypeError, ValueError) as error:
        raise FileError(f"what JSON can hold, for {path}", f"{error}", "turn arrays into lists first") from error
    # A lone surrogate, which no UTF-8 holds, becomes the six characters that JSON has for it.
    write_bytes(path, text.encode(errors="backslashreplace"))


def read_json(path: str | Path) -> Any:
    """Read JSON.

    Raises
    ------
    FileError
        The file is missing, or no JSON.
    """
    content = _read_bytes(path)
    try:
        return json.loads(content.decode())
    except (ValueError, RecursionError) as error:  # RecursionError: brackets nested a thousand deep
        raise FileError(f"JSON in {path}", f"{error}", "save the model again; this file is damaged") from error


def write_arrays(path: str | Path, arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Write named NumPy arrays as safetensors, with strings beside them.

    Raises
    ------
    FileError
        An array is of a kind that safetensors does not have, or the file cannot be written.
    """
    write_bytes(path, arrays_to_bytes(arrays, metadata))


def arrays_to_bytes(arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> bytes:
    """What `write_arrays` writes."""
    from safetensors import SafetensorError
    from safetensors.numpy import save

    whole = {name: np.ascontiguousarray(x).reshape(np.shape(x)) for name, x in arrays.items()}
    try:
        return save(whole, metadata=metadata)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FileError("arrays that safetensors can hold", f"{error!r}", "keep numbers alone") from error


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

    path = as_path(path)
    if not path.is_file():
        raise FileError(f"a file {path}", "none there", "check the path")
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise FileError(f"safetensors in {path}", f"{error}",
                        "save or download the file again; this one is damaged") from error


def _read_bytes(path: str | Path) -> bytes:
    try:
        return as_path(path).read_bytes()
    except OSError as error:
        raise FileError(f"a readable file {path}", f"{error}", "check the path") from error
