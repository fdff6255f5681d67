"""What `fit` does not take: each mistake has a message of its own, and nothing has changed after it."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from portable_nn import functional
from portable_nn.backend.errors import (
    ArgumentError,
    DataError,
    DTypeError,
    FileError,
    GradientError,
    PortableNNError,
    ShapeError,
)
from portable_nn.training import fit
from tests.training.tasks import classes, classifier, setup, values

X, Y = classes()
BAD = [
    ({"train": (X, Y[:-1])}, ShapeError, "number of rows"),
    ({"train": (X[:0], Y[:0])}, DataError, "at least one row"),
    ({"train": (X.tolist(), Y)}, PortableNNError, "list"),
    ({"train": []}, DataError, "at least one batch"),
    ({"train": [X]}, DTypeError, r"batches that are \(x, y\)"),
    ({"train": 3}, DTypeError, "an iterable of batches"),
    ({"train": (X[:, :3], Y)}, ShapeError, "4"),
    ({"train": (X, Y + 1)}, DataError, "label"),
    ({"train": (X, Y.astype(np.float64))}, DTypeError, "integer"),
    ({"train": (X, Y), "batch_size": 0}, ArgumentError, "batch_size"),
    ({"train": (X, Y), "epochs": -1}, ArgumentError, "epochs as a whole number"),
    ({"train": (X, Y), "epochs": 1.5}, ArgumentError, "epochs as a whole number"),
    ({"train": (X, Y), "accumulate": 0}, ArgumentError, "accumulate as a whole number"),
    ({"train": (X, Y), "seed": -1}, ArgumentError, "seed an integer"),
    ({"train": (X, Y), "validation": 1.5}, ArgumentError, "share between 0 and 1"),
    ({"train": (X, Y), "validation": ("last", 0.0)}, ArgumentError, "share between 0 and 1"),
    ({"train": (X, Y), "validation": 1}, ArgumentError, "share between 0 and 1"),
    ({"train": (X, Y), "validation": "last"}, ArgumentError, "share between 0 and 1"),
    ({"train": (X, Y), "validation": ("first", 0.1)}, ArgumentError, r'validation=\("last", share\)'),
    ({"train": (X, Y), "validation": ("last", "0.1")}, ArgumentError, r'validation=\("last", share\)'),
    ({"train": (X, Y), "validation": 0.1, "metrics": len}, ArgumentError, "a list of names"),
    ({"train": (X, Y), "validation": 0.001}, DataError, "rows for training and for validation"),
    ({"train": [(X, Y)], "validation": 0.1}, ArgumentError, "arrays to take a share of"),
    ({"train": (X, Y), "validation": (X, Y[1:])}, ShapeError, "number of rows"),
    ({"train": (X, Y), "metrics": ["accuracy"]}, ArgumentError, "validation data to compute metrics on"),
    ({"train": (X, Y), "validation": 0.1, "metrics": ["acuracy"]}, ArgumentError, "metrics among"),
    ({"train": (X, Y), "callbacks": [3]}, ArgumentError, "callbacks that are"),
    ({"train": (X, Y), "callbacks": print}, ArgumentError, "a list of callbacks"),
    ({"train": (X, Y), "resume": "nowhere.safetensors"}, FileError, "nowhere"),
    ({"train": (X, Y, Y[:, None] * np.ones(2))}, ShapeError, "sample_weight of shape"),
]


@pytest.mark.parametrize(("arguments", "error", "words"), BAD)
def test_bad_input(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    given = setup()
    before = values(given[0].initialize(3))
    with pytest.raises(error, match=words):
        fit(*given, **{"progress": False, "batch_size": 32, **arguments})
    np.testing.assert_array_equal(values(given[0]), before)
    assert gc.isenabled() and given[0].training


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_values_in_the_data(value: float) -> None:
    x, y = classes()
    x[17, 2] = value
    for arguments in ({"train": (x, y)}, {"train": classes(), "validation": (x, y)}):
        with pytest.raises(DataError, match="row 17, column 2"):
            fit(*setup(), **arguments, progress=False)


def test_bad_losses_and_optimizers() -> None:
    x, y = classes()
    model, loss, optimizer = setup()
    for wrong, name in (((None, loss, optimizer), "model"), ((model.forward, loss, optimizer), "model"),
                        ((model, type(loss), optimizer), "loss"), ((model, None, optimizer), "loss"),
                        ((model, loss, type(optimizer)), "optimizer"), ((model, optimizer, loss), "loss")):
        with pytest.raises(ArgumentError, match=f"expected {name} such as"):
            fit(*wrong, train=(x, y), progress=False)
    with pytest.raises(ArgumentError, match="an optimiser over the model's parameters"):
        fit(classifier(), loss, optimizer, train=(x, y), progress=False)
    with pytest.raises(DTypeError, match="a loss that is a Tensor"):
        fit(model, lambda p, t: 0.5, optimizer, train=(x, y), progress=False)
    with pytest.raises(ShapeError, match="a loss of one number"):
        fit(model, lambda p, t: functional.cross_entropy(p, t), optimizer, train=(x, y), progress=False)
    with pytest.raises(GradientError):
        fit(model.freeze(), loss, optimizer, train=(x, y), progress=False)
