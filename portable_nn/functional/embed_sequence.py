"""The front of a Transformer: words and where they stand, as vectors."""

from __future__ import annotations

from typing import Any

from portable_nn.backend.errors import ShapeError
from portable_nn.backend.random import Stream
from portable_nn.functional.checks import check_floating
from portable_nn.functional.dropout import dropout
from portable_nn.functional.embedding import _check_embedding, embedding
from portable_nn.functional.fused import fused


def _definition(indices, weight, positions, /, *, p, stream):
    x = embedding(indices, weight) + positions                          # (B, T, D)
    return x if p == 0 else dropout(x, p=p, stream=stream)


def _check(indices, weight, positions, *, p, stream):
    _check_embedding(indices, weight)
    check_floating("embed_sequence", weight, positions)
    if len(indices.shape) != 2 or positions.shape != (indices.shape[1], weight.shape[1]):
        raise ShapeError("indices (B, T), a table (V, D) and positions (T, D)",
                         f"{tuple(indices.shape)}, {tuple(weight.shape)} and {tuple(positions.shape)}",
                         "take as many positions as the sequences are long")


_embed_sequence = fused("embed_sequence", definition=_definition, check=_check)


def embed_sequence(indices: Any, weight: Any, positions: Any, *, p: float, stream: Stream | None) -> Any:
    """dropout(weight[indices] + positions), in one pass on a GPU.

    Parameters
    ----------
    indices : integers of shape (B, T)
    weight : floating array of shape (V, D)
    positions : array of shape (T, D)
        Added to every sequence.
    p, stream
        As in `dropout`; None with p = 0.

    Returns
    -------
    array of shape (B, T, D)

    Raises
    ------
    ShapeError, DTypeError, DeviceError, DataError
        Shapes do not fit; dtypes are not integer and floating; an index is out of range, where that can be looked at.
    """
    return _embed_sequence(indices, weight, positions, p=p, stream=stream)
