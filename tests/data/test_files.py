"""Files are written whole or not at all, and checked before they are used."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portable_nn.backend.errors import FileError
from portable_nn.data import files
from portable_nn.data.files import read_arrays, read_json, write_arrays, write_bytes, write_json

ARRAYS = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.asarray(1.5), "none": np.zeros((0, 2)),
          "labels": np.asarray([1, 2], dtype=np.int64), "mask": np.asarray([True, False])}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_arrays_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "model.safetensors"
    write_arrays(path, {**ARRAYS, "strided": np.arange(9.0).reshape(3, 3).T[::2]}, {"kind": "test", "text": "α"})
    arrays, metadata = read_arrays(path)
    for name, x in {**ARRAYS, "strided": np.arange(9.0).reshape(3, 3).T[::2]}.items():
        np.testing.assert_array_equal(arrays[name], x)
        assert arrays[name].dtype == x.dtype and arrays[name].shape == x.shape
    assert metadata == {"kind": "test", "text": "α"} and names(path.parent) == ["model.safetensors"]
    write_arrays(path, {})
    assert read_arrays(path) == ({}, {})


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"text": "Grüße", "numbers": [1, 2.5, float("inf")], "none": None}
    write_json(tmp_path / "config.json", value)
    assert read_json(tmp_path / "config.json") == value
    assert "Grüße" in (tmp_path / "config.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_alone(function: str, error: BaseException, tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    write_arrays(path, ARRAYS)
    before = path.read_bytes()

    def fail(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(*((files.os, "fsync") if function == "fsync" else (Path, "replace")), fail)
    with pytest.raises((FileError, KeyboardInterrupt)):
        write_arrays(path, {"weight": np.ones(100)})
    assert path.read_bytes() == before and names(tmp_path) == ["model.safetensors"]


def test_the_order_of_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content flushed, then renamed, then the folder flushed."""
    order: list[str] = []
    for owner, name in ((files.os, "fsync"), (Path, "replace")):
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, n=name, f=original, **o: order.append(n) or f(*a, **o))
    write_bytes(tmp_path / "file", b"content")
    assert order == (["fsync", "replace", "fsync"] if os.name == "posix" else ["fsync", "replace"])


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    """A temporary file is private; a saved model must be readable by whom the umask allows."""
    (tmp_path / "plain").write_bytes(b"")
    write_bytes(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "ours").chmod(0o600)
    write_bytes(tmp_path / "ours", b"again")
    assert (tmp_path / "ours").stat().st_mode & 0o777 == 0o600


def header(**entries: Any) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


def entry(dtype: str, shape: list[int], start: int, stop: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


LIES = {
    "empty": b"",
    "only a length": struct.pack("<Q", 100),
    "a huge header": struct.pack("<Q", 2**60) + b"{}",
    "no JSON": struct.pack("<Q", 4) + b"abcd",
    "JSON of another kind": struct.pack("<Q", 2) + b"[]",
    "beyond the end": header(w=entry("F32", [1000], 0, 4000)) + bytes(16),
    "shape and bytes differ": header(w=entry("F32", [3], 0, 16)) + bytes(16),
    "negative": header(w=entry("F32", [-4], 0, 16)) + bytes(16),
    "overlapping": header(w=entry("F32", [4], 0, 16), v=entry("F32", [4], 0, 16)) + bytes(16),
    "a hole": header(w=entry("F32", [2], 0, 8), v=entry("F32", [1], 12, 16)) + bytes(16),
    "bytes left over": header(w=entry("F32", [2], 0, 8)) + bytes(16),
    "a shape that overflows": header(w=entry("F32", [2**32, 2**32], 0, 0)),
    "a dtype nobody has": header(w=entry("F31", [4], 0, 16)) + bytes(16),
    "a dtype NumPy has not": header(w=entry("F8_E5M2", [16], 0, 16)) + bytes(16),
    "a zip file": b"PK\x03\x04" + bytes(100),
    "a pickle": b"\x80\x04\x95" + bytes(100),
}


@pytest.mark.parametrize("lie", LIES)
def test_lying_files(lie: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(LIES[lie])
    with pytest.raises(FileError, match="model.safetensors"):
        read_arrays(path)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_arrays(path, ARRAYS)
    content = path.read_bytes()
    for length in [*range(0, len(content), 7), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(FileError):
            read_arrays(path)


def test_what_is_missing_or_cannot_be_read(tmp_path: Path) -> None:
    for read in (read_json, read_arrays):
        with pytest.raises(FileError, match="nothing") as caught:
            read(tmp_path / "nothing")
        assert str(caught.value).count("expected") == 1 and "Check the path" in str(caught.value)
        with pytest.raises(FileError):
            read(tmp_path)
    (tmp_path / "bad.json").write_bytes(b'{"a": ')
    with pytest.raises(FileError, match=r"JSON in .*bad.json"):
        read_json(tmp_path / "bad.json")
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe")
    with pytest.raises(FileError, match=r"JSON in .*bad.json"):
        read_json(tmp_path / "bad.json")


def test_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for write in (lambda path: write_json(path, {}), lambda path: write_arrays(path, ARRAYS)):
        with pytest.raises(FileError, match="can be written"):
            write(tmp_path / "file" / "below")
        with pytest.raises(FileError, match="can be written"):
            write(tmp_path)
    with pytest.raises(FileError, match="what JSON can hold"):
        write_json(tmp_path / "config.json", {"x": np.zeros(2)})
    with pytest.raises(FileError, match="arrays that safetensors can hold"):
        write_arrays(tmp_path / "arrays", {"x": np.asarray(["text"])})
    assert names(tmp_path) == ["file"]
