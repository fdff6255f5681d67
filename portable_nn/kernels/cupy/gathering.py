"""The rows of a batch, of all arrays of data that are kept on the device, in one launch."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from portable_nn.kernels.cupy.launch import empty, kernel
from portable_nn.kernels.registry import register

#: As in gather.cu.
PARTS, CHUNK = 8, 4096
TABLE = np.dtype([("source", "u8", PARTS), ("target", "u8", PARTS), ("width", "i8", PARTS), ("first", "i8", PARTS),
                  ("count", "i8")])
_INT64 = cupy.dtype("int64")


def gather_rows(arrays: list[Any], index: Any) -> list[Any]:
    """These rows of each array, contiguous; `index` (n,) is of int64, each from 0 to below the rows that there are."""
    outputs = [empty((index.size, *x.shape[1:]), x.dtype) for x in arrays]
    table, warps, rows = np.zeros(1, dtype=TABLE), 0, max(index.size, 1)
    for i, (x, out) in enumerate(zip(arrays, outputs, strict=True)):
        width = out.nbytes // rows
        for name, value in zip(("source", "target", "width", "first"), (x.data.ptr, out.data.ptr, width, warps),
                               strict=True):
            table[name][0, i] = value
        warps += index.size * -(-width // CHUNK)
    table["count"] = len(arrays)
    if warps:
        kernel("gather", "gather_rows")((-(-warps // 8),), (32, 8), (table, index, warps))
    return outputs


def supports(*arrays: Any) -> bool:
    """Whether these arrays, the index last, are gathered here."""
    *parts, index = arrays
    return 0 < len(parts) <= PARTS and index.dtype == _INT64 and all(
        type(x) is cupy.ndarray and x.flags.c_contiguous for x in arrays)


register("gather_rows", "cupy", gather_rows, supports=supports)
