"""The rows of the losses; see `tests/specs.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn import layers as L
from portable_nn.backend.errors import ArgumentError, DataError, DTypeError, ShapeError
from tests.references import bce, cross_entropy, half_mse, labelled, mse, normal, shares, yes_or_no
from tests.references_losses import (
    classes,
    elementwise,
    half_rows,
    huber,
    ignoring,
    log_probabilities,
    pinball,
    positive,
    probabilities,
    sure,
)
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
        Bad("reduction", lambda a: loss(reduction="average"), ArgumentError, '"mean" or "sum"'),
    ]


def _labels(loss: type) -> list[Bad]:
    """What every loss of integer labels refuses."""
    return [
        Bad("range", lambda a: loss()(a(np.ones((2, 3))), a([0, 3])), DataError, "3"),
        Bad("negative", lambda a: loss()(a(np.ones((2, 3))), a([0, -1])), DataError, "-1"),
        Bad("floats", lambda a: loss()(a(np.ones((2, 3))), a([0.0, 1.0])), DTypeError, "integer"),
        Bad("list", lambda a: loss()(a(np.ones((1, 3))), [1]), DTypeError, "array"),
        Bad("column", lambda a: loss()(a(np.ones((2, 3))), a([[0], [1]])), ShapeError, "label"),
        Bad("one logit", lambda a: loss()(a(np.ones(2)), a([0, 1])), ShapeError, "BCEWithLogitsLoss"),
        Bad("no rows", lambda a: loss()(a(np.ones((0, 3))), a(np.ones(0, int))), DataError, "row"),
        Bad("weights", lambda a: loss()(a(np.ones((2, 3))), a([0, 1]), a(np.ones((2, 1)))), ShapeError,
            "sample_weight"),
        Bad("classes", lambda a: loss(weight=[1.0, 2.0])(a(np.ones((2, 3))), a([0, 1])), ShapeError, "each class"),
        Bad("below 0", lambda a: loss(weight=[1.0, -2.0]), ArgumentError, "0 or more"),
        Bad("one weight", lambda a: loss(weight=2.0), ArgumentError, "list of numbers"),
        Bad("ignored", lambda a: loss(ignore_index=1.5), ArgumentError, "ignore_index"),
        Bad("reduction", lambda a: loss(reduction="average"), ArgumentError, '"mean" or "sum"'),
    ]


def _reductions(loss: type, inputs: Any, losses: Any, **options: Any) -> list[Case]:
    """Rows for each reduction; `inputs` may hold sample weights."""
    return [Case(f"{reduction}", lambda reduction=reduction: loss(reduction=reduction, **options), inputs,
                 elementwise(losses, reduction)) for reduction in ("none", "sum")]


WEIGHTS = [0.5, 2.0, 1.0, 0.25]
LOSSES = [
    Spec(L.CrossEntropyLoss, [
        Case("plain", L.CrossEntropyLoss, labelled(5), cross_entropy),
        Case("weighted", L.CrossEntropyLoss, labelled(5, weights=True), cross_entropy),
        Case("sequences", L.CrossEntropyLoss, labelled(5, 3, weights=True), cross_entropy),
        Case("one class", L.CrossEntropyLoss, labelled(2, high=1), cross_entropy),
        Case("classes", lambda: L.CrossEntropyLoss(weight=WEIGHTS), labelled(5, weights=True), classes()),
        Case("smooth", lambda: L.CrossEntropyLoss(label_smoothing=0.2), labelled(5, 2), classes(smoothing=0.2)),
        Case("ignored", lambda: L.CrossEntropyLoss(), ignoring(-100), classes()),
        Case("all", lambda: L.CrossEntropyLoss(np.asarray(WEIGHTS), 1, "mean", 0.3), ignoring(1, weights=True),
             classes(ignored=1, smoothing=0.3)),
        Case("none", lambda: L.CrossEntropyLoss(WEIGHTS, 1, "none", 0.3), ignoring(1, weights=True),
             classes(ignored=1, smoothing=0.3, reduction="none")),
        Case("sum", lambda: L.CrossEntropyLoss(WEIGHTS, 1, "sum"), ignoring(1), classes(ignored=1, reduction="sum")),
        Case("nothing ignored", lambda: L.CrossEntropyLoss(ignore_index=None), labelled(5), cross_entropy),
    ], [*_labels(L.CrossEntropyLoss),
        Bad("smoothing", lambda a: L.CrossEntropyLoss(label_smoothing=1.5), ArgumentError, "label_smoothing"),
        Bad("no ignoring", lambda a: L.CrossEntropyLoss(ignore_index=None)(a(np.ones((2, 3))), a([0, -100])), DataError,
            "-100")]),
    Spec(L.NLLLoss, [
        Case("plain", L.NLLLoss, log_probabilities(5), classes(logits=False)),
        Case("classes", lambda: L.NLLLoss(weight=WEIGHTS), log_probabilities(5, 2, weights=True),
             classes(logits=False)),
        Case("ignored", lambda: L.NLLLoss(ignore_index=2), log_probabilities(6, weights=True),
             classes(ignored=2, logits=False)),
        Case("none", lambda: L.NLLLoss(WEIGHTS, 1, "none"), log_probabilities(6),
             classes(ignored=1, reduction="none", logits=False)),
        Case("sum", lambda: L.NLLLoss(reduction="sum"), log_probabilities(6), classes(reduction="sum", logits=False)),
    ], _labels(L.NLLLoss)),
    Spec(L.BCEWithLogitsLoss, [
        Case("plain", L.BCEWithLogitsLoss, shares((5,)), bce),
        Case("several", L.BCEWithLogitsLoss, shares((5, 3), weights=True), bce),
        Case("labels", L.BCEWithLogitsLoss, yes_or_no, bce),
        Case("positive", lambda: L.BCEWithLogitsLoss(pos_weight=[2.0, 0.5, 1.0]), shares((5, 3), weights=True),
             elementwise(positive)),
        Case("one positive", lambda: L.BCEWithLogitsLoss(pos_weight=[3.0]), yes_or_no, elementwise(positive)),
        *_reductions(L.BCEWithLogitsLoss, shares((5, 3), weights=True), positive),
    ], [
        *_common(L.BCEWithLogitsLoss),
        Bad("positive", lambda a: L.BCEWithLogitsLoss(pos_weight=[1.0, 2.0])(a(np.ones((2, 3))), a(np.ones((2, 3)))),
            ShapeError, "pos_weight"),
        Bad("signs", lambda a: L.BCEWithLogitsLoss()(a(np.ones(2)), a([-1, 1])), DataError, "0 and 1"),
        Bad("nan", lambda a: L.BCEWithLogitsLoss()(a(np.ones(2)), a([0.0, np.nan])), DataError, "nan"),
    ]),
    Spec(L.MSELoss, [
        Case("plain", L.MSELoss, normal((5, 3), (5, 3)), mse),
        Case("weighted", L.MSELoss, shares((5, 3), weights=True), mse),
        Case("vector", L.MSELoss, normal((5,), (5,)), mse),
        *_reductions(L.MSELoss, shares((5, 3), weights=True), lambda s, p, t: (p - t) ** 2),
    ], [*_common(L.MSELoss), Bad("integers", lambda a: L.MSELoss()(a(np.ones(2)), a([1, 2])), DTypeError, "dtype")]),
    Spec(L.HalfMSELoss, [
        Case("plain", L.HalfMSELoss, normal((5, 3), (5, 3)), half_mse),
        Case("weighted", L.HalfMSELoss, shares((5, 3), weights=True), half_mse),
        Case("vector", L.HalfMSELoss, normal((5,), (5,)), half_mse),
        *_reductions(L.HalfMSELoss, shares((5, 3), weights=True), half_rows),
    ], _common(L.HalfMSELoss)),
    Spec(L.BCELoss, [
        Case("plain", L.BCELoss, probabilities((5,)), elementwise(sure)),
        Case("several", L.BCELoss, probabilities((5, 3), weights=True), elementwise(sure)),
        *_reductions(L.BCELoss, probabilities((5, 3), weights=True), sure),
    ], [
        *_common(L.BCELoss),
        Bad("signs", lambda a: L.BCELoss()(a([0.5, 0.5]), a([-1, 1])), DataError, "0 and 1"),
        Bad("logits", lambda a: L.BCELoss()(a([0.5, 1.5]), a([0, 1])), DataError, "BCEWithLogitsLoss"),
        Bad("nan", lambda a: L.BCELoss()(a([0.5, np.nan]), a([0, 1])), DataError, "nan"),
    ]),
    Spec(L.L1Loss, [
        Case("plain", L.L1Loss, normal((5, 3), (5, 3)), elementwise(lambda s, p, t: abs(p - t))),
        Case("weighted", L.L1Loss, shares((5, 3), weights=True), elementwise(lambda s, p, t: abs(p - t))),
        *_reductions(L.L1Loss, shares((5,), weights=True), lambda s, p, t: abs(p - t)),
    ], _common(L.L1Loss)),
    Spec(L.HuberLoss, [
        Case("plain", L.HuberLoss, normal((5, 3), (5, 3)), elementwise(huber(1.0))),
        Case("weighted", lambda: L.HuberLoss(delta=0.5), shares((5, 3), weights=True), elementwise(huber(0.5))),
        *_reductions(L.HuberLoss, shares((5,), weights=True), huber(2.0), delta=2.0),
    ], [*_common(L.HuberLoss), Bad("delta", lambda a: L.HuberLoss(delta=0.0), ArgumentError, "delta")]),
    Spec(L.QuantileLoss, [
        Case("plain", L.QuantileLoss, normal((5, 3), (5, 3)), elementwise(pinball(0.5))),
        Case("weighted", lambda: L.QuantileLoss(0.9), shares((5, 3), weights=True), elementwise(pinball(0.9))),
        Case("several", lambda: L.QuantileLoss([0.1, 0.5, 0.7]), normal((5, 2, 3), (5, 2)),
             elementwise(pinball([0.1, 0.5, 0.7]))),
        *_reductions(L.QuantileLoss, shares((5,), weights=True), pinball(0.2), quantile=0.2),
    ], [*_common(L.QuantileLoss),
        Bad("quantile", lambda a: L.QuantileLoss(1.0), ArgumentError, "between 0 and 1"),
        Bad("none", lambda a: L.QuantileLoss([]), ArgumentError, "between 0 and 1"),
        Bad("columns", lambda a: L.QuantileLoss([0.1, 0.9])(a(np.ones((5, 3))), a(np.ones(5))), ShapeError, "column")]),
]
