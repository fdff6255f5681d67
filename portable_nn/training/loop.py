"""`fit`: the whole training loop, on one screen."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from portable_nn.autodiff import no_grad
from portable_nn.backend.devices import to_numpy
from portable_nn.backend.errors import ArgumentError
from portable_nn.layers import Module
from portable_nn.optim import Optimizer
from portable_nn.training.callbacks import Callback
from portable_nn.training.checkpoint import read_checkpoint
from portable_nn.training.evaluation import evaluating
from portable_nn.training.feeding import Feed, split_validation
from portable_nn.training.guard import Guard
from portable_nn.training.history import History
from portable_nn.training.metrics import resolve, scores
from portable_nn.training.progress import bar, line


class Training:
    """A training run under way, as callbacks see it.

    Attributes
    ----------
    model, loss, optimizer : what `fit` was given
    history : History
    epoch : int
        How many epochs are done.
    epochs : int
        How many are planned.
    stop : bool
        Set it to end the run after this epoch.
    """

    def __init__(self, model: Module, loss: Any, optimizer: Optimizer, callbacks: list[Callback], epochs: int, seed: int) -> None:
        self.model, self.loss, self.optimizer, self.callbacks = model, loss, optimizer, callbacks
        self.epochs, self.seed = epochs, seed
        self.history, self.epoch, self.stop = History(), 0, False


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
    train : (x, y) or (x, y, sample_weight), or an iterable of such batches
        x and y are arrays of N rows, a CSR matrix, windows, or nested tuples of these. Floating arrays are cast to the
        model's dtype and moved to its device, batch by batch. An iterable is gone through once per epoch.
    validation : data like `train`, or a share of it, optional
        `0.1` takes a tenth of the rows at random, `("last", 0.1)` the last tenth, for data in time order.
    metrics : names, or dict of name to `function(prediction, target)`
        Computed on the validation data after each epoch.
    callbacks : sequence of Callback or function
    epochs, batch_size : int
    seed : int
        Of the order of the rows, the random share, dropout, and parameters not drawn yet.
    accumulate : int
        Add up the gradients of this many batches for each update, weighted by their rows.
    resume : path, optional
        A file that the `Checkpoint` callback wrote: the run goes on from there, bit for bit as if it had not stopped.
    progress : bool
        A bar while an epoch runs, and a line after it.

    Returns
    -------
    History
        One row per epoch; after Ctrl-C, of the epochs so far.

    Raises
    ------
    NonFiniteError
        The loss or a gradient became NaN or infinite; the message names the step, the loss and the first parameter.
    PortableNNError
        Data of other shapes, kinds or lengths than the model and the loss take.
    """
    if epochs < 0 or accumulate < 1:
        raise ArgumentError("epochs of 0 or more and accumulate of 1 or more", f"epochs={epochs}, accumulate={accumulate}",
                            "change them")
    functions = resolve(metrics)
    _prepare(model, optimizer, seed)
    train, validation = split_validation(train, validation, seed)
    feed = Feed(train, model, batch_size=batch_size, seed=seed)
    held_out = None if validation is None else Feed(validation, model, batch_size=max(batch_size, 256), shuffle=False)
    training = Training(model, loss, optimizer, [_as_callback(c) for c in callbacks], epochs, seed)
    if resume is not None:
        read_checkpoint(resume, training)
    if feed.length is not None:
        optimizer.total_steps = epochs * -(-feed.length // accumulate)
    _call(training, "on_start")
    try:
        with training_mode(model):
            while training.epoch < epochs and not training.stop:
                started = time.perf_counter()
                row = {"epoch": training.epoch + 1, "train": _train_epoch(training, feed, accumulate, progress)}
                if held_out is not None:
                    row.update(_validate(training, held_out, functions))
                row.update(lr=optimizer.lr(), seconds=time.perf_counter() - started)
                training.history.append(row)
                training.epoch += 1
                line(row, epochs, progress)
                _call(training, "on_epoch_end")
    except KeyboardInterrupt:
        training.history.interrupted = True
    optimizer.zero_grad()
    _call(training, "on_end")
    return training.history


def _train_epoch(training: Training, feed: Feed, accumulate: int, progress: bool) -> float:
    """One pass over the data; returns the mean loss, weighted by rows."""
    model, optimizer = training.model, training.optimizer
    guard = Guard(optimizer, model.device)
    batches = iter(bar(feed.epoch(training.epoch), epoch=training.epoch + 1, epochs=training.epochs, total=feed.length,
                       shown=progress))
    total, count = 0.0, 0
    with collector_held():
        while group := list(islice(batches, accumulate)):
            rows = sum(batch.rows for batch in group)
            for batch in group:
                value = training.loss(model(batch.x), batch.y, batch.weight)
                if guard.is_due():
                    guard.check_loss(value)
                if len(group) > 1:
                    value = value * (batch.rows / rows)
                value.backward()
                total = total + value.data * rows
            guard.step(value)
            optimizer.zero_grad()
            count += rows
    return float(to_numpy(total)) / count


def _validate(training: Training, feed: Feed, metrics: dict[str, Any]) -> dict[str, Any]:
    """The mean loss on held-out data, weighted by rows, and the metrics."""
    total, count = 0.0, 0
    found: list[Any] = []
    targets: list[Any] = []
    with evaluating(training.model), no_grad():
        for batch in feed.epoch(0):
            prediction = training.model(batch.x)
            total = total + training.loss(prediction, batch.y, batch.weight).data * batch.rows
            count += batch.rows
            if metrics:
                found.append(prediction.numpy())
                targets.append(batch.y.numpy())
    row = {"validation": float(to_numpy(total)) / count}
    return {**row, **scores(np.concatenate(found), np.concatenate(targets), metrics)} if metrics else row


def _prepare(model: Module, optimizer: Optimizer, seed: int) -> None:
    """Draw what is not drawn yet, start the model's random streams from the seed, and check that the optimiser fits."""
    own = {id(p) for p in model.parameters()}
    if not any(id(p) in own for p in optimizer.parameters):
        raise ArgumentError("an optimiser over the model's parameters", "one over others",
                            "build it with model.parameters()")
    model.initialize(seed, only_missing=True)


def _as_callback(callback: Any) -> Callback:
    if isinstance(callback, Callback):
        return callback
    if not callable(callback):
        raise ArgumentError("callbacks that are Callback objects or functions", type(callback).__name__,
                            "pass for example EarlyStopping(patience=3)")
    wrapped = Callback()
    wrapped.on_epoch_end = callback  # type: ignore[method-assign]
    return wrapped


def _call(training: Training, event: str) -> None:
    for callback in training.callbacks:
        getattr(callback, event)(training)


@contextmanager
def training_mode(model: Module) -> Iterator[None]:
    """Run with the model in training mode, then put every module back as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.train()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def collector_held() -> Iterator[None]:
    """Hold off Python's cyclic collector: a step makes no cycles, and looking for them costs 1 µs an operation."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
