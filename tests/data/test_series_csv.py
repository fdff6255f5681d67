"""Series from CSV files."""

from __future__ import annotations

import numpy as np
import pytest

from portable_nn.backend.errors import DataError, FileError
from portable_nn.data import load_series_csv


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_time_values_covariates_and_holidays(tmp_path):
    path = write(tmp_path / "a.csv", "shop,when,sales,HOLIDAY,price\nx,2024-01-01,3,true,1.5\nx,2024-01-02,4,False,2\n")
    series, has_time = load_series_csv(path, "sales", ["price"])
    assert has_time and series.covariate_names == ["price"]
    np.testing.assert_array_equal(series.values, [3, 4])
    np.testing.assert_array_equal(series.covariates, [[1.5], [2]])
    np.testing.assert_array_equal(series.timestamps, np.asarray(["2024-01-01", "2024-01-02"], dtype="datetime64[s]"))
    np.testing.assert_array_equal(series.holidays, [True, False])


def test_without_time_rows_are_counted(tmp_path):
    series, has_time = load_series_csv(write(tmp_path / "a.csv", "y\n1\n2\n3\n"), "y")
    assert not has_time and series.covariates.shape == (3, 0) and not series.holidays.any()
    np.testing.assert_array_equal(np.diff(series.timestamps).astype(int), [1, 1])


@pytest.mark.parametrize(("text", "message"), [
    ("x,z\n1,2\n", "'y'"), ("y,z\n1,2\nn/a,3\n", "n/a.*line 3"), ("y,z\n1,2\nnan,3\n", "column y at row 1"),
    ("y,z\n1,2\n3,inf\n", "column z at row 1"), ("y,z,t\n1,2,2024-01-02\n1,2,2024-01-02\n", "time order"),
    ("y,z\n", "rows"), ("y,z,holiday\n1,2,maybe\n", "maybe")])
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        load_series_csv(write(tmp_path / "a.csv", text), "y", ["z"])


def test_no_file(tmp_path):
    with pytest.raises(FileError, match="missing"):
        load_series_csv(tmp_path / "missing.csv", "y")
