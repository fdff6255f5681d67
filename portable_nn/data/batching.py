"""Batches in a keyed order: the same seed and epoch give the same batches, on every backend and after a resume."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from portable_nn.backend.devices import convert
from portable_nn.backend.errors import ArgumentError, DataError
from portable_nn.backend.namespace import array_namespace
from portable_nn.backend.random import Stream, permutation
from portable_nn.data.rowwise import is_sparse, map_parts, row_count, rows


def batches(*arrays: Any, batch_size: int, seed: int = 0, epoch: int = 0, shuffle: bool = True, drop_last: bool = False,
            device: str | None = None, dtype: Any = "float32") -> Batches:
    """Return the batches of one epoch: iterating yields one tuple of Tensors per batch, one entry per argument.

    Parameters
    ----------
    *arrays : array, CSR matrix, windows, or tuple or dict of these, each with N rows
        `batches(x, y)` yields `(x, y)`, `batches((a, b), y)` yields `((a, b), y)`, `batches(x)` yields `(x,)`; a CSR
        matrix becomes `SparseRows`, and windows given alone become `(inputs, targets)`. Nothing is copied but the rows
        of a batch.
    batch_size : int
        Rows per batch. The last batch has what is left, or is left out with `drop_last=True`.
    seed, epoch : int
        The order is a function of the two alone. `.epoch(k)` gives the same batches in the order of epoch k.
    shuffle : bool
        False keeps the order of the rows, and batches of arrays are then views.
    device : str, optional
        Where to put the batches, such as `"cuda"`; None leaves each array where it is.
    dtype : str or dtype, optional
        Floating arrays are cast to it, a batch at a time: float32, as parameters are, by default. None casts nothing.

    Raises
    ------
    ShapeError
        The arrays have different numbers of rows.
    DTypeError
        An argument is a list or another thing that is no array.
    ArgumentError, DataError
        `batch_size` is not a positive integer, or there is no batch to give.

    Example
    -------
    >>> import numpy as np
    >>> [len(x) for x, y in batches(np.zeros((5, 3)), np.zeros(5), batch_size=2)]
    [2, 2, 1]
    """
    if len(arrays) == 1 and hasattr(arrays[0], "as_rows"):
        arrays = arrays[0].as_rows()
    return Batches(arrays, batch_size=batch_size, seed=seed, epoch=epoch, shuffle=shuffle, drop_last=drop_last,
                   device=device,
                   dtype=dtype)


class Batches:
    """The batches of one epoch, made by `batches`; iterate as often as you like, each time in the same order.

    Attributes
    ----------
    rows : int
        Number of rows of the data.
    order : NumPy int64 array (N,) or None
        Row numbers in the order they are given; None when not shuffled.
    """

    def __init__(self, arrays: tuple[Any, ...], *, batch_size: int, seed: int, epoch: int, shuffle: bool,
                 drop_last: bool,
                 device: str | None, dtype: Any) -> None:
        self.rows = row_count(arrays)
        self.batch_size = _positive_integer(batch_size)
        if self.rows == 0:
            raise DataError("at least one row", "arrays of 0 rows", "pass data that is not empty")
        if drop_last and self.rows < self.batch_size:
            raise ArgumentError(f"at least batch_size={self.batch_size} rows with drop_last=True", f"{self.rows} rows",
                                "use a smaller batch_size or drop_last=False")
        self.order = permutation(Stream(seed, "batches", step=epoch), self.rows) if shuffle else None
        self._arrays = arrays
        self._options: dict[str, Any] = {"batch_size": batch_size, "seed": seed, "epoch": epoch, "shuffle": shuffle,
                                         "drop_last": drop_last, "device": device, "dtype": dtype}

    def __len__(self) -> int:
        """Number of batches."""
        whole, rest = divmod(self.rows, self.batch_size)
        return whole + (rest > 0 and not self._options["drop_last"])

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for number in range(len(self)):
            yield to_tensors(self.raw(number), device=self._options["device"], dtype=self._options["dtype"])

    def raw(self, number: int) -> tuple[Any, ...]:
        """Batch `number` as arrays, neither moved nor cast nor wrapped: for loops that do these themselves."""
        selected = slice(number * self.batch_size, min((number + 1) * self.batch_size, self.rows))
        return rows(self._arrays, selected if self.order is None else self.order[selected])

    def epoch(self, epoch: int) -> Batches:
        """The same data in the order of another epoch."""
        return Batches(self._arrays, **{**self._options, "epoch": epoch})

    def __repr__(self) -> str:
        seed, epoch = self._options["seed"], self._options["epoch"]
        return f"Batches({len(self)} of up to {self.batch_size} rows, seed={seed}, epoch={epoch})"


def to_tensors(data: Any, *, device: str | None = None, dtype: Any = None) -> Any:
    """Return `data` with every array as a constant Tensor, in the same nesting.

    Parameters
    ----------
    data : array, CSR matrix, SparseRows, or nested tuple or dict of these
    device : str, optional
        Where to move the arrays; None leaves them.
    dtype : str or dtype, optional
        Floating arrays are cast to it; integers and booleans keep theirs. None leaves all.
    """
    from portable_nn.autodiff import Tensor

    return map_arrays(data, lambda x: Tensor(move_and_cast(x, device=device, dtype=dtype)))


def map_arrays(data: Any, function: Any) -> Any:
    """Apply `function` to every array of nested tuples and dicts, the three of a SparseRows or CSR matrix included."""
    def apply(part: Any, _name: str) -> Any:
        part = rows(part, slice(None)) if is_sparse(part) else part
        return type(part)(*(function(x) for x in part)) if isinstance(part, tuple) else function(part)
    return map_parts(data, apply)


def move_and_cast(x: Any, *, device: str | None = None, dtype: Any = None) -> Any:
    """Return the array `x` on `device`, a floating one as `dtype`; itself where there is nothing to do."""
    if type(x) is np.ndarray and device in (None, "cpu") and (x.dtype.kind != "f" or dtype is None
                                                              or (isinstance(dtype, str) and x.dtype == dtype)):
        return x  # most batches, in a tenth of the time
    if dtype is not None and not array_namespace(x).isdtype(x.dtype, "real floating"):
        dtype = None
    return x if device is None and dtype is None else convert(x, device=device, dtype=dtype)


def _positive_integer(batch_size: Any) -> int:
    try:
        number = operator.index(batch_size)
    except TypeError:
        number = 0
    if number < 1 or isinstance(batch_size, bool):
        raise ArgumentError("batch_size as a positive integer", repr(batch_size), "pass for example batch_size=128")
    return number
