"""Files of word vectors in word2vec's formats, text and binary, as word2vec.c and gensim write and read them.

Both begin with a line `V D`. A text file then has a line `word x_1 … x_D` per word; a binary one the word, a space, and
D little-endian float32, with or without a line break behind them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from portable_nn.backend.errors import DataError, FileError
from portable_nn.data.files import as_path, write_bytes

_SPACE = re.compile(r"[\0\t\n\v\f\r ]")
_FIX = "download or write the file again; this one is damaged, or in the other of the two formats"


def is_binary(path: str | Path, binary: bool | None) -> bool:
    """Whether the file is of the binary format: as said, or by its name's end, `.bin`."""
    return as_path(path).suffix == ".bin" if binary is None else bool(binary)


def write_word2vec(path: str | Path, words: Sequence[str], vectors: np.ndarray, *, binary: bool | None = None) -> None:
    """Write words and their vectors (V, D), as float32: text digits suffice to get each number back exactly.

    Raises
    ------
    DataError
        A word is empty, or has white space in it, which ends a word in these formats.
    FileError
        The file cannot be written.
    """
    for word in words:
        if not word or _SPACE.search(word):
            raise DataError("words without white space, for these formats have none", repr(word),
                            "rename or drop the word, or keep the vectors with models.save")
    table = np.ascontiguousarray(vectors, dtype="<f4")
    parts = [f"{len(words)} {table.shape[1]}\n".encode()]
    for word, row in zip(words, table, strict=True):
        numbers = row.tobytes() if is_binary(path, binary) else " ".join(map(str, row)).encode() + b"\n"
        parts += [word.encode("utf-8", "surrogatepass"), b" ", numbers]
    write_bytes(path, b"".join(parts))


def read_word2vec(path: str | Path, *, binary: bool | None = None,
                  errors: str = "strict") -> tuple[list[str], np.ndarray]:
    """Read words and their vectors, float32 (V, D).

    Parameters
    ----------
    path : str or Path
    binary : bool, optional
        Left out, files whose name ends in `.bin` are binary, and others text.
    errors : "strict", "replace" or "ignore"
        What to do with words that are not UTF-8: word2vec.c cuts long ones anywhere.

    Raises
    ------
    FileError
        The file is missing, truncated, longer than it says, or not of this format: nothing is allocated on its word.
    """
    path = as_path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileError(f"a readable file {path}", f"{error}", "check the path") from error
    end = content.find(b"\n", 0, 100)
    header = content[:max(end, 0)].split()
    if len(header) != 2 or not all(re.fullmatch(rb"[0-9]{1,15}", part) for part in header):
        raise FileError(f"two numbers, of words and dimensions, in the first line of {path}",
                        repr(content[:max(end, 0) or 40]), _FIX)
    count, dim = map(int, header)
    least = count * (4 * dim + 2 if is_binary(path, binary) else 2 * dim + 1)  # a byte of name, and of each number
    if not count or not dim or len(content) - end - 1 < least:
        raise FileError(f"{count} words of {dim} numbers in {path}", f"{len(content) - end - 1} bytes of them", _FIX)
    read = _read_binary if is_binary(path, binary) else _read_text
    names, table = read(path, content, end + 1, count, dim)
    if not np.isfinite(table).all():
        raise FileError(f"finite numbers in {path}", f"{names[int(np.argmin(np.isfinite(table).all(axis=1)))]!r:.60} "
                        "has NaN or infinity", _FIX)
    return _decoded(path, names, errors), table


def _read_text(path: Path, content: bytes, start: int, count: int, dim: int) -> tuple[list[bytes], np.ndarray]:
    lines = content[start:].split(b"\n")
    if len(lines) < count or any(line.strip() for line in lines[count:]):
        raise FileError(f"{count} lines of words in {path}", f"{sum(bool(line.strip()) for line in lines)}", _FIX)
    names, table = [], np.empty((count, dim), dtype=np.float32)
    for number, line in enumerate(lines[:count]):
        name, *parts = line.rstrip().split(b" ")
        try:
            if not name or len(parts) != dim:
                raise ValueError(f"{len(parts)}")
            table[number] = np.array([float(part) for part in parts], dtype=np.float64)
        except ValueError as error:
            raise FileError(f"a word and {dim} numbers in line {number + 2} of {path}", f"{line[:60]!r} ({error})",
                            _FIX) from error
        names.append(name)
    return names, table


def _read_binary(path: Path, content: bytes, start: int, count: int, dim: int) -> tuple[list[bytes], np.ndarray]:
    names, table = [], np.empty((count, dim), dtype=np.float32)
    for number in range(count):
        space = content.find(b" ", start)
        name = content[start:max(space, start)].lstrip(b"\n")
        if not name or b"\n" in name or space + 1 + 4 * dim > len(content):
            raise FileError(f"{count} words of {dim} numbers in {path}", f"an end after {number}, or no word there",
                            _FIX)
        table[number] = np.frombuffer(content, dtype="<f4", count=dim, offset=space + 1)
        start = space + 1 + 4 * dim
        names.append(name)
    if content[start:].strip():
        raise FileError(f"an end after {count} words in {path}", f"{len(content) - start} bytes more", _FIX)
    return names, table


def _decoded(path: Path, names: list[bytes], errors: str) -> list[str]:
    words = []
    for name in names:
        try:
            words.append(name.decode("utf-8", errors))
        except UnicodeDecodeError as error:
            raise FileError(f"words in UTF-8 in {path}", f"{name!r:.60}",
                            'pass errors="replace", or write the file again') from error
    if len(set(words)) < len(words):
        twice = next(word for word in words if words.count(word) > 1)
        raise FileError(f"distinct words in {path}", f"{twice!r:.60} more than once", "drop one of them")
    return words
