"""The gradient of a table of which a step used a few rows: their numbers and what belongs to them."""

from __future__ import annotations

from typing import Any

import array_api_compat

from portable_nn.backend.devices import convert, to_numpy
from portable_nn.backend.namespace import array_namespace
from portable_nn.backend.scatter import scatter_add


class RowSparse:
    """An array (V, D) of zeros, but for some rows.

    Parameters
    ----------
    indices : integer array (n,)
        The numbers of the rows; those that occur several times add up.
    rows : array (n, D)
    shape : tuple of int
        (V, D).

    Attributes
    ----------
    is_coalesced : bool
        Whether the indices rise and occur once each.
    """

    __slots__ = ("indices", "is_coalesced", "rows", "shape")
    __array_ufunc__ = None  # NumPy's operators give way to ours

    def __init__(self, indices: Any, rows: Any, shape: tuple[int, ...], *, is_coalesced: bool = False) -> None:
        self.indices, self.rows, self.shape, self.is_coalesced = indices, rows, tuple(shape), is_coalesced

    @property
    def dtype(self) -> Any:
        return self.rows.dtype

    def coalesced(self) -> RowSparse:
        """The same with each row once, in order, by sorting. The number of rows is read back from the device."""
        if self.is_coalesced:
            return self
        xp, device = array_namespace(self.rows), array_api_compat.device(self.rows)
        if "int64" in xp.__array_namespace_info__().dtypes(device=device, kind="signed integer"):
            indices, inverse = xp.unique_inverse(self.indices)
        else:  # there array-api-strict gives places in int64 all the same
            host = array_api_compat.array_namespace(to_numpy(self.indices)).unique_inverse(to_numpy(self.indices))
            indices, inverse = (convert(i, dtype="int32", xp=xp, device=device) for i in host)
        rows = scatter_add(xp.reshape(inverse, self.indices.shape), self.rows, indices.shape[0])
        return RowSparse(indices, rows, self.shape, is_coalesced=True)

    def dense(self) -> Any:
        """The whole array."""
        return scatter_add(self.indices, self.rows, self.shape[0])

    def with_rows(self, rows: Any) -> RowSparse:
        """The same places with other values."""
        return RowSparse(self.indices, rows, self.shape, is_coalesced=self.is_coalesced)

    def moved(self, **where: Any) -> RowSparse:
        """Moved and cast as `convert` does; the indices keep their dtype."""
        place = {name: value for name, value in where.items() if name != "dtype"}
        return RowSparse(convert(self.indices, **place), convert(self.rows, **where), self.shape,
                         is_coalesced=self.is_coalesced)

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, RowSparse):
            return self.dense() + other
        xp = array_namespace(self.rows, other.rows)
        return RowSparse(xp.concat([self.indices, other.indices]), xp.concat([self.rows, other.rows]), self.shape)

    __radd__ = __add__

    def __mul__(self, factor: Any) -> RowSparse:
        return self.with_rows(self.rows * factor)

    def __repr__(self) -> str:
        return f"RowSparse({self.indices.shape[0]} rows of {self.shape}, {self.dtype})"
