"""The Transformer's decoder: attention to itself, attention to a memory, and a feed-forward net."""

from __future__ import annotations

from typing import Any

from portable_nn.layers.attention import MultiheadAttention
from portable_nn.layers.dropout import Dropout, add_dropped
from portable_nn.layers.linear import Linear
from portable_nn.layers.module import Module
from portable_nn.layers.normalization import LayerNorm
from portable_nn.layers.storage import check_size
from portable_nn.layers.transformer_encoder import check_activation, copies


class TransformerDecoderLayer(Module):
    """x ← norm1(x + attention(x)), x ← norm2(x + attention(x, memory)), x ← norm3(x + W₂ f(W₁ x + b₁) + b₂); with
    `norm_first` each norm stands before what is added to x.

    Shape
    -----
    x (B, T, d_model), memory (B, S, d_model) -> (B, T, d_model); the first two axes exchanged with `batch_first=False`

    Parameters
    ----------
    d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias
        As in `TransformerEncoderLayer`.

    Attributes
    ----------
    self_attn, multihead_attn : MultiheadAttention
        To itself and to the memory.
    linear1, linear2 : Linear
    norm1, norm2, norm3 : LayerNorm
    dropout, dropout1, dropout2, dropout3 : Dropout

    References
    ----------
    A. Vaswani et al., "Attention is all you need", 2017, section 3; names as PyTorch's.

    Examples
    --------
    >>> import numpy as np
    >>> layer = TransformerDecoderLayer(8, nhead=2, dim_feedforward=16)
    >>> x, memory = np.ones((3, 5, 8), dtype=np.float32), np.ones((3, 7, 8), dtype=np.float32)
    >>> layer(x, memory, causal=True).shape
    (3, 5, 8)
    """

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: str = "relu", layer_norm_eps: float = 1e-5, batch_first: bool = True,
                 norm_first: bool = False, bias: bool = True) -> None:
        self.activation, self.norm_first = check_activation(activation), norm_first
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first)
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first)
        self.linear1 = Linear(d_model, check_size("dim_feedforward", dim_feedforward), bias)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias)
        self.norm1, self.norm2, self.norm3 = (LayerNorm(d_model, layer_norm_eps, bias=bias) for _ in range(3))
        self.dropout1, self.dropout2, self.dropout3 = (Dropout(dropout) for _ in range(3))

    def forward(self, x: Any, memory: Any, *, padding_mask: Any = None, mask: Any = None, causal: bool = False,
                memory_padding_mask: Any = None, memory_mask: Any = None) -> Any:
        """Masks of x and of the memory as `MultiheadAttention` takes them: True where a key is hidden, or lengths."""
        own = {"padding_mask": padding_mask, "mask": mask, "causal": causal}
        other = {"padding_mask": memory_padding_mask, "mask": memory_mask}
        if self.norm_first:
            x, h = self.norm1.after(x)
            x, h = self.norm2.after(x, self.self_attn(h, **own), self.dropout1)
            x, h = self.norm3.after(x, self.multihead_attn(h, memory, **other), self.dropout2)
            return add_dropped(x, self._feed_forward(h), self.dropout3)
        x = self.norm1(x, self.self_attn(x, **own), self.dropout1)
        x = self.norm2(x, self.multihead_attn(x, memory, **other), self.dropout2)
        return self.norm3(x, self._feed_forward(x), self.dropout3)

    def _feed_forward(self, x: Any) -> Any:
        return self.linear2(self.linear1(x, activation=self.activation, dropout=self.dropout))

    def extra_repr(self) -> str:
        return f"activation={self.activation!r}, norm_first={self.norm_first}"


class TransformerDecoder(Module):
    """Decoder layers, one after the other, each with the same memory, and a norm at the end if given.

    Shape
    -----
    as the layer's

    Parameters
    ----------
    decoder_layer : TransformerDecoderLayer
        Of which copies are made. If it has no values yet, each copy draws its own.
    num_layers : int
    norm : Module, optional

    Attributes
    ----------
    layers : ModuleList
    norm : Module or None

    Examples
    --------
    >>> import numpy as np
    >>> decoder = TransformerDecoder(TransformerDecoderLayer(8, 2, 16), 2)
    >>> x = np.ones((3, 5, 8), dtype=np.float32)
    >>> decoder(x, x, causal=True).shape
    (3, 5, 8)
    """

    def __init__(self, decoder_layer: Any, num_layers: int, norm: Any = None) -> None:
        self.layers = copies(decoder_layer, num_layers)
        self.norm = norm

    def forward(self, x: Any, memory: Any, **masks: Any) -> Any:
        """Masks as `TransformerDecoderLayer` takes them."""
        for layer in self.layers:
            x = layer(x, memory, **masks)
        return x if self.norm is None else self.norm(x)
