"""`fit`: the whole training loop, on one screen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from portable_nn.autodiff import no_grad
from portable_nn.backend.devices import to_numpy
from portable_nn.backend.errors import ArgumentError, DTypeError
from portable_nn.backend.namespace import array_namespace, is_tensor
from portable_nn.layers import Module
from portable_nn.optim import Optimizer
from portable_nn.training.callbacks import in_calling_order
from portable_nn.training.checkpoint import read_checkpoint
from portable_nn.training.feeding import Batch, Feed, split_validation
from portable_nn.training.guard import Guard
from portable_nn.training.history import History
from portable_nn.training.metrics import resolve, scores
from portable_nn.training.modes import collector_held, evaluating, training_mode
from portable_nn.training.progress import bar, line
from portable_nn.training.run import Training


def fit(model: Module, loss: Any, optimizer: Optimizer, *, train: Any, validation: Any = None, metrics: Any = (),
        callbacks: Sequence[Any] = (), epochs: int = 1, batch_size: int = 32, seed: int = 0, accumulate: int = 1,
        resume: str | Path | None = None, progress: bool = True) -> History:
    """Train a model.

    Parameters
    ----------
    model : Module
        Trained in place. Parameters not drawn yet are drawn from `seed`; those that are there stay.
    loss : callable
        `loss(prediction, target, sample_weight=None) -> scalar`, the mean over the rows.
    optimizer : Optimizer
        Over the model's parameters.
    train : (x, y) or (x, y, sample_weight), windows, or an iterable of such batches
        x and y are arrays of N rows, a CSR matrix, windows, or nested tuples of these. Floating arrays are cast to the
        model's dtype and moved to its device, batch by batch. An iterable, such as a list or `data.batches(…)`, is gone
        through once per epoch.
    validation : data like `train`, or a share of it, optional
        `0.1` takes a tenth of the rows at random, `("last", 0.1)` the last tenth, for data in time order.
    metrics : names, or dict of name to `function(prediction, target)`
        Computed on the validation data after each epoch.
    callbacks : sequence of Callback or function
        `EarlyStopping(…)`, `Checkpoint(…)`, or `f(training)`, called after each epoch.
    epochs, batch_size : int
    seed : int
        Of the order of the rows, the random share, dropout, and parameters not drawn yet.
    accumulate : int
        Add up the gradients of this many batches for each update, as if they were one batch.
    resume : path, optional
        A file that the `Checkpoint` callback wrote: the run goes on from there, bit for bit as if it had not stopped.
    progress : bool
        A bar on the terminal while an epoch runs, and a line after it.

    Returns
    -------
    History
        One row per epoch, losses averaged over rows (by their weights, if there are any); after Ctrl-C, of the epochs
        so far.

    Raises
    ------
    NonFiniteError
        The loss or a gradient became NaN or infinite; the message names the step, the loss and the first parameter.
    DataError
        The data holds NaN or infinity; the message names the row and column. Or there are no rows.
    ShapeError, DTypeError, ArgumentError, FileError
        Data of other shapes, kinds or lengths than the model and the loss take; options out of range; no checkpoint.
    """
    _check_arguments(model, loss, optimizer, validation, metrics, epochs, accumulate)
    functions = resolve(metrics)
    train, validation = split_validation(train, validation, seed)
    feed = Feed(train, model, batch_size=batch_size, seed=seed)
    held_out = None if validation is None else Feed(validation, model, batch_size=max(batch_size, 256), shuffle=False)
    settings = {"seed": seed, "batch_size": batch_size, "accumulate": accumulate}
    training = Training(model, loss, optimizer, in_calling_order(callbacks), epochs, settings)
    model.initialize(seed, only_missing=True)
    if isinstance(loss, Module):  # class weights go where the model is
        loss.to(model.device, dtype=model.dtype)
    optimizer.steps, optimizer.total_steps = 0, _planned_steps(feed, epochs, accumulate)
    if resume is not None:
        read_checkpoint(resume, training)
    try:
        training.call("on_start")
        with training_mode(model):
            while training.epoch < epochs and not training.stop:
                started = time.perf_counter()
                row = {"epoch": training.epoch + 1, "train": _train_epoch(training, feed, progress)}
                if held_out is not None:
                    row.update(_validate(training, held_out, functions))
                row.update(lr=optimizer.lr(), seconds=time.perf_counter() - started)
                training.history.append(row)
                training.epoch += 1
                line(row, epochs, progress)
                training.call("on_epoch_end")
    except KeyboardInterrupt:
        training.history.interrupted = True
    finally:
        optimizer.zero_grad()
    training.call("on_end")
    return training.history


def _train_epoch(training: Training, feed: Feed, progress: bool) -> float:
    """One pass over the data; returns the mean loss over all rows."""
    model, optimizer, accumulate = training.model, training.optimizer, training.settings["accumulate"]
    guard = Guard(optimizer, model.device)
    mean = Mean()
    with bar(feed.epoch(training.epoch), training, feed.length, progress) as batches:
        while group := list(islice(batches, accumulate)):
            with collector_held:
                total = sum(batch.mass for batch in group)
                for batch in group:
                    value = compare(training.loss, model(batch.x), batch)
                    mean.add(value.data, batch.mass)
                    guard.check_loss(value)
                    (value if len(group) == 1 else value * _share(batch.mass, total)).backward()
                guard.step(value)
                optimizer.zero_grad()
                del value
    guard.finish()
    return mean.result()


def _validate(training: Training, feed: Feed, metrics: dict[str, Any]) -> dict[str, Any]:
    """The mean loss on held-out data, and the metrics."""
    mean = Mean()
    found: list[Any] = []
    targets: list[Any] = []
    with evaluating(training.model), no_grad():
        for batch in feed.epoch(0):
            prediction = training.model(batch.x)
            mean.add(compare(training.loss, prediction, batch).data, batch.mass)
            if metrics:
                found.append(prediction.numpy())
                targets.append(batch.y.numpy())
    row = {"validation": mean.result()}
    return {**row, **scores(np.concatenate(found), np.concatenate(targets), metrics)} if metrics else row


def compare(loss: Any, prediction: Any, batch: Batch) -> Any:
    """The loss of one batch, a Tensor."""
    value = loss(prediction, batch.y) if batch.weight is None else loss(prediction, batch.y, batch.weight)
    if not is_tensor(value):
        raise DTypeError("a loss that is a Tensor", f"{value!r:.60}",
                         "compute it from the prediction with Array API functions, and do not convert it")
    return value


def _share(mass: Any, total: Any) -> Any:
    """A batch's share in its update; where all weights are 0 so is the loss."""
    if isinstance(total, int):
        return mass / total
    xp = array_namespace(total)
    return mass / xp.where(total == 0, xp.ones_like(total), total)


