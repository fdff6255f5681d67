"""The rows of attention, Transformers and what goes with them; see tests/specs.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy import special

from portable_nn import layers
from portable_nn.backend.errors import ArgumentError, DTypeError, ShapeError
from portable_nn.backend.namespace import array_namespace
from tests.references import dropout, normal
from tests.references_attention import decoder_layer, encoder_layer, multihead, part, rms_norm, waves
from tests.specs import Bad, Case, Spec, elementwise

L = layers


class Masked(layers.Module):
    """A layer whose last inputs go by these names, with fixed options; several results become one array."""

    def __init__(self, inner: Any, *names: str, **options: Any) -> None:
        self.inner, self.names, self.options = inner, names, options

    def forward(self, *inputs: Any) -> Any:
        count = len(inputs) - len(self.names)
        out = self.inner(*inputs[:count], **dict(zip(self.names, inputs[count:])), **self.options)
        if not isinstance(out, tuple):
            return out
        xp = array_namespace(*out)
        return xp.concat([xp.reshape(y, (math.prod(y.shape),)) for y in out])


def inner(formula: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return lambda state, *inputs: formula(part(state, "inner."), *inputs, **options)


def with_masks(make: Callable[..., tuple], *masks: Any) -> Callable[..., tuple]:
    """Inputs, then masks: random ones of a shape, or given ones."""
    def inputs(rng: np.random.Generator) -> tuple:
        return (*make(rng), *(rng.random(m) < 0.5 if isinstance(m, tuple) else np.asarray(m, bool) for m in masks))
    return inputs


PADDING = [[False, False, True, True], [False, True, True, True], [True] * 4]  # the last row is nothing but padding
mha = partial(multihead, heads=2)


def swapped(formula: Callable[..., Any]) -> Callable[..., Any]:
    """The formula, batch first, of inputs with time first."""
    return lambda state, *x: formula(state, *(a.swapaxes(0, 1) for a in x)).swapaxes(0, 1)


MULTIHEAD = Spec(L.MultiheadAttention, [
    Case("self", lambda: L.MultiheadAttention(6, 2), normal((2, 4, 6)), mha),
    Case("memory", lambda: L.MultiheadAttention(6, 3), normal((2, 4, 6), (2, 5, 6)), partial(multihead, heads=3)),
    Case("three", lambda: L.MultiheadAttention(6, 1), normal((2, 4, 6), (2, 5, 6), (2, 5, 6)),
         partial(multihead, heads=1)),
    Case("widths", lambda: L.MultiheadAttention(6, 2, kdim=3, vdim=5), normal((2, 4, 6), (2, 5, 3), (2, 5, 5)), mha),
    Case("no bias", lambda: L.MultiheadAttention(6, 2, bias=False), normal((2, 4, 6)), mha),
    Case("no bias, memory", lambda: L.MultiheadAttention(6, 2, bias=False), normal((2, 4, 6), (2, 3, 6)), mha),
    Case("time first", lambda: L.MultiheadAttention(6, 2, batch_first=False), normal((4, 2, 6), (5, 2, 6)),
         swapped(mha)),
    Case("causal, weights", lambda: Masked(L.MultiheadAttention(6, 2), causal=True, return_weights=True),
         normal((2, 4, 6)), inner(mha, causal=True, with_weights=True)),
    Case("padding", lambda: Masked(L.MultiheadAttention(6, 2), "padding_mask"), with_masks(normal((3, 4, 6)), PADDING),
         lambda s, x, p: multihead(part(s, "inner."), x, hidden=p[:, None, None, :], heads=2)),
    Case("both masks", lambda: Masked(L.MultiheadAttention(6, 2), "mask", "padding_mask"),
         with_masks(normal((3, 4, 6)), (4, 4), PADDING),
         lambda s, x, m, p: multihead(part(s, "inner."), x, hidden=m | p[:, None, None, :], heads=2)),
    Case("mask by row", lambda: Masked(L.MultiheadAttention(6, 2), "mask"), with_masks(normal((3, 4, 6)), (3, 4, 4)),
         lambda s, x, m: multihead(part(s, "inner."), x, hidden=m[:, None], heads=2)),
    Case("dropout", lambda: L.MultiheadAttention(6, 2, dropout=0.4), normal((2, 4, 6)), partial(mha, dropout=0.4)),
    Case("one token", lambda: L.MultiheadAttention(6, 2), normal((1, 1, 6)), mha),
    Case("no rows", lambda: L.MultiheadAttention(6, 2), normal((0, 4, 6)), mha, False),
    Case("no keys", lambda: L.MultiheadAttention(6, 2), normal((2, 4, 6), (2, 0, 6)), mha, False),
], [
    Bad("heads", lambda a: L.MultiheadAttention(6, 4), ArgumentError, "num_heads divides"),
    Bad("no heads", lambda a: L.MultiheadAttention(6, 0), ArgumentError, "1 or more"),
    Bad("dropout", lambda a: L.MultiheadAttention(6, 2, dropout=2.0), ArgumentError, "0 to 1"),
    Bad("dropout text", lambda a: L.MultiheadAttention(6, 2, dropout="a"), ArgumentError, "0 to 1"),
    Bad("width", lambda a: L.MultiheadAttention(6, 2)(a(np.ones((2, 3, 5)))), ShapeError, "query of shape (B, T, 6)"),
    Bad("axes", lambda a: L.MultiheadAttention(6, 2)(a(np.ones((3, 6)))), ShapeError, "x[None, ...]"),
    Bad("batch", lambda a: L.MultiheadAttention(6, 2)(a(np.ones((2, 3, 6))), a(np.ones((1, 3, 6)))), ShapeError,
        "one batch"),
    Bad("lengths", lambda a: L.MultiheadAttention(6, 2)(*(a(np.ones((2, n, 6))) for n in (3, 4, 5))), ShapeError,
        "one length"),
    Bad("integers", lambda a: L.MultiheadAttention(6, 2)(a(np.ones((2, 3, 6), int))), DTypeError, "floating"),
    Bad("list", lambda a: L.MultiheadAttention(6, 2)([[[1.0] * 6]]), DTypeError, "array"),
    Bad("added mask", lambda a: L.MultiheadAttention(6, 2)(a(np.ones((2, 3, 6))), mask=a(np.zeros((3, 3)))),
        DTypeError, "mask < 0"),
    Bad("mask", lambda a: L.MultiheadAttention(6, 2)(a(np.ones((2, 3, 6))), mask=a(np.zeros((3, 4), bool))),
        ShapeError, "(3, 3)"),
    Bad("padding", lambda a: L.MultiheadAttention(6, 2)(a(np.ones((2, 3, 6))), padding_mask=a(np.zeros(3, bool))),
        ShapeError, "(2, 3)"),
])


def encoder(state: dict, *inputs: Any, count: int = 2, **options: Any) -> Any:
    x, *rest = inputs
    for i in range(count):
        x = encoder_layer(part(state, f"layers.{i}."), x, *rest, **options)
    return x


def decoder(state: dict, x: Any, memory: Any) -> Any:
    for i in range(2):
        x = decoder_layer(part(state, f"layers.{i}."), x, memory, heads=2, norm_first=False)
    return x


relu, gelu = lambda x: np.maximum(x, 0), lambda x: x * special.ndtr(x)
encode = partial(encoder_layer, heads=2, activation=relu, norm_first=False)
layer = partial(L.TransformerEncoderLayer, 6, 2, 8, 0.0)
decode = partial(decoder_layer, heads=2, norm_first=False)
other = partial(L.TransformerDecoderLayer, 6, 2, 8, 0.0)
TRANSFORMERS = [
    Spec(L.TransformerEncoderLayer, [
        Case("post-norm", layer, normal((2, 4, 6)), encode),
        Case("pre-norm", lambda: layer("gelu", norm_first=True), normal((2, 4, 6)),
             partial(encode, activation=gelu, norm_first=True)),
        Case("no bias", lambda: layer("tanh", bias=False), normal((2, 4, 6)), partial(encode, activation=np.tanh)),
        Case("time first", lambda: layer(batch_first=False), normal((4, 2, 6)), swapped(encode)),
        Case("causal", lambda: Masked(layer(), causal=True), normal((2, 4, 6)), inner(encode, causal=True)),
        Case("padding", lambda: Masked(layer(), "padding_mask"), with_masks(normal((3, 4, 6)), PADDING),
             lambda s, x, p: encode(part(s, "inner."), x, p[:, None, None, :])),
        Case("eval", lambda: L.TransformerEncoderLayer(6, 2, 8, 0.5).eval(), normal((2, 4, 6)), encode),
        Case("no rows", layer, normal((0, 4, 6)), encode, False),
    ], [
        Bad("activation", lambda a: layer("swish"), ArgumentError, "'relu'"),
        Bad("heads", lambda a: L.TransformerEncoderLayer(6, 4), ArgumentError, "num_heads divides"),
        Bad("width", lambda a: layer()(a(np.ones((2, 3, 5)))), ShapeError, "6"),
        Bad("hidden", lambda a: L.TransformerEncoderLayer(6, 2, -1), ArgumentError, "dim_feedforward"),
    ]),
    Spec(L.TransformerDecoderLayer, [
        Case("post-norm", other, normal((2, 4, 6), (2, 5, 6)), decode),
        Case("pre-norm", lambda: other(norm_first=True), normal((2, 4, 6), (2, 5, 6)),
             partial(decode, norm_first=True)),
        Case("time first", lambda: other(batch_first=False), normal((4, 2, 6), (5, 2, 6)), swapped(decode)),
        Case("causal", lambda: Masked(other(bias=False), causal=True), normal((2, 4, 6), (2, 5, 6)),
             inner(decode, causal=True)),
        Case("masks", lambda: Masked(other(), "mask", "memory_padding_mask"),
             with_masks(normal((3, 4, 6), (3, 4, 6)), (4, 4), PADDING),
             lambda s, x, memory, m, p: decode(part(s, "inner."), x, memory, m, p[:, None, None, :])),
    ], [
        Bad("activation", lambda a: other(3), ArgumentError, "activation"),
        Bad("memory", lambda a: other()(a(np.ones((2, 3, 6))), a(np.ones((2, 3, 5)))), ShapeError, "key of shape"),
    ]),
    Spec(L.TransformerEncoder, [
        Case("two", lambda: L.TransformerEncoder(layer(), 2), normal((2, 4, 6)),
             partial(encoder, heads=2, activation=relu, norm_first=False)),
        Case("norm", lambda: L.TransformerEncoder(layer("gelu", norm_first=True), 1, L.RMSNorm(6, 1e-6)),
             normal((2, 4, 6)), lambda s, x: rms_norm(1, 1e-6)(part(s, "norm."), encoder(
                 s, x, count=1, heads=2, activation=gelu, norm_first=True))),
        Case("padding", lambda: Masked(L.TransformerEncoder(layer(), 2), "padding_mask", causal=True),
             with_masks(normal((3, 4, 6)), PADDING), lambda s, x, p: encoder(
                 part(s, "inner."), x, p[:, None, None, :], heads=2, activation=relu, norm_first=False, causal=True)),
    ], [Bad("layer", lambda a: L.TransformerEncoder(6, 2), ArgumentError, "TransformerEncoderLayer"),
        Bad("count", lambda a: L.TransformerEncoder(layer(), -1), ArgumentError, "num_layers")]),
    Spec(L.TransformerDecoder, [
        Case("two", lambda: L.TransformerDecoder(other(), 2), normal((2, 4, 6), (2, 5, 6)), decoder),
        Case("norm", lambda: L.TransformerDecoder(other(), 1, L.RMSNorm(6, 1e-6)), normal((2, 4, 6), (2, 5, 6)),
             lambda s, x, m: rms_norm(1, 1e-6)(part(s, "norm."), decode(part(s, "layers.0."), x, m))),
    ], [Bad("count", lambda a: L.TransformerDecoder(other(), 1.5), ArgumentError, "num_layers")]),
]
POSITIONS = [
    Spec(L.PositionalEncoding, [
        Case("plain", lambda: L.PositionalEncoding(6), normal((2, 5, 6)), lambda s, x: x + waves(5, 6)),
        Case("odd", lambda: L.PositionalEncoding(5), normal((2, 4, 5)), lambda s, x: x + waves(4, 5)),
        Case("time first", lambda: L.PositionalEncoding(4, batch_first=False), normal((5, 2, 4)),
             lambda s, x: x + waves(5, 4)[:, None]),
        Case("dropout", lambda: L.PositionalEncoding(4, 0.3), normal((2, 5, 4)),
             lambda s, x: dropout(0.3)(s, x + waves(5, 4))),
        Case("no steps", lambda: L.PositionalEncoding(4), normal((2, 0, 4)), lambda s, x: x, False),
    ], [
        Bad("width", lambda a: L.PositionalEncoding(4)(a(np.ones((2, 3, 5)))), ShapeError, "(B, T, 4)"),
        Bad("dropout", lambda a: L.PositionalEncoding(4, 2), ArgumentError, "0 to 1"),
        Bad("integers", lambda a: L.PositionalEncoding(4)(a(np.ones((2, 3, 4), int))), DTypeError, "floating"),
        Bad("list", lambda a: L.PositionalEncoding(1)([[[1.0]]]), DTypeError, "array"),
    ]),
    Spec(L.LearnedPositions, [
        Case("plain", lambda: L.LearnedPositions(7, 4), normal((2, 5, 4)), lambda s, x: x + s["weight"][:5]),
        Case("all", lambda: L.LearnedPositions(5, 4), normal((2, 5, 4)), lambda s, x: x + s["weight"]),
        Case("time first", lambda: L.LearnedPositions(7, 4, batch_first=False), normal((5, 2, 4)),
             lambda s, x: x + s["weight"][:5, None]),
    ], [
        Bad("long", lambda a: L.LearnedPositions(2, 4)(a(np.ones((2, 3, 4)))), ShapeError, "at most 2 steps"),
        Bad("width", lambda a: L.LearnedPositions(5, 4)(a(np.ones((2, 3, 5)))), ShapeError, "(B, T, 4)"),
        Bad("rows", lambda a: L.LearnedPositions(-1, 4), ArgumentError, "max_length"),
    ]),
]


def along(axis: int, function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda state, x: function(x, axis=axis)


OTHERS = [
    elementwise(L.LeakyReLU, lambda x: np.where(x > 0, x, 0.01 * x)),
    elementwise(L.SiLU, lambda x: x * special.expit(x)),
    elementwise(L.Softplus, lambda x: np.log1p(np.exp(x))),
    *(Spec(kind, [
        Case("last", kind, normal((3, 4)), along(-1, function)),
        Case("first", lambda kind=kind: kind(0), normal((3, 4)), along(0, function)),
        Case("no rows", kind, normal((0, 4)), along(-1, function), False),
    ], [Bad("axis", lambda a, kind=kind: kind(2)(a(np.ones((3, 4)))), ArgumentError, "axis 2"),
        Bad("integers", lambda a, kind=kind: kind()(a([1, 2])), DTypeError, "floating"),
        Bad("list", lambda a, kind=kind: kind()([1.0]), DTypeError, "array")])
      for kind, function in ((L.Softmax, special.softmax), (L.LogSoftmax, special.log_softmax))),
    Spec(L.RMSNorm, [
        Case("eps", lambda: L.RMSNorm(4, eps=1e-3), normal((5, 4)), rms_norm(1, 1e-3)),
        Case("two axes", lambda: L.RMSNorm((3, 4), eps=1e-5), normal((5, 3, 4)), rms_norm(2, 1e-5)),
        Case("not affine", lambda: L.RMSNorm((3, 4), elementwise_affine=False), normal((5, 3, 4)), rms_norm(2)),
        Case("plain", lambda: L.RMSNorm(4), normal((5, 4)), rms_norm(1)),
    ], [
        Bad("features", lambda a: L.RMSNorm(4)(a(np.ones((5, 3)))), ShapeError, "normalized_shape"),
        Bad("plain", lambda a: L.RMSNorm(4, elementwise_affine=False)(a(np.ones((5, 3)))), ShapeError, "last axes"),
        Bad("size", lambda a: L.RMSNorm(0), ArgumentError, "1 or more"),
        Bad("none", lambda a: L.RMSNorm(()), ArgumentError, "at least one size"),
        Bad("eps", lambda a: L.RMSNorm(4, eps=-1.0), ArgumentError, "eps"),
    ]),
]
# Other slopes and constants than the defaults.
OTHERS[0].cases.append(Case("slope", lambda: L.LeakyReLU(0.3), normal((3, 4)),
                            lambda s, x: np.where(x > 0, x, 0.3 * x)))
OTHERS[2].cases.append(Case("beta", lambda: L.Softplus(2.0, 1.0), normal((3, 4)),
                            lambda s, x: np.where(2 * x > 1, x, np.log1p(np.exp(2 * x)) / 2)))
OTHERS[2].bad.append(Bad("beta", lambda a: L.Softplus(0.0), ArgumentError, "beta above 0"))
OTHERS[0].bad.append(Bad("slope", lambda a: L.LeakyReLU("a"), ArgumentError, "negative_slope"))
ATTENTION_LAYERS = [MULTIHEAD, *TRANSFORMERS, *POSITIONS, *OTHERS]
