"""`predict` and `evaluate`: a model run over data in batches, in evaluation mode, without a tape."""

from __future__ import annotations

from typing import Any

from portable_nn.autodiff.tree import leaves, map_leaves
from portable_nn.backend.devices import device_name, on_device, to_device, to_numpy
from portable_nn.backend.errors import ArgumentError, DTypeError
from portable_nn.backend.namespace import array_namespace, is_array
from portable_nn.data import Batches, check_finite, row_count
from portable_nn.data.batching import map_arrays, move_and_cast
from portable_nn.functional.products import in_float32
from portable_nn.layers import Module
from portable_nn.training.metrics import scores
from portable_nn.training.modes import evaluating


def predict(model: Module, x: Any, *, batch_size: int = 1024) -> Any:
    """Run the model over data, in batches and in evaluation mode.

    Parameters
    ----------
    x : array (N, …), CSR matrix, windows, or nested tuple or dict of these
        Moved to the model's device and cast to its dtype, batch by batch. Of windows the inputs are taken.
    batch_size : int
        Rows in memory at a time.

    Returns
    -------
    array (N, …), or what the model returns with such arrays inside
        On the device where x was; for a CSR matrix, NumPy.

    Raises
    ------
    DataError, ShapeError, DTypeError
        There are no rows, the parts of x have different numbers of them, or a part is no array; there is NaN or
        infinity in one, and the message names the row; the model is no Module.
    """
    x = x.as_rows()[0] if hasattr(x, "as_rows") else x
    home = _device_of(x)

    def whole(first: Any) -> Any:
        parts = [next(column) for column in columns]
        joined = array_namespace(first).concat(parts) if len(parts) > 1 else first
        return joined if home == device_name(joined) else to_device(joined, home)

    with on_device(_checked(model).device):
        found = _outputs(model, x, batch_size)
        columns = [iter(list(leaves(out))) for out in found]
        return map_leaves(whole, found[0])


def evaluate(model: Module, x: Any, y: Any = None, *, metrics: Any = None, batch_size: int = 1024) -> dict[str, Any]:
    """Score the model on data.

    Parameters
    ----------
    x, y : data of N rows
        Moved and cast as `fit` does. Windows bring their targets along: leave y out.
    metrics : names, or dict of name to `function(prediction, target)` of NumPy arrays, optional
        By default accuracy, precision, recall, f1 and the confusion matrix (rows are true classes) for integer targets,
        mse and mae for others.
    batch_size : int
        Rows in memory at a time.

    Returns
    -------
    dict
        Name -> score.

    Raises
    ------
    ShapeError, DTypeError, DataError
        As `predict`; y has another number of rows, does not fit what the model gives, or holds NaN or labels out of
        range.
    """
    if y is None:
        if not hasattr(x, "as_rows"):
            raise ArgumentError("targets to score against", "y=None", "pass evaluate(model, x, y)")
        x, y = x.as_rows()
    row_count((x, y))
    check_finite(y, "y")
    return scores(to_numpy(predict(model, x, batch_size=batch_size)), to_numpy(y), metrics)


def _outputs(model: Module, x: Any, batch_size: int) -> list[Any]:
    """The model's raw outputs, batch by batch, where the model is; float32 of what a context stores in half."""
    batches = Batches((x,), batch_size=batch_size, seed=0, epoch=0, shuffle=False, drop_last=False, device=None,
                      dtype=None)
    check_finite(x, "x")
    device, dtype = model.device, model.dtype
    with evaluating(model):
        found = (model(map_arrays(batches.raw(number)[0], lambda a: move_and_cast(a, device=device, dtype=dtype)))
                 for number in range(len(batches)))
        return [map_leaves(in_float32, out) for out in found]


def _checked(model: Any) -> Module:
    if not isinstance(model, Module):
        raise DTypeError("a model that is a Module", f"{model!r:.60}", "pass the model first, then the data")
    return model


def _device_of(x: Any) -> str:
    """The device of the first array in the data."""
    first = next(leaves(x), None)
    return device_name(first) if is_array(first) else "cpu"
