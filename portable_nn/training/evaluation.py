"""`predict` and `evaluate`: a model run over data in batches, in evaluation mode, without a tape."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from portable_nn.backend.devices import device_name, to_device, to_numpy
from portable_nn.backend.errors import DataError
from portable_nn.backend.namespace import array_namespace, is_array
from portable_nn.data import row_count, rows
from portable_nn.data.batching import map_arrays, move_and_cast
from portable_nn.layers import Module
from portable_nn.training.metrics import scores


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Run with the model in evaluation mode, then put every module back as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def outputs(model: Module, x: Any, *, batch_size: int) -> list[Any]:
    """The model's raw outputs, batch by batch, where the model is."""
    count = row_count(x)
    if count == 0:
        raise DataError("at least one row", "none", "pass data that is not empty")
    device, dtype = model.device, model.dtype
    found = []
    with evaluating(model):
        for start in range(0, count, batch_size):
            batch = rows(x, slice(start, min(start + batch_size, count)))
            found.append(model(map_arrays(batch, lambda a: move_and_cast(a, device=device, dtype=dtype))))
    return found


def predict(model: Module, x: Any, *, batch_size: int = 1024) -> Any:
    """Run the model over data, in batches and in evaluation mode.

    Parameters
    ----------
    x : array (N, …), CSR matrix, windows, or nested tuple of these
        Moved to the model's device and cast to its dtype, batch by batch.

    Returns
    -------
    array (N, …)
        The outputs, on the device where x was; for a CSR matrix, NumPy.
    """
    found = outputs(model, x, batch_size=batch_size)
    xp = array_namespace(found[0])
    whole = xp.concat(found) if len(found) > 1 else found[0]
    home = _home(x)
    return whole if home == device_name(whole) else to_device(whole, home)


def evaluate(model: Module, x: Any, y: Any, *, metrics: Any = None, batch_size: int = 1024) -> dict[str, Any]:
    """Score the model on data.

    Parameters
    ----------
    x, y : data of N rows
        Moved and cast as `fit` does.
    metrics : names, or dict of name to `function(prediction, target)`, optional
        By default accuracy, precision, recall, f1 and the confusion matrix (rows are true classes) for integer targets,
        mse and mae for others.

    Returns
    -------
    dict
        Name -> score.
    """
    row_count((x, y))
    found = np.concatenate([to_numpy(part) for part in outputs(model, x, batch_size=batch_size)])
    return scores(found, to_numpy(y), metrics)


def _home(x: Any) -> str:
    """The device of the first array in the data."""
    if isinstance(x, (tuple, list)):
        return _home(x[0])
    if isinstance(x, dict):
        return _home(next(iter(x.values())))
    return device_name(x) if is_array(x) else "cpu"
