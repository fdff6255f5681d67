"""Reading rows of data without copying the rest: arrays, CSR matrices, windows, and nested tuples or dicts of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from portable_nn.backend.devices import native_device, to_numpy
from portable_nn.backend.errors import DataError, DTypeError, ShapeError
from portable_nn.backend.namespace import array_namespace, is_array, is_tensor


class SparseRows(NamedTuple):
    """Rows of a sparse matrix, as an embedding bag takes them: row b owns the entries from its offset to the next.

    Parameters
    ----------
    indices : array (n,)
        Column of each stored entry, an integer type.
    offsets : array (B,)
        First entry of each row, an integer type; an empty row has the same offset as the next one.
    values : array (n,)
        Value of each entry, floating.
    """

    indices: Any
    offsets: Any
    values: Any


def row_count(data: Any) -> int:
    """Return the number of rows that every array in `data` has.

    Parameters
    ----------
    data : array, CSR matrix, SparseRows, windows, or a tuple or dict of these
        Rows lie along the first axis.

    Raises
    ------
    ShapeError
        The parts have different numbers of rows, or one is a scalar; the message lists them.
    DTypeError
        A part is a list, a string, or a sparse matrix of another format.
    """
    counts: list[tuple[str, int]] = []
    map_parts(data, lambda part, name: counts.append((name, _length(part, name))))
    if not counts:
        raise DataError("at least one array", f"an empty {type(data).__name__}", "pass the arrays to read rows from")
    if any(count != counts[0][1] for _, count in counts):
        raise ShapeError("the same number of rows in every array", ", ".join(f"{name}: {count}" for name,
                                                                             count in counts),
                         "pass inputs and targets of the same examples")
    return counts[0][1]


def rows(data: Any, index: Any) -> Any:
    """Return the rows `index` of every array in `data`, in the same nesting, on the device where each array is.

    Parameters
    ----------
    data : array, CSR matrix, SparseRows, windows, or a tuple or dict of these
        As for `row_count`, which checks it.
    index : NumPy integer array (B,) or slice
        Rows to read. A slice of step 1 gives views of arrays, copying nothing.

    Returns
    -------
    Arrays (B, ...) for arrays, `SparseRows` of B rows for a CSR matrix, `(inputs, targets)` for windows.
    """
    return map_parts(data, lambda part, name: _part_rows(part, index, name))


def map_parts(data: Any, function: Callable[[Any, str], Any], name: str = "data") -> Any:
    """Apply `function(part, name)` to each array, CSR matrix or SparseRows, keeping the nesting of tuples and dicts."""
    if type(data) is np.ndarray:  # most parts, without further questions: this runs for every batch
        return function(data, name)
    if hasattr(data, "as_rows"):  # windows present themselves as a tuple of views
        data = data.as_rows()
    if isinstance(data, SparseRows):
        return function(data, name)
    if isinstance(data, dict):
        return {key: map_parts(value, function, f"{name}[{key!r}]") for key, value in data.items()}
    if isinstance(data, tuple):
        parts = [map_parts(value, function, f"{name}[{i}]") for i, value in enumerate(data)]
        return type(data)(*parts) if hasattr(data, "_fields") else tuple(parts)
    return function(data.data if is_tensor(data) else data, name)


def is_sparse(x: Any) -> bool:
    """Whether `x` is a SciPy (or CuPy) sparse matrix or array of any format; loads neither library."""
    return hasattr(x, "tocsr") and hasattr(x, "nnz")


def check_finite(data: Any, name: str = "data") -> None:
    """Raise DataError naming the first row and column that holds NaN or infinity; integers and booleans always pass.

    Meant for data on the host, once before training: it reads everything, in pieces of a few megabytes.
    """
    map_parts(data, _check_part, name)


def _check_part(part: Any, name: str) -> None:
    if isinstance(part, SparseRows):
        part, name = part.values, f"{name}.values"
    elif is_sparse(part):
        bad = np.flatnonzero(~np.isfinite(part.data))
        if bad.size:
            row = int(np.searchsorted(part.indptr, bad[0], side="right")) - 1
            raise _not_finite(name, part.data[bad[0]], row, int(part.indices[bad[0]]))
        return
    xp = array_namespace(part)
    if not xp.isdtype(part.dtype, ("real floating", "complex floating")) or part.shape[:1] == (0,):
        return
    # A sum is finite when every element is (short of overflow), and needs no array of booleans as large as the data.
    with np.errstate(over="ignore", invalid="ignore"):
        if bool(xp.isfinite(xp.sum(part))):
            return
    step = max(1, 2**20 // max(1, int(np.prod(part.shape[1:], dtype=np.int64))))
    for start in range(0, part.shape[0], step):
        piece = part[start:min(start + step, part.shape[0]), ...]
        if not bool(xp.all(xp.isfinite(piece))):
            piece = to_numpy(piece)
            row, *column = (int(i) for i in np.argwhere(~np.isfinite(piece))[0])
            raise _not_finite(name, piece[(row, *column)], start + row, *column)


def _not_finite(name: str, value: Any, row: int, *column: int) -> DataError:
    where = f"row {row}" + (f", column {column[0]}" if len(column) == 1 else f", position {column}" if column else "")
    return DataError("finite numbers", f"{value} in {name} at {where}", "drop or fill the missing values first")


def _length(part: Any, name: str) -> int:
    if isinstance(part, SparseRows):
        return int(part.offsets.shape[0])
    if is_sparse(part):
        if part.format != "csr":
            raise DTypeError("sparse data as a CSR matrix", f"{name} in {part.format.upper()} format",
                             "call .tocsr() on it first")
        return int(part.shape[0])
    if not is_array(part):
        raise DTypeError("arrays or CSR matrices, nested in tuples or dicts", f"{name} of type {type(part).__name__}",
                         "convert it first, for example with numpy.asarray")
    if len(part.shape) == 0:
        raise ShapeError("arrays with rows along the first axis", f"{name} of shape ()",
                         "pass an array of shape (rows, ...)")
    return int(part.shape[0])


def _part_rows(part: Any, index: Any, name: str) -> Any:
    if type(part) is np.ndarray:
        return part[index]  # np.take would first copy a strided view, such as windows, as a whole
    if isinstance(part, SparseRows):
        return _sparse_rows(part, index)
    if is_sparse(part):
        _length(part, name)
        values = part.data if part.data.dtype.kind == "f" else part.data.astype(np.float32)
        if isinstance(index, slice) and index.step in (None, 1):
            return _sparse_rows(SparseRows(part.indices, part.indptr[:-1], values), index)
        part = part[index]  # SciPy's own loop is four times faster than NumPy indexing of the entries
        return SparseRows(part.indices, part.indptr[:-1], part.data.astype(values.dtype, copy=False))
    if isinstance(index, slice):
        if index.step is None or index.step > 0:  # the standard leaves bounds beyond the end unspecified
            index = slice(*index.indices(part.shape[0]))
        return part[index, ...]
    if isinstance(part, np.ndarray):
        return part[index]
    xp, device = array_namespace(part), native_device(part)
    dtype = xp.__array_namespace_info__().default_dtypes(device=device)["indexing"]
    return xp.take(part, xp.asarray(index, dtype=dtype, device=device), axis=0)


def _sparse_rows(part: SparseRows, index: Any) -> SparseRows:
    starts = part.offsets[index]
    lengths = np.append(part.offsets[1:], part.indices.shape[0])[index] - starts
    offsets = np.cumsum(lengths, dtype=starts.dtype) - lengths
    total = int(lengths.sum())
    if isinstance(index, slice) and index.step in (None, 1):
        first = int(starts[0]) if total else 0
        return SparseRows(part.indices[first:first + total], offsets, part.values[first:first + total])
    positions = np.repeat(starts - offsets, lengths) + np.arange(total, dtype=starts.dtype)
    return SparseRows(part.indices[positions], offsets, part.values[positions])
