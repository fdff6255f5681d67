"""Rows of a table: y = W[i], and their sum or mean over bags of indices."""

from __future__ import annotations

from typing import Any

from portable_nn import functional
from portable_nn.backend.errors import ArgumentError, ShapeError
from portable_nn.backend.namespace import array_namespace, is_tensor
from portable_nn.functional.checks import as_index, check_integer
from portable_nn.layers.calls import observed
from portable_nn.layers.dropout import Dropout
from portable_nn.layers.initializers import Normal, ZeroRow
from portable_nn.layers.module import Module
from portable_nn.layers.parameter import Parameter
from portable_nn.layers.positions import LearnedPositions
from portable_nn.layers.storage import check_size


class Embedding(Module):
    """A row of a table for each index: y = W[i].

    Shape
    -----
    integers (...) -> (..., embedding_dim)

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        Rows and columns of the table.
    padding_idx : int, optional
        An index whose row is zeros at first and gets no gradient; negative ones count from the end.
    sparse : bool
        Give `weight` a row-sparse gradient, of the rows that were used: for large tables, with SparseAdam or plain SGD.

    Attributes
    ----------
    weight : Parameter (num_embeddings, embedding_dim)
        Drawn from the standard normal distribution.

    Raises
    ------
    ArgumentError
        padding_idx is no row of the table.
    DataError
        An index is out of range; the message names it. On a GPU and under JAX indices are not looked at.

    Examples
    --------
    >>> import numpy as np
    >>> Embedding(10, 3)(np.asarray([[1, 2], [4, 3]])).shape
    (2, 2, 3)
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
                 sparse: bool = False) -> None:
        self.num_embeddings = check_size("num_embeddings", num_embeddings)
        self.embedding_dim = check_size("embedding_dim", embedding_dim)
        self.padding_idx = padding_idx
        initializer: Any = Normal()
        if padding_idx is not None:
            if not hasattr(padding_idx, "__index__") or not -num_embeddings <= padding_idx < num_embeddings:
                raise ArgumentError(f"padding_idx from {-num_embeddings} to {num_embeddings - 1}", repr(padding_idx),
                                    "pass the index of a row, or None")
            self.padding_idx = int(padding_idx) % num_embeddings
            initializer = ZeroRow(initializer, self.padding_idx)
        self.weight = Parameter((num_embeddings, embedding_dim), initializer)
        self.sparse = self.weight.row_sparse = bool(sparse)

    def forward(self, indices: Any, positions: Any = None, dropout: Any = None) -> Any:
        """The vectors; with `positions`, a LearnedPositions, theirs are added, and `dropout` is applied to the sum."""
        if positions is None and dropout is None:
            return self._look_up(indices)
        known = type(positions) is LearnedPositions and (dropout is None or type(dropout) is Dropout)  # no subclasses
        if not (known and positions.batch_first and len(indices.shape) == 2 and self.padding_idx is None
                and not self.sparse):
            x = self._look_up(indices)
            x = x if positions is None else positions(x)
            return x if dropout is None else dropout(x)
        p, stream = (0.0, None) if dropout is None else dropout.draw()
        x = functional.embed_sequence(indices, self.weight, positions.rows(indices.shape[1]), p=p, stream=stream)
        observed(positions, x)
        return x if dropout is None else observed(dropout, x)

    def _look_up(self, indices: Any) -> Any:
        look_up = functional.sparse_embedding if self.sparse else functional.embedding
        out = look_up(indices, self.weight)  # (..., D)
        if self.padding_idx is None or not is_tensor(out):
            return out
        xp = array_namespace(out)
        return xp.where(xp.expand_dims(xp.asarray(indices) == self.padding_idx, axis=-1), out.detach(), out)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}{', sparse=True' if self.sparse else ''}"


class EmbeddingBag(Module):
    """The sum or mean of a table's rows over bags of indices; a batch of sparse rows is a batch of bags.

    Shape
    -----
    indices (n,), offsets (B,), weights (n,) -> (B, embedding_dim);
    indices (B, L), weights (B, L) -> (B, embedding_dim), bags of equal length;
    SparseRows of B rows, as `data.batches` yields for a CSR matrix -> (B, embedding_dim)

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        Rows and columns of the table.
    mode : "mean" or "sum"
        With "sum", rows may be multiplied by per-sample weights: the values of sparse rows, for example. An empty bag
        gives zeros.
    sparse : bool
        Give `weight` a row-sparse gradient, as in Embedding.

    Attributes
    ----------
    weight : Parameter (num_embeddings, embedding_dim)
        Drawn from the standard normal distribution.

    Raises
    ------
    ArgumentError
        The mode is unknown, or "mean" with per-sample weights; offsets are missing, or given with 2-D indices.
    DataError
        An index is out of range, or the offsets are no bags of these indices. On a GPU and under JAX neither is looked
        at.

    Examples
    --------
    >>> import numpy as np
    >>> bag = EmbeddingBag(10, 3, mode="sum")
    >>> bag(np.asarray([1, 2, 4, 5]), np.asarray([0, 3])).shape
    (2, 3)
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, mode: str = "mean", sparse: bool = False) -> None:
        if mode not in ("mean", "sum"):
            raise ArgumentError('mode "mean" or "sum"', repr(mode), "pass one of the two")
        self.num_embeddings = check_size("num_embeddings", num_embeddings)
        self.embedding_dim = check_size("embedding_dim", embedding_dim)
        self.mode = mode
        self.weight = Parameter((num_embeddings, embedding_dim), Normal())
        self.sparse = self.weight.row_sparse = bool(sparse)

    def forward(self, indices: Any, offsets: Any = None, per_sample_weights: Any = None) -> Any:
        if hasattr(indices, "offsets"):  # SparseRows
            indices, offsets, per_sample_weights = indices.indices, indices.offsets, indices.values
        array_namespace(indices, offsets)  # refuses what are no arrays
        if len(indices.shape) == 2 and offsets is None:
            indices, offsets, per_sample_weights = _flat(indices, per_sample_weights)
        elif offsets is None or len(indices.shape) == 2:
            raise ArgumentError("indices (n,) with offsets (B,), or indices (B, L) without",
                                f"indices {indices.shape}, {'no' if offsets is None else 'with'} offsets",
                                "pass where each bag begins, as indptr[:-1] of a CSR matrix")
        look_up = functional.sparse_embedding_bag if self.sparse else functional.embedding_bag
        return look_up(indices, offsets, self.weight, per_sample_weights, mode=self.mode)

    def extra_repr(self) -> str:
        sparse = ", sparse=True" if self.sparse else ""
        return f"{self.num_embeddings}, {self.embedding_dim}, mode={self.mode!r}{sparse}"


def _flat(indices: Any, weights: Any) -> tuple[Any, Any, Any]:
    """Bags of equal length as one run of indices, with its offsets and weights."""
    check_integer("embedding_bag", "indices", indices)
    if weights is not None and weights.shape != indices.shape:
        raise ShapeError(f"one weight for each index, shape {indices.shape}", f"{weights.shape}", "reshape them")
    xp = array_namespace(indices)
    bags, length = indices.shape
    dtype, device = as_index(xp, indices).dtype, indices.device
    offsets = (xp.arange(0, bags * length, length, dtype=dtype, device=device) if length
               else xp.zeros((bags,), dtype=dtype, device=device))
    weights = None if weights is None else array_namespace(weights).reshape(weights, (bags * length,))
    return xp.reshape(indices, (bags * length,)), offsets, weights
