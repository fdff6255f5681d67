"""Scores by name, computed by scikit-learn from predictions and targets on the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from portable_nn.backend.errors import ArgumentError, DataError, DTypeError, ShapeError
from portable_nn.functional.checks import check_range

Metric = Callable[[np.ndarray, np.ndarray], Any]
CLASSIFICATION = ("accuracy", "precision", "recall", "f1", "confusion_matrix")
REGRESSION = ("mse", "mae")


def labels_of(logits: np.ndarray) -> np.ndarray:
    """The predicted classes: the largest of several logits in the last axis, the sign of a single one."""
    if logits.ndim < 2 or logits.shape[-1] == 1:
        return ((logits if logits.ndim < 2 else logits[..., 0]) > 0).astype(np.int64)
    return np.argmax(logits, axis=-1)


def scores(prediction: np.ndarray, target: np.ndarray, metrics: Any = None) -> dict[str, Any]:
    """Compute metrics.

    Parameters
    ----------
    prediction : (N, …)
        Model outputs: logits for classes.
    target : (N, …)
        Integer labels, or values.
    metrics : names, or a dict of name to `function(prediction, target)`, optional
        By default accuracy, precision, recall, f1 and the confusion matrix (rows are true classes) for integer targets,
        mse and mae for others. With more than two classes, precision, recall and f1 are averaged over the classes.

    Raises
    ------
    ShapeError, DTypeError, DataError
        The targets do not fit the predictions, are no numbers, or are no labels of the classes that were predicted.
    """
    if metrics is None:
        metrics = CLASSIFICATION if target.dtype.kind in "iub" else REGRESSION
    return {name: function(prediction, target) for name, function in resolve(metrics).items()}


def resolve(metrics: Mapping[str, Metric] | Sequence[str]) -> dict[str, Metric]:
    """Names as functions.

    Raises
    ------
    ArgumentError
        A name is not known.
    """
    if callable(metrics) or not isinstance(metrics, (Mapping, Sequence)):
        raise ArgumentError("metrics as a list of names, or a dict of name to function", f"{metrics!r:.60}",
                            'pass for example metrics=["accuracy"]')
    if isinstance(metrics, Mapping):
        if not all(callable(function) for function in metrics.values()):
            raise ArgumentError("metrics that are names or functions", f"{dict(metrics)!r:.60}",
                                'pass for example {"gap": lambda prediction, target: …}')
        return dict(metrics)
    metrics = [metrics] if isinstance(metrics, str) else metrics
    unknown = [name for name in metrics if name not in _METRICS]
    if unknown:
        raise ArgumentError(f"metrics among {sorted(_METRICS)}", f"{unknown}", "or pass a dict of name to function")
    return {name: _METRICS[name] for name in metrics}


def _classes(prediction: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[int]]:
    found = labels_of(prediction)
    truth = target[..., 0] if target.shape == (*found.shape, 1) else target
    if truth.shape != found.shape:
        raise ShapeError(f"labels of shape {found.shape}", f"{target.shape}", "pass one label for each prediction")
    _check_numbers(truth)
    labels = truth.astype(np.int64).ravel()
    if not np.array_equal(labels, truth.ravel()):
        raise DataError("labels that are whole numbers", f"{truth.dtype} with others among them",
                        "number the classes from 0, or ask for metrics of values, such as mse")
    classes = max(prediction.shape[-1] if prediction.ndim > 1 else 1, 2)
    check_range("labels", labels, classes)
    return found.ravel(), labels, list(range(classes))


def _check_numbers(target: np.ndarray) -> None:
    if target.dtype.kind not in "biuf":
        raise DTypeError("targets that are numbers", f"dtype {target.dtype}", "number the classes from 0")


def _accuracy(prediction: np.ndarray, target: np.ndarray) -> float:
    found, truth, _ = _classes(prediction, target)
    return float(np.mean(found == truth))


def _averaged(name: str) -> Metric:
    def metric(prediction: np.ndarray, target: np.ndarray) -> float:
        from sklearn import metrics

        found, truth, classes = _classes(prediction, target)
        average = {"average": "binary"} if len(classes) == 2 else {"average": "macro", "labels": classes}
        return float(getattr(metrics, f"{name}_score")(truth, found, zero_division=0, **average))

    return metric


def _confusion(prediction: np.ndarray, target: np.ndarray) -> list[list[int]]:
    from sklearn.metrics import confusion_matrix

    found, truth, classes = _classes(prediction, target)
    return confusion_matrix(truth, found, labels=classes).tolist()


def _difference(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    _check_numbers(target)
    if prediction.shape != target.shape:
        raise ShapeError(f"targets of the prediction's shape {prediction.shape}", f"{target.shape}",
                         "reshape them; they are never broadcast")
    return prediction.astype(np.float64) - target


def _mse(prediction: np.ndarray, target: np.ndarray) -> float:
    return float(np.mean(_difference(prediction, target) ** 2))


def _mae(prediction: np.ndarray, target: np.ndarray) -> float:
    return float(np.mean(np.abs(_difference(prediction, target))))


_METRICS: dict[str, Metric] = {
    "accuracy": _accuracy, "precision": _averaged("precision"), "recall": _averaged("recall"), "f1": _averaged("f1"),
    "confusion_matrix": _confusion, "mse": _mse, "mae": _mae,
}
