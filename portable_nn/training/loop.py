"""`fit`: the whole training loop, on one screen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from portable_nn.autodiff import no_grad
from portable_nn.backend.devices import on_device, to_numpy
from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.precision import computing_in
from portable_nn.functional.products import in_float32
from portable_nn.layers import Module
from portable_nn.optim import Optimizer
from portable_nn.optim.scaling import scaled_loss
from portable_nn.training.callbacks import in_calling_order
from portable_nn.training.captured import capture as captured
from portable_nn.training.checkpoint import read_checkpoint
from portable_nn.training.feeding import Batch, Feed, split_validation
from portable_nn.training.guard import Guard
from portable_nn.training.history import History
from portable_nn.training.metrics import resolve, scores
from portable_nn.training.modes import collector_held, evaluating, training_mode
from portable_nn.training.progress import bar, line
from portable_nn.training.run import Training
from portable_nn.training.updates import Mean, Update, compare


def fit(model: Module, loss: Any, optimizer: Optimizer, *, train: Any, validation: Any = None, metrics: Any = (),
        callbacks: Sequence[Any] = (), epochs: int = 1, batch_size: int = 32, seed: int = 0, accumulate: int = 1,
        capture: bool = False, precision: str | None = None, resume: str | Path | None = None,
        progress: bool = True) -> History:
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
    capture : bool
        On a GPU, record each update once for each size of batch, as one CUDA graph, and replay it; so too the forward
        pass over validation data. The same results, bit for bit, with little left for Python to do; see
        `portable_nn.capture` for what a step may not do then. Elsewhere it changes nothing.
    precision : "float32", "tf32", "bfloat16" or "float16", optional
        What matrix products may compute in on a GPU; see `portable_nn.precision`. float16 scales the loss. Elsewhere
        products are in the model's dtype. None leaves what the context says.
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
    optimizer.steps, optimizer.total_steps = 0, _planned_steps(feed, epochs, accumulate)
    with on_device(model.device):
        model.initialize(seed, only_missing=True)
        if isinstance(loss, Module):  # class weights go where the model is
            loss.to(model.device, dtype=model.dtype)
        if resume is not None:
            read_checkpoint(resume, training)
        try:
            with computing_in(precision), scaled_loss(
                    optimizer, precision, model.device, training.loss_scale):
                _train(training, feed, held_out, functions, capture, progress)
        except KeyboardInterrupt:
            training.history.interrupted = True
        finally:
            optimizer.zero_grad()
        training.call("on_end")
    return training.history


def _train(training: Training, feed: Feed, held_out: Feed | None, functions: dict[str, Any], capture: bool,
           progress: bool) -> None:
    """The epochs."""
    training.call("on_start")
    mean, guard = Mean(in_place=capture), Guard(training.optimizer, training.model.device)
    update: Any = Update(training, feed, guard, mean)
    assess: Any = partial(_assess, training, metrics=bool(functions))
    update, assess = (captured(update), captured(assess)) if capture else (update, assess)
    with training_mode(training.model):
        while training.epoch < training.epochs and not training.stop:
            started = time.perf_counter()
            row = {"epoch": training.epoch + 1, "train": _train_epoch(training, update, guard, mean, feed, progress)}
            if held_out is not None:
                row.update(_validate(training, held_out, functions, assess))
            row.update(lr=training.optimizer.lr(), seconds=time.perf_counter() - started)
            training.history.append(row)
            training.epoch += 1
            line(row, training.epochs, progress)
            training.call("on_epoch_end")


def _train_epoch(training: Training, update: Any, guard: Guard, mean: Mean, feed: Feed, progress: bool) -> float:
    """One pass over the data; returns the mean loss over all rows."""
    accumulate = training.settings["accumulate"]
    mean.begin()
    with bar(feed.epoch(training.epoch, late=mean.in_place), training, feed.length, progress) as batches:
        while group := list(islice(batches, accumulate)):
            with collector_held:
                update(group)
            for batch in group:
                mean.count(batch.mass)
            guard.look()
    guard.finish()
    return mean.result()


def _assess(training: Training, x: Any, y: Any, weight: Any, *, metrics: bool) -> tuple[Any, Any]:
    """The loss of a held-out batch, and what the model makes of it where metrics need that."""
    prediction = training.model(x)
    loss = compare(training.loss, prediction, Batch(x, y, weight, None)).data
    return loss, in_float32(prediction) if metrics else None


def _validate(training: Training, feed: Feed, metrics: dict[str, Any], assess: Any) -> dict[str, Any]:
    """The mean loss on held-out data, and the metrics."""
    mean = Mean()
    found: list[Any] = []
    targets: list[Any] = []
    with evaluating(training.model), no_grad():
        for batch in feed.epoch(0):
            loss, prediction = assess(batch.x, batch.y, batch.weight)
            mean.add(loss, batch.mass)
            mean.count(batch.mass)
            if metrics:
                found.append(to_numpy(prediction))
                targets.append(batch.y.numpy())
    row = {"validation": mean.result()}
    return {**row, **scores(np.concatenate(found), np.concatenate(targets), metrics)} if metrics else row


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
