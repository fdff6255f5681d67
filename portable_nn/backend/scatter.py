"""scatter_add, the sum of rows by index (the gradient of an embedding): the definition, and each library's fastest."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np

from portable_nn.backend.devices import convert, to_numpy
from portable_nn.backend.errors import DataError, DTypeError, ShapeError
from portable_nn.backend.namespace import array_namespace, is_tensor

#: What cupy.add.at adds atomically, with one result whatever the order.
_CUPY_ATOMIC = {"int32", "uint32", "uint64"}
#: Library -> `(function, supports)`, both of (indices, values (n, D), size): its kernel, put here when it is loaded.
_kernels: dict[str, tuple[Callable[..., Any], Callable[..., bool]]] = {}
#: Below this many elements np.add.at is quicker than making a sparse matrix.
_FEW = 512


def register_kernel(library: str, function: Callable[..., Any], supports: Callable[..., bool]) -> None:
    """Have `scatter_add` use a library's kernel where it supports the call; it must add in a fixed order."""
    _kernels[library] = function, supports


def scatter_add(indices: Any, values: Any, size: int) -> Any:
    """Sum rows into a table of zeros: `result[indices[i]] += values[i]`, where repeated indices accumulate.

    They are added in the same order every time, so that results are the same too.

    Parameters
    ----------
    indices : integer array of shape (n,)
        From 0 to size - 1. CuPy and JAX do not look at them, which would make the device wait; others do.
    values : array of shape (n, *D)
        What to add, of a numeric dtype.
    size : int
        Rows of the result.

    Returns
    -------
    array of shape (size, *D)
        Of the dtype of `values`.

    Raises
    ------
    DataError
        An index is out of range. Negative ones are.
    """
    xp = array_namespace(indices, values)
    if indices.ndim != 1 or values.ndim == 0 or values.shape[0] != indices.shape[0]:
        raise ShapeError("indices of shape (n,) and values of shape (n, ...)", f"{indices.shape} and {values.shape}",
                         "flatten the indices, and give one row of values for each")
    if isinstance(indices, np.ndarray) and isinstance(values, np.ndarray):
        if not np.issubdtype(indices.dtype, np.integer):
            raise DTypeError("indices of an integer dtype", str(indices.dtype), "cast them, to int64 for example")
        _check_range(np, indices, size)
        return _numpy(indices, values, size)
    if is_tensor(values) or is_tensor(indices):
        return define_scatter_add(indices, values, size)
    if array_api_compat.is_cupy_array(values):
        return _cupy(xp, indices, values, size)
    if array_api_compat.is_jax_array(values):
        return xp.zeros((size, *values.shape[1:]), dtype=values.dtype).at[indices].add(values)
    _check_range(xp, indices, size)
    if array_api_compat.is_torch_array(values):
        zeros = xp.zeros((size, *values.shape[1:]), dtype=values.dtype, device=values.device)
        return zeros.index_add(0, xp.astype(indices, xp.int64), values)
    return define_scatter_add(indices, values, size)


def define_scatter_add(indices: Any, values: Any, size: int) -> Any:
    """The definition, in Array API code: sort by index, sum each run of equal ones by doubling, pick each run's head.

    Indices must be in range. A product with a one-hot matrix would be shorter, but spreads one infinite value over all
    rows as NaN, and needs n × size numbers.
    """
    xp = array_namespace(indices, values)
    n, row = values.shape[0], math.prod(values.shape[1:])
    device = array_api_compat.device(values)
    if n == 0 or size == 0 or row == 0:
        return xp.zeros((size, *values.shape[1:]), dtype=values.dtype, device=device)
    order, keys, head = _sort(xp, indices, size, device)
    sums = xp.take(xp.reshape(values, (n, row)), order, axis=0)         # (n, row)
    zeros = xp.zeros((n, row), dtype=values.dtype, device=device)
    step = 1
    while step < n:  # now sums[i] holds its run's elements i to i + step - 1; double that
        same = keys[:-step] == keys[step:]
        more = xp.where(same[:, None], sums[step:, :], zeros[step:, :])
        sums = sums + xp.concat([more, zeros[:step, :]], axis=0)
        step *= 2
    head = xp.where(head < n, head, xp.zeros_like(head))
    rows = xp.arange(size, dtype=keys.dtype, device=device)
    present = xp.take(keys, head, axis=0) == rows
    result = xp.where(present[:, None], xp.take(sums, head, axis=0), zeros[:1, :])
    return xp.reshape(result, (size, *values.shape[1:]))


def _sort(xp: Any, indices: Any, size: int, device: Any) -> tuple[Any, Any, Any]:
    """The order that sorts the indices, the sorted indices, and for each row of the table its first place."""
    integers = xp.__array_namespace_info__().dtypes(device=device, kind="signed integer")
    if "int64" not in integers:  # there array-api-strict 2.6 returns int64 from argsort all the same: sort on the host
        host = to_numpy(indices)
        order = np.argsort(host, stable=True)
        keys = host[order]
        head = np.searchsorted(keys, np.arange(size))
        return tuple(convert(i, dtype="int32", xp=xp, device=device) for i in (order, keys, head))
    order = xp.argsort(indices, stable=True)
    keys = xp.astype(xp.take(indices, order, axis=0), xp.int64)         # (n,) of a dtype that holds size
    return order, keys, xp.searchsorted(keys, xp.arange(size, dtype=xp.int64, device=device))


def _cupy(xp: Any, indices: Any, values: Any, size: int) -> Any:
    kernel, supports = _kernels.get("cupy", (None, None))
    if kernel is not None and supports is not None and supports(indices, values, size):
        row = math.prod(values.shape[1:])
        return xp.reshape(kernel(indices, xp.reshape(values, (values.shape[0], row)), size), (size, *values.shape[1:]))
    if values.size == 0 or values.dtype.name not in _CUPY_ATOMIC:
        return define_scatter_add(indices, values, size)
    result = xp.zeros((size, *values.shape[1:]), dtype=values.dtype, device=values.device)
    array_api_compat.array_namespace(result).add.at(result, indices, values)  # the ufunc itself; ours mixes dtypes
    return result


def _check_range(xp: Any, indices: Any, size: int) -> None:
    if indices.shape[0] == 0:
        return
    low, high = int(xp.min(indices)), int(xp.max(indices))
    if low < 0 or high >= size:
        raise DataError(f"indices from 0 to {size - 1}", f"indices from {low} to {high}",
                        "give the table more rows or look for the wrong index; negative ones do not count from the end")


def _numpy(indices: Any, values: Any, size: int) -> Any:
    n, row = values.shape[0], math.prod(values.shape[1:])
    shape = (size, *values.shape[1:])
    if values.dtype.char not in "fd" or n * row < _FEW:
        result = np.zeros(shape, dtype=values.dtype)
        np.add.at(result, indices, values)
        return result
    if row == 1:  # bincount sums in float64
        sums = np.bincount(indices, weights=values.reshape(n), minlength=size)
        return sums.astype(values.dtype, copy=False).reshape(shape)
    from scipy.sparse import csc_matrix

    # The columns of this (size, n) matrix are one-hot: its product with the values adds each row where it belongs.
    narrow = np.int32 if max(n, size) < 2**31 - 1 else np.int64
    indices = indices.astype(narrow, copy=False)
    one_hot = csc_matrix((np.ones(n, dtype=values.dtype), indices, np.arange(n + 1, dtype=narrow)), shape=(size, n))
    return (one_hot @ values.reshape(n, row)).reshape(shape)
