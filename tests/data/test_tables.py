"""CSV columns and package files: values, and an exception of ours for everything else."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portable_nn.backend.errors import ArgumentError, DataError, FileError, MissingDependencyError
from portable_nn.data import find_package_file, load_csv, parse_timestamps

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


_ROW = st.tuples(_TEXT, st.floats(allow_nan=False), st.integers(-2**63, 2**63 - 1), st.booleans())


@given(st.lists(_ROW, min_size=1, max_size=20))
def test_what_csv_writes_comes_back(table):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "number", "count", "flag"), *table])
        read = load_csv(path, {"flag": bool, "count": int, "number": float, "text": str})
        assert list(read) == ["flag", "count", "number", "text"]
        assert read["text"] == [row[0] for row in table]
        for name, column, dtype in (("number", 1, np.float64), ("count", 2, np.int64), ("flag", 3, np.bool_)):
            np.testing.assert_array_equal(read[name], np.asarray([row[column] for row in table], dtype=dtype))
            assert read[name].dtype == dtype
        assert load_csv(path, ["text"]) == {"text": read["text"]} and len(load_csv(path)) == 4


def test_byte_order_mark_blank_lines_and_long_fields(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"\xef\xbb\xbfa,b\r\n1,x\r\n\r\n2," + b"y" * 200_000 + b"\r\n")
    before = csv.field_size_limit()
    read = load_csv(path, {"a": int, "b": str})
    assert list(read["a"]) == [1, 2] and len(read["b"][1]) == 200_000 and csv.field_size_limit() == before


@pytest.mark.parametrize(("content", "columns", "error", "text"), [
    (b"a,b\n1,2\n", ["c", "a"], DataError, r"\['c'\] in table.csv; got the columns \['a', 'b'\]"),
    (b"a,a\n1,2\n", ["a"], DataError, "more than once"),
    (b"a,b\n1,2\n3\n", ["a"], DataError, "2 fields.*1 in line 3"),
    (b"a,b\n1,2\n,4\n", {"a": float}, DataError, "type float in column a; got '' in line 3"),
    (b"a\n1\n2.5\n", {"a": int}, DataError, "'2.5' in line 3"),
    (b"a\n99999999999999999999\n", {"a": int}, DataError, "line 2"),
    (b"a\nmaybe\n", {"a": bool}, DataError, "'maybe' in line 2"),
    (b"a\n1\n", {"a": complex}, ArgumentError, "complex"),
    (b"a\n", ["a"], DataError, "rows below the header"),
    (b"", ["a"], DataError, "an empty file"),
    (b"a\n\xff\n", ["a"], DataError, "UTF-8"),
    (b'a,b\n1,"2\n', ["a"], DataError, "line"),
])
def test_bad_files(tmp_path, content, columns, error, text):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(error, match=text):
        load_csv(path, columns)


def test_columns_are_a_list(tmp_path):
    (tmp_path / "table.csv").write_text("text\ngood\n", encoding="utf-8")
    with pytest.raises(ArgumentError, match=r"Pass \['text'\]"):
        load_csv(tmp_path / "table.csv", "text")


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(FileError, match="can be read"):
            load_csv(path)


def test_package_files():
    assert find_package_file("portable_nn", "data/tables.py").name == "tables.py"
    with pytest.raises(MissingDependencyError, match=r'pip install "portable_nn\[examples\]"'):
        find_package_file("no_such_package_of_anyone", "x.csv")
    with pytest.raises(MissingDependencyError):
        find_package_file("no_such_package_of_anyone.inner", "x.csv")
    with pytest.raises(FileError, match="none.csv in the package portable_nn"):
        find_package_file("portable_nn", "none.csv")


def test_timestamps():
    times = parse_timestamps(["2014-12-31", "2014-12-31T12:30:00Z"])
    assert times.dtype == "datetime64[s]" and times[1] - times[0] == np.timedelta64(45000, "s")
    for text in ("soon", "2014-02-30", "2014-12-31T12:30:00+11:00"):
        with pytest.raises(DataError, match="at row 1"):
            parse_timestamps(["2014-12-31", text])
