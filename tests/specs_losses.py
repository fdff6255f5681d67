"""The rows of the losses; see `tests/specs.py`."""

from __future__ import annotations

import numpy as np

from portable_nn import layers as L
from portable_nn.backend.errors import DataError, DTypeError, ShapeError
from tests.references import bce, cross_entropy, half_mse, labelled, mse, normal, shares, yes_or_no
from tests.specs import Bad, Case, Spec


def _common(loss: type) -> list[Bad]:
    """What every loss of two equal shapes refuses."""
    return [
        Bad("n by n", lambda a: loss()(a(np.ones((5, 1))), a(np.ones(5))), ShapeError, "one shape"),
        Bad("no rows", lambda a: loss()(a(np.ones((0, 2))), a(np.ones((0, 2)))), DataError, "at least one row"),
        Bad("list", lambda a: loss()([1.0], a(np.ones(1))), DTypeError, "array"),
        Bad("scalar", lambda a: loss()(a(1.0), a(1.0)), DataError, "row"),
        Bad("weights", lambda a: loss()(a(np.ones((5, 2))), a(np.ones((5, 2))), a(np.ones(4))), ShapeError, "(5,)"),
        Bad("weight", lambda a: loss()(a(np.ones((5, 2))), a(np.ones((5, 2))), a(1.0)), ShapeError, "each row"),
    ]


LOSSES = [
    Spec(L.CrossEntropyLoss, [
        Case("plain", L.CrossEntropyLoss, labelled(5), cross_entropy),
        Case("weighted", L.CrossEntropyLoss, labelled(5, weights=True), cross_entropy),
        Case("sequences", L.CrossEntropyLoss, labelled(5, 3, weights=True), cross_entropy),
        Case("one class", L.CrossEntropyLoss, labelled(2, high=1), cross_entropy),
    ], [
        Bad("range", lambda a: L.CrossEntropyLoss()(a(np.ones((2, 3))), a([0, 3])), DataError, "3"),
        Bad("negative", lambda a: L.CrossEntropyLoss()(a(np.ones((2, 3))), a([0, -1])), DataError, "-1"),
        Bad("floats", lambda a: L.CrossEntropyLoss()(a(np.ones((2, 3))), a([0.0, 1.0])), DTypeError, "integer"),
        Bad("list", lambda a: L.CrossEntropyLoss()(a(np.ones((1, 3))), [1]), DTypeError, "array"),
        Bad("column", lambda a: L.CrossEntropyLoss()(a(np.ones((2, 3))), a([[0], [1]])), ShapeError, "label"),
        Bad("one logit", lambda a: L.CrossEntropyLoss()(a(np.ones(2)), a([0, 1])), ShapeError, "BCEWithLogitsLoss"),
        Bad("no rows", lambda a: L.CrossEntropyLoss()(a(np.ones((0, 3))), a(np.ones(0, int))), DataError, "row"),
        Bad("weights", lambda a: L.CrossEntropyLoss()(a(np.ones((2, 3))), a([0, 1]), a(np.ones((2, 1)))),
            ShapeError, "sample_weight"),
    ]),
    Spec(L.BCEWithLogitsLoss, [
        Case("plain", L.BCEWithLogitsLoss, shares((5,)), bce),
        Case("several", L.BCEWithLogitsLoss, shares((5, 3), weights=True), bce),
        Case("labels", L.BCEWithLogitsLoss, yes_or_no, bce),
    ], [
        *_common(L.BCEWithLogitsLoss),
        Bad("signs", lambda a: L.BCEWithLogitsLoss()(a(np.ones(2)), a([-1, 1])), DataError, "0 and 1"),
        Bad("nan", lambda a: L.BCEWithLogitsLoss()(a(np.ones(2)), a([0.0, np.nan])), DataError, "nan"),
    ]),
    Spec(L.MSELoss, [
        Case("plain", L.MSELoss, normal((5, 3), (5, 3)), mse),
        Case("weighted", L.MSELoss, shares((5, 3), weights=True), mse),
        Case("vector", L.MSELoss, normal((5,), (5,)), mse),
    ], [*_common(L.MSELoss), Bad("integers", lambda a: L.MSELoss()(a(np.ones(2)), a([1, 2])), DTypeError, "dtype")]),
    Spec(L.HalfMSELoss, [
        Case("plain", L.HalfMSELoss, normal((5, 3), (5, 3)), half_mse),
        Case("weighted", L.HalfMSELoss, shares((5, 3), weights=True), half_mse),
        Case("vector", L.HalfMSELoss, normal((5,), (5,)), half_mse),
    ], _common(L.HalfMSELoss)),
]
