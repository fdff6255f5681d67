"""Metrics are scikit-learn's, computed from logits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from portable_nn.backend.errors import ArgumentError, DataError, DTypeError, ShapeError
from portable_nn.training.metrics import labels_of, resolve, scores


def test_the_pinned_matrix() -> None:
    """[[427 73] [51 449]], by hand: accuracy .8760, precision .8602, recall .8980, F1 .8787."""
    truth = np.repeat([0, 0, 1, 1], [427, 73, 51, 449])
    logits = np.where(np.repeat([0, 1, 0, 1], [427, 73, 51, 449]) == 1, 0.7, -0.7)
    for prediction in (logits, logits[:, None], np.stack([-logits, logits], axis=1)):
        found = scores(prediction, truth)
        assert found["confusion_matrix"] == [[427, 73], [51, 449]]
        figures = [found[name] for name in ("accuracy", "precision", "recall", "f1")]
        np.testing.assert_allclose(figures, [876 / 1000, 449 / 522, 449 / 500, 2 * 449 / (522 + 500)], rtol=1e-15)
        assert [f"{figure:.4f}" for figure in figures] == ["0.8760", "0.8602", "0.8980", "0.8787"]


def test_many_classes_as_scikit_learn(rng: np.random.Generator) -> None:
    logits, truth = rng.normal(size=(200, 5)), rng.integers(0, 4, 200)  # one class never occurs
    found, guess = scores(logits, truth), logits.argmax(axis=1)
    options = {"average": "macro", "labels": range(5), "zero_division": 0}
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, guess))
    assert found["precision"] == pytest.approx(reference.precision_score(truth, guess, **options))
    assert found["recall"] == pytest.approx(reference.recall_score(truth, guess, **options))
    assert found["f1"] == pytest.approx(reference.f1_score(truth, guess, **options))
    assert found["confusion_matrix"] == reference.confusion_matrix(truth, guess, labels=range(5)).tolist()


def test_regression_as_scikit_learn(rng: np.random.Generator) -> None:
    prediction, target = rng.normal(size=(50, 3)), rng.normal(size=(50, 3))
    found = scores(prediction, target)
    assert found == pytest.approx({"mse": reference.mean_squared_error(target, prediction),
                                   "mae": reference.mean_absolute_error(target, prediction)})


def test_sequences_of_labels(rng: np.random.Generator) -> None:
    logits, truth = rng.normal(size=(6, 5, 3)), rng.integers(0, 3, (6, 5))
    assert scores(logits, truth, ["accuracy"])["accuracy"] == pytest.approx(np.mean(logits.argmax(-1) == truth))


def test_labels_of_one_logit() -> None:
    np.testing.assert_array_equal(labels_of(np.asarray([-1.0, 0.0, 2.0])), [0, 0, 1])
    np.testing.assert_array_equal(labels_of(np.asarray([[-1.0], [2.0]])), [0, 1])
    np.testing.assert_array_equal(labels_of(np.asarray([[[-1.0], [2.0]]])), [[0, 1]])


def test_functions_and_names() -> None:
    assert scores(np.zeros(3), np.ones(3), {"gap": lambda p, t: float(np.sum(t - p))}) == {"gap": 3.0}
    assert list(scores(np.zeros(3), np.ones(3), "mae")) == ["mae"]
    assert resolve(()) == {}


def test_bad_input() -> None:
    with pytest.raises(ArgumentError, match="metrics among"):
        resolve(["roc"])
    with pytest.raises(ArgumentError, match="metrics that are names or functions"):
        resolve({"gap": 3})  # type: ignore[dict-item]
    with pytest.raises(ShapeError, match=r"labels of shape \(3,\)"):
        scores(np.zeros((3, 2)), np.zeros((3, 2), dtype=int))
    with pytest.raises(ArgumentError, match="a list of names"):
        resolve(max)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"labels of shape \(2, 3\)"):
        scores(np.zeros((2, 3, 4)), np.zeros((3, 2), dtype=int), ["accuracy"])
    with pytest.raises(DataError, match="got labels 2"):
        scores(np.zeros(3), np.asarray([0, 1, 2]))
    with pytest.raises(DTypeError, match="targets that are numbers"):
        scores(np.zeros(3), np.asarray(["a", "b", "c"]))
    with pytest.raises(ShapeError, match="never broadcast"):
        scores(np.zeros((3, 1)), np.zeros(3))