def _planned_steps(feed: Feed, epochs: int, accumulate: int) -> int | None:
    return None if feed.length is None else epochs * -(-feed.length // accumulate)


def _check_arguments(model: Module, loss: Any, optimizer: Optimizer, validation: Any, metrics: Any, epochs: int,
                     accumulate: int) -> None:
    for name, value, right, example in (
            ("model", model, isinstance(model, Module), "layers.Linear(4, 3)"),
            ("loss", loss, callable(loss) and not isinstance(loss, type), "layers.CrossEntropyLoss()"),
            ("optimizer", optimizer, isinstance(optimizer, Optimizer), "optim.AdamW(model.parameters())")):
        if not right:
            raise ArgumentError(f"{name} such as {example}", f"{value!r:.60}", "call fit(model, loss, optimizer, …)")
    for name, value, least in (("epochs", epochs, 0), ("accumulate", accumulate, 1)):
        if not isinstance(value, int) or value < least:
            raise ArgumentError(f"{name} as a whole number of {least} or more", repr(value), "change it")
    if metrics and validation is None:
        raise ArgumentError("validation data to compute metrics on", "none", "pass validation=0.1, or no metrics")
    own = {id(p) for p in model.parameters()}
    if not any(id(p) in own for p in optimizer.parameters):
        raise ArgumentError("an optimiser over the model's parameters", "one over others",
                            "build it with model.parameters()")


class Mean:
    """A mean of batches' losses, kept where they are until it is asked for."""

    def __init__(self) -> None:
        self.total: Any = 0.0
        self.mass: Any = 0

    def add(self, loss: Any, mass: Any) -> None:
        self.total = self.total + loss * mass
        self.mass = self.mass + mass

    def result(self) -> float:
        return float(to_numpy(self.total)) / (float(self.mass) or 1.0)
