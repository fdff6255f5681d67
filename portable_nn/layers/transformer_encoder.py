"""The Transformer's encoder: attention and a feed-forward net, each with a residual connection and a norm."""

from __future__ import annotations

import copy
from typing import Any

from portable_nn.backend.errors import ArgumentError
from portable_nn.layers.attention import MultiheadAttention
from portable_nn.layers.containers import ModuleList
from portable_nn.layers.dropout import Dropout, add_dropped
from portable_nn.layers.linear import Linear
from portable_nn.layers.module import Module
from portable_nn.layers.normalization import LayerNorm
from portable_nn.layers.storage import check_size

ACTIVATIONS = ("relu", "gelu", "tanh", "sigmoid")


class TransformerEncoderLayer(Module):
    """x ← norm1(x + attention(x)), x ← norm2(x + W₂ f(W₁ x + b₁) + b₂); with `norm_first` x ← x + attention(norm1(x)),
    x ← x + W₂ f(W₁ norm2(x) + b₁) + b₂.

    With `causal=True` it is the layer of a language model that reads from left to right.

    Shape
    -----
    (B, T, d_model) -> the same; (T, B, d_model) with `batch_first=False`

    Parameters
    ----------
    d_model, nhead : int
        The width, and the number of heads, which divides it.
    dim_feedforward : int
        The width between W₁ and W₂.
    dropout : float
        The share dropped, in training mode, of the attention's weights, of f's results and of what is added to x.
    activation : "relu", "gelu", "tanh" or "sigmoid"
        f.
    layer_norm_eps : float
    batch_first : bool
        False for PyTorch's default layout, time before batch.
    norm_first : bool
        Whether norms stand before what is added to x (pre-norm, which trains without warm-up) or after the sum.
    bias : bool
        Whether linear maps and norms have one.

    Attributes
    ----------
    self_attn : MultiheadAttention
    linear1, linear2 : Linear
    norm1, norm2 : LayerNorm
    dropout, dropout1, dropout2 : Dropout

    References
    ----------
    A. Vaswani et al., "Attention is all you need", 2017, section 3; R. Xiong et al., "On layer normalization in the
    Transformer architecture", 2020, for `norm_first`; names as PyTorch's.

    Examples
    --------
    >>> import numpy as np
    >>> TransformerEncoderLayer(8, nhead=2, dim_feedforward=16)(np.ones((3, 5, 8), dtype=np.float32)).shape
    (3, 5, 8)
    """

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: str = "relu", layer_norm_eps: float = 1e-5, batch_first: bool = True,
                 norm_first: bool = False, bias: bool = True) -> None:
        self.activation, self.norm_first = check_activation(activation), norm_first
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first)
        self.linear1 = Linear(d_model, check_size("dim_feedforward", dim_feedforward), bias)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias)
        self.norm1, self.norm2 = (LayerNorm(d_model, layer_norm_eps, bias=bias) for _ in range(2))
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)

    def forward(self, x: Any, *, padding_mask: Any = None, mask: Any = None, causal: bool = False) -> Any:
        """Masks as `MultiheadAttention` takes them: True where a key is hidden, or lengths."""
        masks = {"padding_mask": padding_mask, "mask": mask, "causal": causal}
        if self.norm_first:
            x, h = self.norm1.after(x)
            x, h = self.norm2.after(x, self.self_attn(h, **masks), self.dropout1)
            return add_dropped(x, self._feed_forward(h), self.dropout2)
        x = self.norm1(x, self.self_attn(x, **masks), self.dropout1)
        return self.norm2(x, self._feed_forward(x), self.dropout2)

    def _feed_forward(self, x: Any) -> Any:
        return self.linear2(self.linear1(x, activation=self.activation, dropout=self.dropout))

    def extra_repr(self) -> str:
        return f"activation={self.activation!r}, norm_first={self.norm_first}"


class TransformerEncoder(Module):
    """Encoder layers, one after the other, and a norm at the end if given.

    Shape
    -----
    as the layer's

    Parameters
    ----------
    encoder_layer : TransformerEncoderLayer
        Of which copies are made. If it has no values yet, each copy draws its own.
    num_layers : int
    norm : Module, optional
        Such as LayerNorm(d_model): with `norm_first` nothing else normalises the result.

    Attributes
    ----------
    layers : ModuleList
    norm : Module or None

    Examples
    --------
    >>> import numpy as np
    >>> encoder = TransformerEncoder(TransformerEncoderLayer(8, 2, 16, norm_first=True), 2, norm=LayerNorm(8))
    >>> encoder(np.ones((3, 5, 8), dtype=np.float32), causal=True).shape
    (3, 5, 8)
    """

    def __init__(self, encoder_layer: Any, num_layers: int, norm: Any = None) -> None:
        self.layers = copies(encoder_layer, num_layers)
        self.norm = norm

    def forward(self, x: Any, *, padding_mask: Any = None, mask: Any = None, causal: bool = False) -> Any:
        """Masks as `MultiheadAttention` takes them: True where a key is hidden, or lengths."""
        for layer in self.layers:
            x = layer(x, padding_mask=padding_mask, mask=mask, causal=causal)
        return x if self.norm is None else self.norm(x)


def copies(layer: Any, count: int) -> ModuleList:
    """As many copies of a layer as there shall be."""
    if not isinstance(layer, Module):
        raise ArgumentError("a layer to make copies of", f"{type(layer).__name__} {layer!r:.40}",
                            "pass a module, such as TransformerEncoderLayer(64, 4)")
    return ModuleList(copy.deepcopy(layer) for _ in range(check_size("num_layers", count)))


def check_activation(name: Any) -> str:
    """The name of an activation that `functional.linear` computes with its product."""
    if name not in ACTIVATIONS:
        raise ArgumentError(f"an activation among {', '.join(map(repr, ACTIVATIONS))}", repr(name), "pass one of them")
    return name
