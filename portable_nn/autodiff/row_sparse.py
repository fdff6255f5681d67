"""The gradient of a table of which a step used a few rows: their numbers and what belongs to them.

`RowSparse` is what a user asks for, and sees. `Unwritten` is a dense gradient whose zeros need never be written where
an optimiser's kernel can do without.
"""

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
    factors : tuple of arrays (B, K) and (B, D), or None
        Where each of B vectors belongs to K rows in turn, times a coefficient: what `outer` was given.
    """

    __slots__ = ("_rows", "factors", "indices", "is_coalesced", "shape")
    __array_ufunc__ = None  # NumPy's operators give way to ours

    def __init__(self, indices: Any, rows: Any, shape: tuple[int, ...], *, is_coalesced: bool = False) -> None:
        self.indices, self._rows, self.shape, self.is_coalesced = indices, rows, tuple(shape), is_coalesced
        self.factors: tuple[Any, Any] | None = None

    @classmethod
    def outer(cls, indices: Any, coefficients: Any, vectors: Any, shape: tuple[int, ...]) -> RowSparse:
        """Row i of n = B K is coefficients[i // K, i % K] · vectors[i // K], multiplied out where it is asked for."""
        made = cls(indices, None, shape)
        made.factors = coefficients, vectors
        return made

    @property
    def rows(self) -> Any:
        if self._rows is None:
            coefficients, vectors = self.factors  # type: ignore[misc]
            xp = array_namespace(vectors)
            rows = xp.expand_dims(coefficients, axis=-1) * xp.expand_dims(vectors, axis=1)  # (B, K, D)
            self._rows = xp.reshape(rows, (self.indices.shape[0], vectors.shape[1]))
        return self._rows

    @property
    def values(self) -> Any:
        """An array of the library, device and dtype of the rows, which need not be multiplied out for it."""
        return self._rows if self.factors is None else self.factors[1]

    @property
    def dtype(self) -> Any:
        return self.values.dtype

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


class Unwritten:
    """A dense gradient that is known but not written down. Only the gradients of leaves are left so, and whoever looks
    at one, by `Parameter.grad` or a transform, gets the array; kernels of updates know the subclass of their library.

    Attributes
    ----------
    shape : tuple of int
    dtype
    values : array
        All that is not zero, of the library, device and dtype of the gradient.
    """

    __slots__ = ()
    __array_ufunc__ = None  # as above: an array's own + gives way, CuPy's too
    shape: tuple[int, ...]
    dtype: Any
    values: Any

    def dense(self) -> Any:
        """The array."""
        raise NotImplementedError

    def __add__(self, other: Any) -> Any:
        return self.dense() + written(other)

    __radd__ = __add__


def written(gradient: Any) -> Any:
    """A gradient as others may see it: written down."""
    return gradient.dense() if isinstance(gradient, Unwritten) else gradient
