"""How the generic attention cuts its scores into tiles, which of them are hidden, and which of them dropout keeps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from portable_nn.backend.namespace import array_namespace
from portable_nn.backend.random import Stream, keep_mask, keep_threshold
from portable_nn.functional.checks import as_index, at_least_float32

#: Scores worked on at a time, over all heads; but a head's tile has SIDE rows and columns, if there are so many.
TILE = 2**20
SIDE = 256


class Tiles:
    """Tiles of an array of scores (*lead, T, S).

    Attributes
    ----------
    rows : list of slice
        Queries that are worked on together.
    """

    def __init__(self, lead: tuple[int, ...], queries: int, keys: int, causal: bool, dropout_p: float,
                 stream: Stream | None) -> None:
        self.lead, self.queries, self.keys, self.causal = lead, queries, keys, causal
        self.dropout_p, self.stream = dropout_p, stream
        heads = max(math.prod(lead), 1)
        height = min(queries, max(SIDE, math.isqrt(TILE // heads)))
        self.width = max(SIDE, TILE // (heads * max(height, 1)))
        self.rows = [slice(a, min(a + height, queries)) for a in range(0, queries, max(height, 1))] or [slice(0, 0)]

    def columns(self, rows: slice) -> Iterator[slice]:
        """The keys that go with these queries, without those that are all hidden from them."""
        stop = min(rows.stop, self.keys) if self.causal else self.keys
        return (slice(a, min(a + self.width, self.keys)) for a in range(0, stop, self.width))

    def draw(self, xp: Any, rows: slice, device: Any) -> Any:
        """What dropout keeps for these queries, as it stands in one mask (*lead, T, S) drawn whole; None without."""
        if self.stream is None:
            return None
        height, options = rows.stop - rows.start, {"xp": xp, "device": device}
        if height == self.queries or 0 in self.lead:
            return keep_mask(self.stream, (*self.lead, height, self.keys), self.dropout_p, **options)[0]
        starts = [(head * self.queries + rows.start) * self.keys for head in range(math.prod(self.lead))]
        drawn = [keep_mask(self.stream, (height, self.keys), self.dropout_p, **options, start=start)[0]
                 for start in starts]
        return xp.reshape(xp.stack(drawn), (*self.lead, height, self.keys))

    def factors(self, xp: Any, keep: Any, columns: slice, dtype: Any) -> Any:
        """What dropout multiplies a tile by."""
        share = 1 - keep_threshold(self.dropout_p) / 65536
        return xp.astype(keep[..., columns], dtype) * (1 / share if share else 0.0)


class Scores(NamedTuple):
    """What the scores of a tile are made of: query (scaled), key and value in at least float32."""

    xp: Any
    query: Any
    key: Any
    value: Any
    mask: Any
    tiles: Tiles
    causal: bool

    @classmethod
    def of(cls, query: Any, key: Any, value: Any, mask: Any, causal: bool, scale: float, dropout_p: float,
           stream: Stream | None) -> Scores:
        """From what the operation was given."""
        xp = array_namespace(query)
        tiles = Tiles(query.shape[:-2], query.shape[-2], key.shape[-2], causal, dropout_p, stream)
        mask = as_mask(mask, query.ndim, key.shape[-2])
        query, key, value = (at_least_float32(xp, x) for x in (query, key, value))
        return cls(xp, query * scale, key, value, mask, tiles, causal)

    def tile(self, rows: slice, columns: slice) -> tuple[Any, Any]:
        """The scores of a tile, the lowest number where hidden, and which of them are."""
        xp = self.xp
        scores = xp.matmul(self.query[..., rows, :], xp.matrix_transpose(self.key[..., columns, :]))
        hidden = hidden_scores(xp, self.mask, rows, columns, self.causal, scores.device)
        return scores if hidden is None else replace(xp, hidden, scores, lowest(xp, scores.dtype)), hidden


def as_mask(mask: Any, axes: int, keys: int) -> Any:
    """A raw mask of booleans as it is, or None; lengths (B,) as the mask (B, 1, …, S) of so many axes."""
    if mask is None or array_namespace(mask).isdtype(mask.dtype, "bool"):
        return mask
    xp = array_namespace(mask)
    lengths = as_index(xp, mask)
    positions = xp.arange(keys, dtype=lengths.dtype, device=lengths.device)
    return positions >= xp.reshape(lengths, (lengths.shape[0], *(1,) * (axes - 1)))


def hidden_scores(xp: Any, mask: Any, rows: slice, columns: slice, causal: bool, device: Any) -> Any:
    """Which scores of a tile count for nothing, as booleans that broadcast to it; None where all of them count.

    `mask` is a raw array or None, and so is the result.
    """
    if mask is not None:
        mask = mask if mask.ndim < 2 or mask.shape[-2] == 1 else mask[..., rows, :]
        mask = mask if mask.ndim < 1 or mask.shape[-1] == 1 else mask[..., columns]
    if not causal or columns.stop <= rows.start + 1:
        return mask
    xp = getattr(xp, "raw", xp)
    t = xp.arange(rows.start, rows.stop, dtype=xp.int32, device=device)
    s = xp.arange(columns.start, columns.stop, dtype=xp.int32, device=device)
    late = xp.expand_dims(t, axis=1) < s
    return late if mask is None else mask | late


def replace(xp: Any, where: Any, x: Any, value: float) -> Any:
    """x with a number in some places."""
    return xp.where(where, xp.full((), value, dtype=x.dtype, device=x.device), x)


def lowest(xp: Any, dtype: Any) -> float:
    """The lowest finite number of a floating dtype: what hides a score, since -inf - -inf is no number."""
    return float(xp.finfo(dtype).min)
