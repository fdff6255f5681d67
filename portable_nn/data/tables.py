"""Reading columns of CSV files, and files inside installed packages, without pandas."""

from __future__ import annotations

import csv
import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from portable_nn.backend.errors import ArgumentError, DataError, FileError, MissingDependencyError
from portable_nn.data.files import as_path

#: The longest field accepted, in characters; the csv module's own limit of 131,072 is shorter than some reviews.
_LONGEST_FIELD = 2**24
_MOMENT = re.compile(r"\d{4}-\d\d(-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?)?Z?")
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}


def load_csv(path: str | Path, columns: Sequence[str] | Mapping[str, type] | None = None) -> dict[str, Any]:
    """Read columns of a CSV file with a header, in UTF-8.

    Parameters
    ----------
    path : str or Path
    columns : names, or dict of name to `str`, `float`, `int` or `bool`, optional
        What to read, in this order; names alone and None (every column) read text.

    Returns
    -------
    dict of name to a list of str, or a NumPy array (N,) of float64, int64 or bool.

    Raises
    ------
    FileError
        No such file.
    ArgumentError
        The columns are one string.
    DataError
        A column is missing (the message names those there are) or named twice, a line has another number of fields, a
        value is no number (named by line and column), the file has no rows, or is not CSV in UTF-8.
    """
    path = as_path(path)
    if isinstance(columns, str):
        raise ArgumentError("a list of columns", f"the str {columns!r}", f"pass [{columns!r}]")
    kinds = dict(columns) if isinstance(columns, Mapping) else dict.fromkeys(columns or ())
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            records, lines = _read(file, path)
    except OSError as error:
        raise FileError("a CSV file that can be read", f"{path}: {error.strerror}", "check the path") from error
    except UnicodeDecodeError as error:
        raise DataError("a CSV file in UTF-8", f"{path}: {error.reason} at byte {error.start}",
                        "save it as UTF-8") from error
    header = records.pop(0)
    kinds = kinds or dict.fromkeys(header)
    if missing := [name for name in kinds if name not in header]:
        raise DataError(f"the columns {missing} in {path.name}", f"the columns {header}",
                        "name columns that the file has")
    if twice := [name for name in kinds if header.count(name) > 1]:
        raise DataError(f"one column of each name in {path.name}", f"{twice} more than once",
                        "rename the columns of the file")
    if not records:
        raise DataError(f"rows below the header of {path.name}", "none", "pass a file that holds data")
    table = list(zip(*records, strict=True))
    return {name: _converted(table[header.index(name)], kind, name, lines[1:]) for name, kind in kinds.items()}


def parse_timestamps(texts: Sequence[str], name: str = "timestamps") -> np.ndarray:
    """Return ISO 8601 dates or moments as a NumPy datetime64[s] array (N,); a final Z is dropped.

    Raises
    ------
    DataError
        A text is no date, or has an offset from UTC, named by its row.
    """
    for row, text in enumerate(texts):
        if not _MOMENT.fullmatch(text):  # NumPy would convert an offset, and warn
            raise _no_moment(name, text, row)
    try:
        return np.asarray([text.removesuffix("Z") for text in texts], dtype="datetime64[s]")
    except ValueError:
        for row, text in enumerate(texts):
            try:
                np.datetime64(text.removesuffix("Z"), "s")
            except ValueError as error:
                raise _no_moment(name, text, row) from error
        raise


def _no_moment(name: str, text: str, row: int) -> DataError:
    return DataError(f"{name} such as 2014-12-31 or 2014-12-31T12:30:00", f"{text!r:.60} at row {row}",
                     "write them in ISO 8601, without an offset")


def find_package_file(package: str, relative: str, *, pip: str = 'pip install "portable_nn[examples]"') -> Path:
    """Return the path of a file inside an installed package, without importing the package.

    Raises
    ------
    MissingDependencyError
        The package is not installed; the message has the pip line.
    FileError
        The package does not hold the file.
    """
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(f"the package {package}", "none installed", f"run: {pip}")
    for root in spec.submodule_search_locations:
        if (path := Path(root, relative)).is_file():
            return path
    raise FileError(f"{relative} in the package {package}", f"no such file in {list(spec.submodule_search_locations)}",
                    f"install the version that has it: {pip}")


def _read(file: Any, path: Path) -> tuple[list[list[str]], list[int]]:
    """All records of an open CSV file and the line each ends at; the first is the header, all have its length."""
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        reader = csv.reader(file, strict=True)
        pairs = [(record, reader.line_num) for record in reader if record]
    except csv.Error as error:
        raise DataError("a CSV file", f"{path}: {error} in line {reader.line_num}",
                        "check quotes and separators") from error
    finally:
        csv.field_size_limit(before)
    if not pairs:
        raise DataError(f"a header and rows in {path.name}", "an empty file", "pass a file that holds data")
    width = len(pairs[0][0])
    for record, line in pairs:
        if len(record) != width:
            raise DataError(f"{width} fields in every line, as in the header of {path.name}",
                            f"{len(record)} in line {line}",
                            "check quotes and separators")
    return [record for record, _ in pairs], [line for _, line in pairs]


def _converted(values: tuple[str, ...], kind: type | None, name: str, lines: list[int]) -> Any:
    if kind is None or kind is str:
        return list(values)
    if kind not in _CONVERTERS:
        raise ArgumentError("str, float, int or bool for a column", f"{kind!r} for {name}", "name one of these types")
    convert, dtype = _CONVERTERS[kind]
    result = np.empty(len(values), dtype=dtype)
    try:
        result[:] = [convert(value) for value in values]
    except (ValueError, KeyError, OverflowError):
        for value, line in zip(values, lines, strict=True):
            try:
                np.asarray(convert(value), dtype=dtype)
            except (ValueError, KeyError, OverflowError) as error:
                raise DataError(f"a value of type {kind.__name__} in column {name}", f"{value!r:.40} in line {line}",
                                "fill or drop the missing values first") from error
    return result


_CONVERTERS: dict[type, tuple[Callable[[str], Any], Any]] = {
    float: (float, np.float64),
    int: (int, np.int64),
    bool: (lambda text: _BOOLEANS[text.strip().lower()], np.bool_),
}
