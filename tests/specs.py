"""One row per public layer and loss; a row buys every check of tests/contracts.

A row names the class and holds cases (a constructor, inputs, and the formula once more in plain NumPy) and bad calls
with the exception that each must raise. `tests/contracts/test_layers.py` fails for a public layer without a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import special

from portable_nn import layers
from portable_nn.backend.errors import ArgumentError, DataError, DTypeError, ShapeError
from tests.references import bags, dropout, gelu_tanh, integers, layer_norm, linear, normal, ragged, ragged_rows


@dataclass(frozen=True)
class Case:
    """One configuration of a layer.

    Attributes
    ----------
    make : callable
        `make() -> Module`.
    inputs : callable
        `inputs(rng) -> tuple` of NumPy arrays, float64 or int64; the tests cast and place them.
    reference : callable
        `reference(state, *inputs) -> array`, from the state dict and inputs in float64.
    checks_gradient : bool
        False where the gradient is not that of the formula, on purpose.
    """

    id: str
    make: Callable[[], Any]
    inputs: Callable[[np.random.Generator], tuple]
    reference: Callable[..., Any]
    checks_gradient: bool = True


@dataclass(frozen=True)
class Bad:
    """A call that must raise: `call(asarray)` runs it, with `asarray(x, dtype=None)` of the backend under test."""

    id: str
    call: Callable[[Any], Any]
    error: type[Exception]
    words: str


@dataclass(frozen=True)
class Spec:
    """A public class, its cases and its bad calls."""

    kind: type
    cases: list[Case]
    bad: list[Bad] = field(default_factory=list)


class Listed(layers.Module):
    """A model over a ModuleList."""

    def __init__(self, width: int) -> None:
        self.steps = layers.ModuleList(layers.Linear(width, width) for _ in range(2))

    def forward(self, x: Any) -> Any:
        for step in self.steps:
            x = step(x)
        return x


class Named(layers.Module):
    """A model over a ModuleDict."""

    def __init__(self, width: int) -> None:
        self.heads = layers.ModuleDict({"first": layers.Linear(width, 2), "second": layers.Linear(width, 2)})

    def forward(self, x: Any) -> Any:
        return self.heads["first"](x) * self.heads["second"](x)


def elementwise(kind: type, formula: Callable[[Any], Any]) -> Spec:
    reference = lambda state, x: formula(x)  # noqa: E731
    return Spec(kind, [
        Case("plain", kind, normal((3, 4)), reference),
        Case("no rows", kind, normal((0, 4)), reference, False),
        Case("one", kind, normal(()), reference),
    ], [Bad("integers", lambda a: kind()(a([1, 2])), DTypeError, "floating"),
        Bad("list", lambda a: kind()([1.0, 2.0]), DTypeError, "array")])


L = layers
LAYERS = [
    Spec(L.Linear, [
        Case("plain", lambda: L.Linear(3, 4), normal((5, 3)), linear),
        Case("no bias", lambda: L.Linear(3, 4, bias=False), normal((5, 3)), linear),
        Case("one row", lambda: L.Linear(3, 4), normal((3,)), linear),
        Case("3-D", lambda: L.Linear(3, 4), normal((2, 5, 3)), linear),
        Case("no rows", lambda: L.Linear(3, 4), normal((0, 3)), linear, False),
    ], [
        Bad("features", lambda a: L.Linear(3, 4)(a(np.ones((5, 6)))), ShapeError, "in_features=6"),
        Bad("integers", lambda a: L.Linear(3, 4)(a(np.ones((5, 3), int))), DTypeError, "floating"),
        Bad("negative", lambda a: L.Linear(-3, 4), ArgumentError, "0 or more"),
        Bad("fraction", lambda a: L.Linear(3.0, 4), ArgumentError, "in_features as an integer"),
        Bad("text", lambda a: L.Linear(3, "4"), ArgumentError, "out_features as an integer"),
        Bad("list", lambda a: L.Linear(3, 4)([[1.0, 2.0, 3.0]]), DTypeError, "array"),
    ]),
    elementwise(L.ReLU, lambda x: np.maximum(x, 0)),
    elementwise(L.Sigmoid, special.expit),
    elementwise(L.Tanh, np.tanh),
    Spec(L.GELU, [
        Case("exact", L.GELU, normal((3, 4)), lambda s, x: x * special.ndtr(x)),
        Case("tanh", lambda: L.GELU(approximate="tanh"), normal((3, 4)), gelu_tanh),
    ], [Bad("approximate", lambda a: L.GELU(approximate="erf"), ArgumentError, '"none" or "tanh"')]),
    Spec(L.LayerNorm, [
        Case("plain", lambda: L.LayerNorm(4), normal((5, 4)), layer_norm(1)),
        Case("two axes", lambda: L.LayerNorm((3, 4), eps=1e-3), normal((5, 3, 4)), layer_norm(2, 1e-3)),
        Case("no bias", lambda: L.LayerNorm(4, bias=False), normal((5, 4)), layer_norm(1)),
        Case("not affine", lambda: L.LayerNorm((3, 4), elementwise_affine=False), normal((5, 3, 4)), layer_norm(2)),
    ], [
        Bad("features", lambda a: L.LayerNorm(4)(a(np.ones((5, 3)))), ShapeError, "normalized_shape"),
        Bad("plain", lambda a: L.LayerNorm(4, elementwise_affine=False)(a(np.ones((5, 3)))), ShapeError, "last axes"),
        Bad("size", lambda a: L.LayerNorm(0), ArgumentError, "1 or more"),
        Bad("sizes", lambda a: L.LayerNorm("ab"), ArgumentError, "normalized_shape"),
        Bad("none", lambda a: L.LayerNorm(()), ArgumentError, "at least one size"),
        Bad("eps", lambda a: L.LayerNorm(4, eps=-1.0), ArgumentError, "eps"),
        Bad("eps text", lambda a: L.LayerNorm(4, eps="small"), ArgumentError, "eps"),
    ]),
    Spec(L.Dropout, [
        Case("training", lambda: L.Dropout(0.3), normal((6, 5)), dropout(0.3)),
        Case("all", lambda: L.Dropout(1.0), normal((6, 5)), dropout(1.0)),
        Case("none", lambda: L.Dropout(0.0), normal((6, 5)), lambda s, x: x),
        Case("eval", lambda: L.Dropout(0.3).eval(), normal((6, 5)), lambda s, x: x),
    ], [
        Bad("p", lambda a: L.Dropout(1.5), ArgumentError, "0 to 1"),
        Bad("text", lambda a: L.Dropout("0.5"), ArgumentError, "0 to 1"),
        Bad("integers", lambda a: L.Dropout()(a([1, 2])), DTypeError, "floating"),
    ]),
    Spec(L.Embedding, [
        Case("plain", lambda: L.Embedding(5, 3), integers(5, (2, 4)), lambda s, i: s["weight"][i]),
        Case("one", lambda: L.Embedding(5, 3), integers(5, ()), lambda s, i: s["weight"][i]),
        Case("none", lambda: L.Embedding(5, 3), integers(5, (0,)), lambda s, i: s["weight"][i], False),
        Case("padding", lambda: L.Embedding(5, 3, padding_idx=-4), integers(5, (2, 4)),
             lambda s, i: np.where(i[..., None] == 1, 0.0, s["weight"][i]), False),
    ], [
        Bad("range", lambda a: L.Embedding(5, 3)(a([0, 5])), DataError, "5"),
        Bad("negative", lambda a: L.Embedding(5, 3)(a([-1, 0])), DataError, "-1"),
        Bad("floats", lambda a: L.Embedding(5, 3)(a([0.0, 1.0])), DTypeError, "integer"),
        Bad("rows", lambda a: L.Embedding(5.0, 3), ArgumentError, "num_embeddings"),
        Bad("list", lambda a: L.Embedding(5, 3)([1, 2]), DTypeError, "array"),
        Bad("padding", lambda a: L.Embedding(5, 3, padding_idx=5), ArgumentError, "padding_idx"),
        Bad("no input", lambda a: L.Embedding(5, 3)(None), DTypeError, "at least one array"),
    ]),
    Spec(L.EmbeddingBag, [
        Case("mean", lambda: L.EmbeddingBag(5, 3), ragged, lambda s, i, o: bags(s, i, o, None, "mean")),
        Case("sum", lambda: L.EmbeddingBag(5, 3, mode="sum"), ragged, lambda s, i, o: bags(s, i, o, None, "sum")),
        Case("rows", lambda: L.EmbeddingBag(5, 3, mode="sum"), ragged_rows, lambda s, r: bags(s, *r, "sum")),
        Case("equal", lambda: L.EmbeddingBag(5, 3), integers(5, (4, 2)), lambda s, i: s["weight"][i].mean(axis=1)),
        Case("empty bags", lambda: L.EmbeddingBag(5, 3), integers(5, (4, 0)), lambda s, i: np.zeros((4, 3)), False),
    ], [
        Bad("mode", lambda a: L.EmbeddingBag(5, 3, mode="max"), ArgumentError, '"mean" or "sum"'),
        Bad("columns", lambda a: L.EmbeddingBag(5, None), ArgumentError, "embedding_dim"),
        Bad("list", lambda a: L.EmbeddingBag(5, 3)([[1, 2]]), DTypeError, "array"),
        Bad("offsets", lambda a: L.EmbeddingBag(5, 3)(a([0, 1])), ArgumentError, "offsets"),
        Bad("both", lambda a: L.EmbeddingBag(5, 3)(a([[0, 1]]), a([0])), ArgumentError, "offsets"),
        Bad("range", lambda a: L.EmbeddingBag(5, 3)(a([0, 7]), a([0])), DataError, "7"),
        Bad("bags", lambda a: L.EmbeddingBag(5, 3)(a([0, 1]), a([1])), DataError, "offsets"),
        Bad("weights", lambda a: L.EmbeddingBag(5, 3)(a([[0, 1]]), None, a(np.ones(2))), ShapeError, "weight"),
    ]),
    Spec(L.Flatten, [
        Case("plain", L.Flatten, normal((2, 3, 4)), lambda s, x: x.reshape(2, 12)),
        Case("some", lambda: L.Flatten(0, -2), normal((2, 3, 4)), lambda s, x: x.reshape(6, 4)),
        Case("no rows", L.Flatten, normal((0, 3, 4)), lambda s, x: x.reshape(0, 12), False),
    ], [Bad("axes", lambda a: L.Flatten()(a(np.ones(3))), ShapeError, "axes"),
        Bad("names", lambda a: L.Flatten("first"), ArgumentError, "as integers"),
        Bad("list", lambda a: L.Flatten()([1.0]), DTypeError, "array")]),
    Spec(L.Sequential, [
        Case("mlp", lambda: L.Sequential(L.Linear(3, 4), L.Tanh(), L.Linear(4, 2)), normal((5, 3)),
             lambda s, x: linear(s, np.tanh(linear(s, x, "0.")), "2.")),
        Case("empty", L.Sequential, normal((5, 3)), lambda s, x: x),
    ], [
        Bad("class", lambda a: L.Sequential(L.Linear(3, 4), L.ReLU), ArgumentError, "ReLU()"),
        Bad("list", lambda a: L.Sequential([L.Linear(3, 4)]), ArgumentError, "*modules"),
    ]),
    Spec(L.ModuleList, [Case("two", lambda: Listed(3), normal((5, 3)),
                             lambda s, x: linear(s, linear(s, x, "steps.0."), "steps.1."))],
         [Bad("none", lambda a: L.ModuleList([None]), ArgumentError, "Module")]),
    Spec(L.ModuleDict, [Case("two", lambda: Named(3), normal((5, 3)),
                             lambda s, x: linear(s, x, "heads.first.") * linear(s, x, "heads.second."))],
         [Bad("taken", lambda a: L.ModuleDict({"items": L.ReLU()}), ArgumentError, "another name"),
          Bad("dots", lambda a: L.ModuleDict({"a.b": L.ReLU()}), ArgumentError, "dots")]),
]
