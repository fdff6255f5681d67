"""Multi-head attention, of a sequence to itself or to another."""

from __future__ import annotations

from typing import Any

from portable_nn import functional
from portable_nn.backend.errors import ArgumentError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.backend.random import keep_threshold
from portable_nn.layers.initializers import glorot_uniform, zeros
from portable_nn.layers.linear import Linear
from portable_nn.layers.masks import join_masks
from portable_nn.layers.module import Module
from portable_nn.layers.parameter import Parameter
from portable_nn.layers.storage import check_size


class MultiheadAttention(Module):
    """y = [h₁, …, h_H] W_oᵀ + b_o, where h_i = softmax(q_i k_iᵀ / √D) v_i of heads of width D = embed_dim / H, and q, k
    and v are affine maps of query, key and value.

    Shape
    -----
    query (B, T, embed_dim), key (B, S, kdim), value (B, S, vdim) -> y (B, T, embed_dim), or with `return_weights`
    (y, weights (B, H, T, S)); the first two axes exchanged, of all but weights and masks, with `batch_first=False`.

    Parameters
    ----------
    embed_dim, num_heads : int
        The number of heads divides the width.
    dropout : float
        The share of the weights dropped in training mode. (Which ones, in half precision on a GPU, is cuDNN's choice.)
    bias : bool
        Whether the four maps add a bias.
    kdim, vdim : int, optional
        Widths of key and value, embed_dim if left out.
    batch_first : bool
        False for PyTorch's default layout, time before batch.

    Attributes
    ----------
    in_proj_weight : Parameter (3 embed_dim, embed_dim), or None
        The maps to q, k and v by rows, drawn by Glorot's uniform rule; with other widths of key or value q_proj_weight,
        k_proj_weight and v_proj_weight in its place.
    in_proj_bias : Parameter (3 embed_dim,), or None
        Zeros at first.
    out_proj : Linear
        W_o and b_o, which is zeros at first.

    References
    ----------
    A. Vaswani et al., "Attention is all you need", 2017, section 3.2.2; names and layouts as PyTorch's.

    Examples
    --------
    >>> import numpy as np
    >>> layer, x = MultiheadAttention(8, num_heads=2), np.ones((3, 5, 8), dtype=np.float32)
    >>> y, weights = layer(x, causal=True, return_weights=True)
    >>> y.shape, weights.shape
    ((3, 5, 8), (3, 2, 5, 5))
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
                 kdim: int | None = None, vdim: int | None = None, batch_first: bool = True) -> None:
        self.embed_dim, self.num_heads = check_size("embed_dim", embed_dim, 1), check_size("num_heads", num_heads, 1)
        if embed_dim % num_heads:
            raise ArgumentError("an embed_dim that num_heads divides", f"{embed_dim} and {num_heads}",
                                f"pass embed_dim={embed_dim - embed_dim % num_heads + num_heads}, for example")
        self.dropout = check_dropout(dropout)
        self.bias, self.batch_first = bias, batch_first
        self.kdim = embed_dim if kdim is None else check_size("kdim", kdim)
        self.vdim = embed_dim if vdim is None else check_size("vdim", vdim)
        self.in_proj_weight = None
        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight = Parameter((3 * embed_dim, embed_dim), glorot_uniform)
        else:
            self.q_proj_weight = Parameter((embed_dim, embed_dim), glorot_uniform)
            self.k_proj_weight = Parameter((embed_dim, self.kdim), glorot_uniform)
            self.v_proj_weight = Parameter((embed_dim, self.vdim), glorot_uniform)
        self.in_proj_bias = Parameter((3 * embed_dim,), zeros) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias)
        if bias:
            self.out_proj.bias = Parameter((embed_dim,), zeros)

    def forward(self, query: Any, key: Any = None, value: Any = None, *, padding_mask: Any = None, mask: Any = None,
                causal: bool = False, return_weights: bool = False) -> Any:
        """Attend; the key is the query if left out, the value the key.

        `padding_mask` (B, S) and `mask` (T, S), (B, T, S) or (B, H, T, S), axes of length 1 allowed, are booleans, True
        where a key is hidden, as in PyTorch's layer of this name (its `scaled_dot_product_attention` means the
        opposite). A `padding_mask` of integers (B,) says how many keys of each row count, the first ones; that is
        faster. `causal` hides what is later. A query that sees no key gets b_o. Weights are those before dropout.
        """
        key = query if key is None else key
        value = key if value is None else value
        query, key, value = self._prepare(query, key, value)
        hidden = join_masks(mask, padding_mask, (query.shape[0], self.num_heads, query.shape[1], key.shape[1]))
        dropout_p = self.dropout if self.training else 0.0
        options: dict[str, Any] = {"causal": causal, "scale": None}
        drop: dict[str, Any] = {"dropout_p": dropout_p, "stream": self.next_stream() if dropout_p else None}
        if self.in_proj_weight is not None and query is key and key is value:
            packed = self._map(query, self.in_proj_weight, self.in_proj_bias)                   # (B, T, 3, H, D)
            heads = functional.packed_attention(packed, hidden, **options, **drop)              # (B, T, H, D)
            q, k = _parts(packed)[:2] if return_weights else (None, None)
        else:
            q, k, v = self._project(query, key, value)                           # (B, H, T, D), (B, H, S, D) twice
            heads = _swap(functional.attention(q, k, v, hidden, **options, **drop))
        y = self.out_proj(array_namespace(heads).reshape(heads, query.shape))                   # (B, T, E)
        y = y if self.batch_first else array_namespace(y).permute_dims(y, (1, 0, 2))
        return (y, functional.attention_weights(q, k, hidden, **options)) if return_weights else y

    def _prepare(self, query: Any, key: Any, value: Any) -> tuple[Any, Any, Any]:
        """The three with the batch first; one that was another stays that very one."""
        widths = {"query": self.embed_dim, "key": self.kdim, "value": self.vdim}
        first = "B, {}" if self.batch_first else "{}, B"
        ready: dict[int, Any] = {}
        for (name, width), x in zip(widths.items(), (query, key, value)):
            xp = array_namespace(x)
            if len(x.shape) != 3 or x.shape[2] != width:
                raise ShapeError(f"{name} of shape ({first.format('T' if name == 'query' else 'S')}, {width})",
                                 f"{tuple(x.shape)}", "check the widths that the layer was built with, and add an axis "
                                 "of batch with x[None, ...] if there is none")
            ready[id(x)] = x if self.batch_first else xp.permute_dims(x, (1, 0, 2))
        query, key, value = ready[id(query)], ready[id(key)], ready[id(value)]
        if not query.shape[0] == key.shape[0] == value.shape[0] or key.shape[1] != value.shape[1]:
            raise ShapeError("query, key and value of one batch, key and value of one length",
                             f"{query.shape}, {key.shape} and {value.shape}, batch first", "match their axes")
        return query, key, value

    def _project(self, query: Any, key: Any, value: Any) -> list[Any]:
        """q, k and v by heads, in as few products as will do."""
        size = self.embed_dim
        weight: Any = self.in_proj_weight
        bias: Any = self.in_proj_bias
        biases = (None,) * 3 if bias is None else tuple(bias[i * size:(i + 1) * size] for i in range(3))
        if weight is None:
            weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        elif key is value:
            return [*self._heads(query, weight[:size, :], biases[0]),
                    *self._heads(key, weight[size:, :], None if bias is None else bias[size:])]
        else:
            weights = tuple(weight[i * size:(i + 1) * size, :] for i in range(3))
        return [part for x, w, b in zip((query, key, value), weights, biases) for part in self._heads(x, w, b)]

    def _heads(self, x: Any, weight: Any, bias: Any) -> list[Any]:
        """One or more maps of x, stacked by rows in weight, each as (B, H, T, D)."""
        return _parts(self._map(x, weight, bias))

    def _map(self, x: Any, weight: Any, bias: Any) -> Any:
        """As one array (B, T, maps, H, D)."""
        y = functional.linear(x, weight, bias, activation=None)
        shape = weight.shape[0] // self.embed_dim, self.num_heads, self.embed_dim // self.num_heads
        return array_namespace(y).reshape(y, (*x.shape[:2], *shape))

    def extra_repr(self) -> str:
        options = {"dropout": 0.0, "bias": True, "kdim": self.embed_dim, "vdim": self.embed_dim, "batch_first": True}
        changed = "".join(f", {name}={getattr(self, name)!r}" for name, default in options.items()
                          if getattr(self, name) != default)
        return f"{self.embed_dim}, {self.num_heads}{changed}"


def _parts(packed: Any) -> list[Any]:
    """The maps of an array (B, T, maps, H, D), each as (B, H, T, D)."""
    return [_swap(part) for part in array_namespace(packed).unstack(packed, axis=2)]


def _swap(x: Any) -> Any:
    return array_namespace(x).permute_dims(x, (0, 2, 1, 3))


def check_dropout(p: Any) -> float:
    """A dropout probability, if it is one."""
    if not isinstance(p, (int, float)):
        raise ArgumentError("a dropout probability from 0 to 1", repr(p), "pass a number")
    keep_threshold(p)
    return p
